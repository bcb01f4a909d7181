"""With `--reproducible`, a picture's bytes depend on its pixels alone."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overfeat_tools.backend import CpuBackend
from overfeat_tools.errors import BackendError
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import FAST, TINY
from tests.processes import SAMPLES, run

PICTURES = np.random.default_rng(5).integers(0, 256, (64, 231, 231, 3), np.uint8)
PICTURES[7], PICTURES[8] = 0, 255
SIZES = ((231, 231), (240, 301))


@pytest.fixture(scope="module")
def networks() -> dict[int, Network]:
    """Give a network for each number of threads; what they have computed before differs."""
    if CpuBackend(1).compiler is None:
        pytest.skip("nothing is compiled for this processor")
    return {threads: Network(TINY, None, CpuBackend(threads), reproducible=True) for threads in (1, 2, 3, 8)}


@pytest.fixture(scope="module")
def alone(networks: dict[int, Network]) -> npt.NDArray[np.float32]:
    """Give what each picture gives by itself."""
    return np.concatenate([networks[1].run(picture[None]) for picture in PICTURES])


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_batches(data: st.DataObject, networks: dict[int, Network], alone: npt.NDArray[np.float32]) -> None:
    """Random pictures in random batches, by any number of threads, pictures of another size between them."""
    order = data.draw(st.permutations(range(64)))[: data.draw(st.sampled_from([3, 17, 64]))]
    while order:
        count, threads = data.draw(st.integers(1, len(order))), data.draw(st.sampled_from(list(networks)))
        batch, order = order[:count], order[count:]
        if data.draw(st.integers(0, 5)) == 0:
            networks[threads].run(np.resize(PICTURES, (data.draw(st.integers(1, 3)), *SIZES[1], 3)))
        assert networks[threads].run(PICTURES[batch]).tobytes() == alone[batch].tobytes(), (batch, threads)


def test_bytes_and_floats(networks: dict[int, Network], alone: npt.NDArray[np.float32]) -> None:
    """Numbers of both kinds in batches of one shape, one after the other."""
    for _ in range(2):
        for pictures in (PICTURES[:3], PICTURES[:3].astype(np.float32), PICTURES[:3].astype(np.float64)):
            assert networks[2].run(pictures).tobytes() == alone[:3].tobytes()


def test_weights_that_were_packed_for_another_size_are_given_up(networks: dict[int, Network]) -> None:
    """A recorded pass must not keep them: of full size they take a gigabyte."""
    network, packed = networks[1], {}
    for side in (231, 400, 231):
        before = packed
        network.run(np.resize(PICTURES, (1, side, side, 3)))
        packed = {
            (layer, name): weakref.ref(arrays[0].base)  # the memory itself, of which views are made
            for layer, convolution in network.convolutions.items() for name, arrays in convolution.packed.items()
        }  # fmt: skip
        given_up = [array for key, array in before.items() if key not in packed]
        assert not before or given_up
        gc.collect()
        assert not any(array() is not None for array in given_up)


@pytest.mark.full_size
def test_full_size(weights: Callable[[str], Path]) -> None:
    """The classifier's large products, too, and the features."""
    one, two = (Network(FAST, weights("fast"), CpuBackend(threads), reproducible=True) for threads in (1, 2))
    features = two.run(PICTURES[:19], FAST.feature_layer)
    for first, count in ((0, 1), (1, 2), (3, 16)):
        part = one.run(PICTURES[first : first + count], FAST.feature_layer)
        assert part.tobytes() == features[first : first + count].tobytes()


def test_it_is_refused_where_it_cannot_be_kept() -> None:
    network = Network(TINY, None, CpuBackend(2, compiling=False), reproducible=True)
    with pytest.raises(BackendError, match="reproducible results need compiled kernels"):
        network.check_reproducible()
    small = Network(TINY, None, CpuBackend(2), packed_limit_bytes=1000, reproducible=True)
    if small.backend.compiler:
        with pytest.raises(BackendError, match="OVERFEAT_MEMORY"):
            small.check_reproducible()


def test_from_a_shell() -> None:
    """Files give the same bytes alone and in company."""
    options = "--net", "tiny", "--format", "npy", "--reproducible"
    files = sorted(SAMPLES.glob("*.png"))[:5]
    together = run("features", *options, "--threads", "3", *files)
    parts = [run("features", *options, "--batch", "1", "--threads", "1", file).out for file in files]
    assert together.out == b"".join(parts)
    assert together.status == 0
