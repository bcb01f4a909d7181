"""The graphics card's side, tried with a stand-in for cupy; `test_algorithms` and others run on a real one.

What this shows: everything is brought to the card, nothing of numpy's meets what is there, and transfers
are waited for.  What it can't show: that cupy does as its documentation says, and how fast.
"""

import sys
import warnings
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from overfeat_tools.backend import CpuBackend, open_backend
from overfeat_tools.backend.arrays import FftPlan
from overfeat_tools.backend.card_transforms import DftPlan
from overfeat_tools.backend.cuda import CudaBackend, open_cuda
from overfeat_tools.cli import NetworkOptions
from overfeat_tools.commands.run import Run
from overfeat_tools.convolution import RATES, Convolution
from overfeat_tools.convolution.planner import list_algorithms
from overfeat_tools.errors import BackendError
from overfeat_tools.networks.layers import Normalise, Pad, Softmax
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import TINY
from tests import cupy_stand_in, reference
from tests.test_algorithms import THRESHOLD, Array, compute, expected, layer, map_sizes, random, run, tolerance


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[CudaBackend]:
    """Give a backend on the stand-in."""
    monkeypatch.setenv("CUPY_TF32", "1")
    for name, module in cupy_stand_in.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(cupy_stand_in, "MEMORY", cupy_stand_in.Memory())
    yield open_cuda()
    cupy_stand_in.PINNED.clear()


def pictures(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    """Give pictures as the commands do: bytes, the colours last."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


# Which device.


def test_cupy_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("importlib.util", "overfeat_tools.backend"):
        monkeypatch.setattr(f"{module}.find_spec", lambda _: None)
    with pytest.raises(BackendError, match=r"needs cupy: pip install 'overfeat_tools\[cuda\]'") as caught:
        open_backend("cuda")
    assert caught.value.exit_status == 1
    assert isinstance(open_backend("auto", 2), CpuBackend)


@pytest.mark.parametrize("failure", [cupy_stand_in.CUDARuntimeError, ImportError, OSError])
def test_cupy_is_there_but_no_card(failure: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that is too old, a library that is missing: one line that says so, and `auto` does without."""

    def fail(_: str) -> None:
        warnings.warn("CUDA path could not be detected", stacklevel=1)
        message = "cudaErrorInsufficientDriver: CUDA driver version is insufficient\nmore"
        raise failure(message)

    cupy = ModuleType("cupy")
    cupy.__spec__ = ModuleSpec("cupy", None)
    monkeypatch.setattr(cupy, "__getattr__", fail, raising=False)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupyx", ModuleType("cupyx"))
    with pytest.raises(BackendError) as caught:
        open_backend("cuda")
    line = str(caught.value)
    assert "insufficient" in line
    assert "the device cpu" in line
    assert line == line.lower()
    assert "\n" not in line
    assert isinstance(open_backend("auto"), CpuBackend)


def test_no_card(card: CudaBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card.xp.cuda.runtime, "getDeviceCount", lambda: 0)
    monkeypatch.setattr(card.xp.cuda, "Stream", lambda **_: pytest.fail("a stream without a card"))
    with pytest.raises(BackendError, match="none found"):
        open_backend("cuda")


def test_auto_takes_a_card_that_works(card: CudaBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(open_backend("auto")) == str(card) == "cuda, Stand-in"
    assert isinstance(open_backend("cpu"), CpuBackend)
    monkeypatch.setattr(cupy_stand_in.CardArray, "get", lambda _, out, **__: out)
    assert isinstance(open_backend("auto"), CpuBackend), "it computes wrongly"


@pytest.mark.usefixtures("card")
def test_kernels_that_are_not_compiled_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has to wait for them will be told."""
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "kernels"))
    assert open_cuda().is_cold
    (tmp_path / "kernels" / "one").mkdir(parents=True)
    assert not open_cuda().is_cold


def test_tf32_is_off(card: CudaBackend) -> None:
    import os

    assert card.name in RATES
    assert os.environ["CUPY_TF32"] == "0"


# The engine.


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("kernel", [1, 3, 5, 11])
def test_every_algorithm(kernel: int, padding: int, stride: int, card: CudaBackend) -> None:
    """Each method and tile size on the card gives what the definition gives."""
    for height, width in map_sizes(kernel, padding):
        x = random((3, height, width, 3))
        convolution = layer(card, (kernel, kernel), stride=stride, padding=padding)
        answer = expected(convolution, x)
        for algorithm in list_algorithms(convolution.geometry(height, width), card):
            error = reference.distance(run(convolution, algorithm, x), answer)
            assert error < tolerance(algorithm.method), str(algorithm)


@pytest.mark.parametrize("method", ["gemm", "fft", "cook-toom"])
def test_work_in_rounds(method: str, card: CudaBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map that is too large for the card's memory is convolved in parts."""
    monkeypatch.setattr(card, "cache_bytes", 40_000)
    for name in ("gemm._PATCH_BYTES", "portable_tiles._ROUND_BYTES"):
        monkeypatch.setattr(f"overfeat_tools.convolution.{name}", 1)
    convolution = layer(card, channels=7, kernels=9, padding=1, method=method)
    for count, size in ((3, 30), (1, 9), (5, 41)):
        x = random((count, size, size, 7))
        ours = compute(convolution, x, THRESHOLD)
        assert reference.distance(ours, reference.rectify(expected(convolution, x))) < tolerance(method)


PER_CHANNEL = Normalise((1.0, 2.0, 3.0), (5.0, 4.0, 3.0))


@pytest.mark.parametrize("kind", [Normalise(118.4, 61.9), PER_CHANNEL, Pad(1), Softmax()])
def test_layers(kind: Normalise, card: CudaBackend) -> None:
    cpu = CpuBackend(1)
    for x in (random((3, 9, 11, 3)), pictures(2, 8, 9)):
        there = x if isinstance(kind, Normalise) else x.astype(np.float32)
        with card.computing():
            result = card.download(kind(card.upload(there), card))
        np.testing.assert_allclose(result(), kind(there, cpu), rtol=1e-6)


def check_transforms(plan: FftPlan, card: CudaBackend) -> None:
    """Compare what a plan does to random tiles with numpy."""
    shape = plan.tiles.shape
    x = (random(shape) + 1j * random(shape, 1)).astype(np.complex64)
    plan.tiles[...] = card.to_device(x)
    plan.forward()
    forward = card.download(plan.tiles.copy())  # type: ignore[arg-type]
    plan.inverse()
    back = card.download(plan.tiles.copy())  # type: ignore[arg-type]
    expected = np.fft.fft2(x, axes=(0, 1))
    assert np.abs(forward() - expected).max() < 1e-6 * np.abs(expected).max()
    assert np.abs(back() / np.prod(shape[:2]) - x).max() < 1e-6 * np.abs(x).max()


@pytest.mark.parametrize("size", [(8, 8), (9, 14), (28, 28), (40, 36)])
def test_transform_by_products(size: tuple[int, int], card: CudaBackend) -> None:
    with card.computing():
        plan = card.fft_plan(*size, 6)
        assert isinstance(plan, DftPlan)
        check_transforms(plan, card)


# The network.


@pytest.mark.parametrize("method", ["auto", "gemm", pytest.param("fft", marks=pytest.mark.long), "cook-toom"])
def test_network(method: str, card: CudaBackend) -> None:
    """Every layer of a network on the card is the processor's."""
    there, here = (Network(TINY, None, backend, method) for backend in (card, CpuBackend(2)))
    for count, height, width in ((1, 231, 231), (3, 250, 301)):
        some = pictures(count, height, width)
        for last in range(TINY.last_layer + 1):
            ours, theirs = there.run(some, last), here.run(some, last)
            assert type(ours) is np.ndarray
            assert reference.distance(ours, theirs) < 1e-5, last


def test_batches_on_their_way_do_not_mix(card: CudaBackend) -> None:
    """Begun one after the other, of all sizes, and fetched in any order: each result is its own."""
    there, here = Network(TINY, None, card), Network(TINY, None, CpuBackend(2))
    batches = [pictures(count, side, side + 9, seed=side) for count, side in ((1, 231), (4, 240), (2, 290), (1, 235))]
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        begun = [there.begin(batch, 19) for batch in batches]
        for number in order:
            assert reference.distance(begun[number](), here.run(batches[number], 19)) < 1e-5
    kept = begun[0]().copy()
    there.run(batches[1], 19)
    np.testing.assert_array_equal(begun[0](), kept)


def test_several_layers_on_their_way(card: CudaBackend) -> None:
    """Of one pass, and of two begun one after the other: each result is its own."""
    there, here = Network(TINY, None, card), Network(TINY, None, CpuBackend(2))
    layers, batches = (0, 1, 7, 19, 21, 22), [pictures(2, 231, 250, seed) for seed in range(2)]
    begun = [there.begin_layers(batch, layers) for batch in batches]
    for batch, wait in zip(batches, begun, strict=True):
        for number, values in wait().items():
            assert reference.distance(values, here.run(batch, number)) < 1e-5, number


def test_weights_are_brought_once_and_memory_does_not_grow(card: CudaBackend) -> None:
    network = Network(TINY, None, card)
    held = []
    for side in (290, 231, 260, 275, 231, 290, 244) * 8:
        network.run(pictures(3, side, side))
        held.append(cupy_stand_in.MEMORY.held)
    # What is kept: weights, those packed for one tile size a layer, tiles of one size, room for two batches.
    assert max(held[42:]) <= max(held[:42])
    assert max(held) < 2.5 * held[0]
    pinned = sum(array.nbytes for array in cupy_stand_in._KEPT[-8:] if isinstance(array, np.ndarray))  # noqa: SLF001
    assert pinned < 16 << 20


def test_too_little_memory(card: CudaBackend) -> None:
    """A shortage is a `MemoryError` whoever speaks of it, leaves nothing behind, and a smaller batch goes on."""
    network = Network(TINY, None, card)
    large, small = pictures(16, 231, 231), pictures(1, 231, 231)
    expected = network.run(small)
    held = cupy_stand_in.MEMORY.held
    cupy_stand_in.MEMORY.total = held + (24 << 20)
    card._most = 1 << 20  # noqa: SLF001
    with pytest.raises(MemoryError):
        network.run(large)
    np.testing.assert_allclose(network.run(small), expected, atol=1e-6)


def test_a_stream_goes_on_with_smaller_batches(
    card: CudaBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole loop, where 8 pictures at a time are too many for the card, and the estimate did not see it."""
    monkeypatch.setattr(card, "free_bytes", lambda: None)
    path = tmp_path / "stream.ppm"
    some = pictures(20, 231, 231)
    path.write_bytes(b"".join(b"P6 231 231 255\n" + one.tobytes() for one in some))
    network = Network(TINY, None, card)
    expected = network.run(some[:1])
    cupy_stand_in.MEMORY.total = cupy_stand_in.MEMORY.held + (24 << 20)
    card._most = 1 << 20  # noqa: SLF001
    answers: list[tuple[int, Array]] = []
    run = Run(
        "test", NetworkOptions(batch=8), network, TINY.last_layer, lambda pixels: pixels,
        lambda item, values: answers.append((item.number, values)),
        lambda item, error: pytest.fail(f"{item.place}: {error}"),
    )  # fmt: skip
    assert run.over([str(path)]) == 0
    assert [number for number, _ in answers] == list(range(1, 21))
    assert run.batches > 5
    np.testing.assert_allclose(answers[0][1], expected[0], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("cudaErrorMemoryAllocation: out of memory", MemoryError), ("CUBLAS_STATUS_ALLOC_FAILED", MemoryError),
     ("cudaErrorIllegalAddress: an illegal access", BackendError)],
)  # fmt: skip
def test_errors_of_the_card(text: str, kind: type[Exception], card: CudaBackend) -> None:
    with pytest.raises(kind, match=text.lower()), card.computing():
        raise cupy_stand_in.CUDARuntimeError(text)
    bug = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"), card.computing():
        raise bug


# The stand-in itself.


def test_the_stand_in_finds_what_was_forgotten(card: CudaBackend) -> None:
    host = random((3, 4))
    with card.computing():
        there = card.to_device(host)
        for forgotten in (
            lambda: there + host, lambda: host + there, lambda: there[np.array([1])], lambda: np.exp(there) + host,
            lambda: np.concatenate([there, there]), lambda: card.xp.matmul(there, host.T),
            lambda: there.__setitem__(0, host[0]), lambda: there.__iadd__(host), lambda: card.xp.exp(host),
        ):  # fmt: skip
            with pytest.raises((TypeError, AssertionError)):
                forgotten()


def test_weights_stay_with_the_caller(card: CudaBackend) -> None:
    weight, bias = random((5, 3, 3, 3), 1), random((5,), 2)
    convolution = Convolution(weight, bias, backend=card)
    compute(convolution, random((1, 9, 9, 3)))
    assert convolution.weight is weight
