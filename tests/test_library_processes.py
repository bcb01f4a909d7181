"""Networks in threads and processes: right numbers, and no hang."""

import copy
import multiprocessing
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

from overfeat_tools import Network
from tests import reference

Pixels = npt.NDArray[np.uint8]

_nets: dict[str, Network] = {}


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    """End the process where something hangs: nothing else could."""
    import faulthandler

    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(params=["compiled", "portable"])
def net(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Network:
    """Give a network on each way of computing, after some use."""
    if request.param == "portable":
        monkeypatch.setattr("overfeat_tools.backend.cpu.open_compiler", lambda: None)
    network = Network("tiny", device="cpu", threads=2)
    for _ in range(4):
        network.features(pictures(0))
    _nets["net"] = network
    return network


def pictures(seed: int) -> Pixels:
    """Give some pictures, of a size that depends on the seed."""
    side = 231 + 40 * (seed % 3)
    return np.random.default_rng(seed).integers(0, 256, (1 + seed % 4, side, side, 3), np.uint8)


def features(seed: int) -> npt.NDArray[np.float32]:
    """Compute in this process, with the network that was there before a fork."""
    return np.asarray(_nets["net"].features(pictures(seed)))


def check(found: Iterator[npt.NDArray[np.float32]]) -> None:
    """Compare with a network of this thread's own."""
    own = Network("tiny", device="cpu", threads=1)
    for seed, ours in enumerate(found):
        assert reference.distance(ours, np.asarray(own.features(pictures(seed)))) <= 3e-6


def test_eight_threads_on_one_network(net: Network) -> None:
    """Classes and features of their own pictures, whatever the others ask for."""
    ready = threading.Barrier(8)

    def work(seed: int) -> npt.NDArray[np.float32]:
        ready.wait(30)
        net.classify(pictures(seed))
        net.layers(pictures(seed), [1, 3, 19])
        return np.asarray(net.features(pictures(seed)))

    with ThreadPoolExecutor(8) as pool:
        check(pool.map(work, range(8)))


def test_two_networks_at_a_time(net: Network) -> None:
    other = Network("tiny", device="cpu", threads=2)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda one: [np.asarray(one.features(pictures(3))) for _ in range(10)], (net, other)))
    for ours, theirs in zip(*found, strict=True):
        assert reference.distance(ours, theirs) <= 3e-6


def test_a_pool_of_forks(net: Network) -> None:
    """Children go on with the parent's network, and so does the parent."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(2, context) as pool:
        check(pool.map(features, range(6)))
    check(iter([np.asarray(net.features(pictures(0)))]))


def _in_child(seed: int, connection: "multiprocessing.connection.Connection") -> None:
    connection.send(features(seed))


@pytest.mark.parametrize("forks", [3, pytest.param(30, marks=pytest.mark.long)])
def test_a_fork_while_another_thread_computes(forks: int, net: Network) -> None:
    """It waits for the batch; the child has it whole, and the thread goes on."""
    context, stop, done = multiprocessing.get_context("fork"), threading.Event(), []

    def compute() -> None:
        while not stop.is_set():
            done.append(net.features(pictures(7)))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        for seed in range(forks):
            receiving, sending = context.Pipe(duplex=False)
            child = context.Process(target=_in_child, args=(seed, sending))
            child.start()
            assert receiving.poll(60)
            ours = receiving.recv()
            child.join(60)
            assert child.exitcode == 0
            check_one(seed, ours)
    finally:
        stop.set()
        thread.join(60)
    assert done


def check_one(seed: int, ours: npt.NDArray[np.float32]) -> None:
    """Compare one with a network of its own."""
    own = Network("tiny", device="cpu", threads=1)
    assert reference.distance(ours, np.asarray(own.features(pictures(seed)))) <= 3e-6


def test_pickles_without_its_weights(net: Network) -> None:
    """It is opened again where it arrives, as it was asked for."""
    data = pickle.dumps(net)
    assert len(data) < 1000
    other = pickle.loads(data)  # noqa: S301 -- our own
    assert other.engine is not net.engine
    assert repr(other).startswith("<Network tiny: cpu, 2 threads")
    check(iter([np.asarray(other.features(pictures(0)))]))
    assert copy.deepcopy(net) is net  # what copies an estimator of scikit-learn's does not open it again


@pytest.mark.parametrize("how", ["loky", "multiprocessing", "threading"])
def test_joblib(how: str, net: Network) -> None:
    joblib = pytest.importorskip("joblib")
    parallel = joblib.Parallel(n_jobs=2, backend=how)
    found = parallel(joblib.delayed(net.features)(pictures(seed)) for seed in range(3))
    check(iter([np.asarray(one) for one in found]))
