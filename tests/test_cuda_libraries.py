"""A card's libraries called as they ask to be: cuFFT in chunks, cuBLAS with short sums and less precision.

None of this has run on a card.  The stand-ins check layouts and do the sums; see `cupy_stand_in.py`.
"""

import numpy as np
import pytest

from overfeat_tools.backend import CpuBackend, cublas, open_backend
from overfeat_tools.backend.card_transforms import CHUNK_MAPS
from overfeat_tools.backend.cuda import CudaBackend, Paths, open_cuda
from overfeat_tools.convolution.portable_tiles import PortableTiles
from overfeat_tools.errors import BackendError
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import TINY
from tests import cupy_stand_in, reference
from tests.conftest import CARDS
from tests.test_algorithms import TOLERANCE, expected, layer, map_sizes, offered, random, run
from tests.test_cuda import card, check_transforms, pictures  # noqa: F401 -- a fixture


@pytest.fixture(params=["card", *CARDS])
def any_card(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> CudaBackend:
    """Give a backend on the stand-in, and one on a card if there is one."""
    if request.param == "card":
        monkeypatch.setattr(cublas, "load_library", cupy_stand_in.Cublas)
    backend: CudaBackend = request.getfixturevalue(request.param)
    return backend


@pytest.fixture
def card_with_short_sums(any_card: CudaBackend) -> CudaBackend:
    """Give a backend that calls cuBLAS itself."""
    assert not any_card.paths.short_sums
    return open_cuda(paths=Paths(short_sums=True))


# cuFFT.


@pytest.mark.parametrize("maps", [1, CHUNK_MAPS, CHUNK_MAPS + 3])
@pytest.mark.parametrize("size", [(8, 8), (9, 14)])
def test_chunks(size: tuple[int, int], maps: int, any_card: CudaBackend) -> None:
    with any_card.computing():
        check_transforms(any_card.library_fft_plan(*size, maps), any_card)


@pytest.mark.parametrize("kernel", [3, *(pytest.param(size, marks=pytest.mark.long) for size in (5, 7))])
def test_tiles_by_cufft(kernel: int, any_card: CudaBackend) -> None:
    """The method that is asked for takes cuFFT; `auto` does not; a few plans serve all numbers of maps."""
    convolution, tried = layer(any_card, (kernel, kernel), padding=1, method="fft"), set()
    for height, width in [*map_sizes(kernel, 1)][:5]:
        assert not any(isinstance(one, PortableTiles) and one.by_library for one in offered(convolution, height, width))
        for pictures_ in (1, 5):
            x = random((pictures_, height, width, 3))
            for algorithm in (one for one in convolution._algorithms(  # noqa: SLF001
                convolution.geometry(height, width), None) if one.method == "fft"):  # fmt: skip
                assert str(algorithm).endswith("by cuFFT")
                assert reference.distance(run(convolution, algorithm, x), expected(convolution, x)) < TOLERANCE
                tried.add(algorithm.size)  # type: ignore[attr-defined]
    assert tried <= set(any_card._chunk_plans)  # noqa: SLF001
    assert len(any_card._chunk_plans) < 16  # noqa: SLF001


# cuBLAS.


@pytest.mark.parametrize("shapes", [
    ((3, 5), (5, 7)), ((1, 4), (4, 9)), ((6, 1300), (1300, 1)), ((1, 5000), (5000, 33)), ((40, 36865), (36865, 3)),
    ((4, 3, 5), (4, 5, 2)), ((3, 1, 6), (3, 6, 1)),
])  # fmt: skip
@pytest.mark.parametrize("kind", [np.float32, np.complex64])
def test_products(
    kind: type[np.generic], shapes: tuple[tuple[int, ...], ...], card_with_short_sums: CudaBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Of every shape, of either order, of slices; into what is whole and what is not; in blocks of rows."""
    monkeypatch.setattr(cublas, "_PARTS_BYTES", 1 << 12)
    card = card_with_short_sums  # noqa: F811
    left, right = (random(shape, seed).astype(kind) for seed, shape in enumerate(shapes))
    wanted = np.matmul(left.astype(np.complex128), right.astype(np.complex128))
    with card.computing():
        for order in ("rows", "columns", "slice"):
            a, b = (_there(card, x, order) for x in (left, right))
            out = card.empty((*wanted.shape[:-1], wanted.shape[-1] + 1), kind)[..., :-1]
            for given in ({}, {"out": out}):
                result = card.download(card.xp.matmul(a, b, **given).copy())()
                assert np.abs(result - wanted).max() < 2e-6 * max(1.0, np.abs(wanted).max())


def _there(card: CudaBackend, x: np.ndarray, order: str) -> np.ndarray:  # type: ignore[type-arg]  # noqa: F811
    """Bring matrices to the card so that they lie by rows, by columns, or within a larger array."""
    if order == "columns":
        return card.to_device(np.ascontiguousarray(np.swapaxes(x, -1, -2))).transpose(*range(x.ndim - 2), -1, -2)
    wide = np.concatenate([x, x], axis=-1) if order == "slice" else x
    return card.to_device(wide)[..., : x.shape[-1]]


def test_short_sums(card_with_short_sums: CudaBackend) -> None:
    """A sum as long as the classifier's is as near as one of its 32 parts; one row and several agree."""
    left, right = random((4, 36864)), random((36864, 70))
    with card_with_short_sums.computing():
        there = card_with_short_sums.to_device(right)
        answers = [
            card_with_short_sums.download(card_with_short_sums.xp.matmul(card_with_short_sums.to_device(some), there))()
            for some in (left, left[:1])
        ]
    assert reference.distance(answers[0], left.astype(np.float64) @ right) < 1.5e-6
    assert reference.distance(answers[1], answers[0][:1]) < 1.5e-6


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-5), ("tf32", 5e-3), ("half", 5e-3)])
@pytest.mark.parametrize(
    "method", ["gemm", *(pytest.param(name, marks=pytest.mark.long) for name in ("fft", "cook-toom"))]
)
@pytest.mark.usefixtures("any_card")
def test_precision(precision: str, error: float, method: str) -> None:
    """A whole network: as near as its factors are, and no nearer."""
    there = Network(TINY, None, open_cuda(precision, Paths(short_sums=True)), method)
    here = Network(TINY, None, CpuBackend(2))
    some = pictures(2, 231, 231)
    for number in (3, 9, 19, TINY.last_layer):
        found = reference.distance(there.run(some, number), here.run(some, number))
        assert found < error * (10 if number == TINY.last_layer else 1), number
        assert precision == "float32" or number == TINY.last_layer or found > 1e-5, number
    assert str(there.backend).endswith("" if precision == "float32" else precision)


def test_precision_of_a_processor_and_of_old_cards(card: CudaBackend) -> None:  # noqa: F811
    card.xp.cuda.Device().compute_capability = "75"
    with pytest.raises(BackendError, match="the precision tf32 needs compute capability"):
        open_backend("cuda", precision="tf32")
    for device in ("auto", "cpu"):
        with pytest.raises(BackendError, match="the precision tf32 needs a graphics card that works; a processor"):
            open_backend(device, precision="tf32")


# Which card, and what is wrong with it.


@pytest.mark.parametrize(("reason", "visible", "said"), [
    ("cudaErrorDevicesUnavailable: CUDA-capable device(s) is/are busy or unavailable", None, "it is busy"),
    ("cudaErrorMemoryAllocation: out of memory", None, "its memory is full"),
    ("cudaErrorNoDevice: no CUDA-capable device is detected", "", "CUDA_VISIBLE_DEVICES= leaves none"),
    ("cudaErrorNoDevice: no CUDA-capable device is detected", "7", "CUDA_VISIBLE_DEVICES=7 leaves none"),
    ("cudaErrorNoDevice: no CUDA-capable device is detected", None, "no cuda-capable device is detected"),
])  # fmt: skip
def test_what_is_wrong(
    reason: str, visible: str | None, said: str, card: CudaBackend, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise cupy_stand_in.CUDARuntimeError(reason)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for owner, name in ((card.xp.cuda.runtime, "getDeviceCount"), (card.xp.cuda, "Stream")):
        with monkeypatch.context() as one:
            one.setattr(owner, name, fail)
            with pytest.raises(BackendError) as told:
                open_cuda()
        assert said in str(told.value)
        assert "the device cpu" in str(told.value)


@pytest.mark.usefixtures("card")
def test_full_card() -> None:
    cupy_stand_in.MEMORY.total = cupy_stand_in.MEMORY.held
    with pytest.raises(BackendError, match="its memory is full"):
        open_cuda()


def test_two_cards(card: CudaBackend, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(card.xp.cuda.runtime, "getDeviceCount", lambda: 2)
    assert str(card) == "cuda, Stand-in (the first of 2)"
