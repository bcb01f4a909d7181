"""Kernels for a card, compiled for the processor: each gives what the definition gives.

Their source is the same; threads are a loop, or threads of the processor where they wait for each other.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from overfeat_tools.backend import CpuBackend, cublas
from overfeat_tools.backend.cuda import CudaBackend, Paths, open_cuda
from overfeat_tools.convolution import card_kernels
from overfeat_tools.convolution.card_kernels import (
    FewChannels,
    FewRows,
    FusedTiles,
    _block,
    channel_code,
    row_code,
    tile_code,
)
from overfeat_tools.convolution.geometry import Geometry
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import TINY, Topology
from tests import cupy_stand_in, reference
from tests.conftest import CARDS
from tests.test_algorithms import TOLERANCE, expected, layer, offered, on_device, pooled, random, run, tolerance
from tests.test_cuda import PER_CHANNEL, card, pictures  # noqa: F401 -- a fixture

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ compiles the kernels")


@pytest.fixture(params=["card", *CARDS])
def on_a_card(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CudaBackend]:
    """Give a function that opens a backend with some `Paths`, on the stand-in and on a card if there is one."""
    request.getfixturevalue(request.param)
    if request.param == "card":
        # Few threads, as each of them is one of the processor's.
        for name in ("_THREADS_OF_FEW_ROWS", "_THREADS_OF_FEW_CHANNELS"):
            monkeypatch.setattr(card_kernels, name, 8)
        monkeypatch.setattr(cublas, "load_library", cupy_stand_in.Cublas)
    return lambda **paths: open_cuda(paths=Paths(**paths))


@pytest.fixture
def card_with_kernels(on_a_card: Callable[..., CudaBackend]) -> CudaBackend:
    """Give a backend that uses them."""
    return on_a_card(kernels=True)


# Pictures, height and width, padding: one output, less than a tile, several tiles that end beyond the map.
MAPS = ((1, (3, 3), 0), (2, (4, 15), 1), (3, (13, 10), 1), (2, (12, 16), 0))


LONG = pytest.mark.long  # compiling takes a second a size; every day, one of each kind is enough


@pytest.mark.parametrize(
    ("kernel", "pool_size", "largest"),
    [(3, 2, 6), *(pytest.param(*sizes, 8, marks=LONG) for sizes in ((3, 1), (3, 2), (3, 3), (5, 1), (5, 2), (5, 3)))],
)
def test_fused_tiles(kernel: int, pool_size: int, largest: int, card_with_kernels: CudaBackend) -> None:
    """Every size of tiles, of maps and of pools, in rounds of one picture and of all."""
    for count, (height, width), padding in MAPS:
        if min(height, width) + 2 * padding < kernel:
            continue
        convolution = layer(card_with_kernels, (kernel, kernel), channels=7, kernels=9, padding=padding)
        x = random((count, height, width, 7))
        answer = pooled(expected(convolution, x), pool_size)  # type: ignore[arg-type]
        for algorithm in offered(convolution, height, width, pool_size):
            if isinstance(algorithm, FusedTiles) and algorithm.size[0] <= largest:
                error = reference.distance(run(convolution, algorithm, x, pool_size), answer) if answer.size else 0.0
                assert error < tolerance("cook-toom", algorithm.size[0]), (algorithm.size, height, width)


@LONG
def test_epilogue_and_rounds(card_with_kernels: CudaBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_with_kernels, "cache_bytes", 1)
    monkeypatch.setattr("overfeat_tools.convolution.card_kernels._ROUND_BYTES", 1)
    convolution, x = layer(card_with_kernels, channels=8, kernels=5, padding=1), random((3, 9, 9, 8))
    for algorithm in offered(convolution, 9, 9):
        if isinstance(algorithm, FusedTiles):
            ours = on_device(card_with_kernels, lambda batch, one=algorithm: convolution.run(one, batch, 0.25), x)
            wanted = reference.rectify(expected(convolution, x), 0.25)
            near = np.abs(expected(convolution, x) - 0.25) < 1e-4  # where rounding decides
            assert reference.distance(np.where(near, 0, ours), np.where(near, 0, wanted)) < tolerance("cook-toom")


@pytest.mark.parametrize(
    ("kernel", "channels"), [(3, 16), pytest.param(1, 64, marks=LONG), pytest.param(1, 1028, marks=LONG)]
)
def test_few_rows(kernel: int, channels: int, card_with_kernels: CudaBackend) -> None:
    convolution = layer(card_with_kernels, (kernel, kernel), channels=channels, kernels=5)
    (algorithm,) = [one for one in offered(convolution, kernel, kernel) if isinstance(one, FewRows)]
    for count in (1, 8):
        x = random((count, kernel + 1, kernel, channels))  # a row more than the kernel covers
        wanted = expected(convolution, x[:, :kernel])
        assert reference.distance(run(convolution, algorithm, x), wanted) < TOLERANCE
    geometry = convolution.geometry(kernel, kernel)
    assert "few rows" in str(convolution.choose(1, geometry))
    assert "few rows" not in str(convolution.choose(9, geometry))


@pytest.mark.parametrize(("kernel", "stride", "padding", "pool_size"), [
    (3, 1, 1, 2), *(pytest.param(*one, marks=LONG) for one in ((11, 4, 0, 2), (7, 2, 0, 3), (3, 1, 1, 1), (5, 2, 1, 4)))
])  # fmt: skip
def test_few_channels(kernel: int, stride: int, padding: int, pool_size: int, card_with_kernels: CudaBackend) -> None:
    """Maps of every rest that windows and blocks leave; kernels of one block and of two; a pool that is not held."""
    for kernels in (8, 144):
        convolution = layer(card_with_kernels, (kernel, kernel), stride=stride, kernels=kernels, padding=padding)
        for count, height, width in ((1, kernel, kernel + 1), (3, kernel + 9 * stride, kernel + 6 * stride + 1)):
            x = random((count, height, width, 3))
            answer = pooled(expected(convolution, x), pool_size)  # type: ignore[arg-type]
            found = offered(convolution, height, width, pool_size)
            (algorithm,) = [one for one in found if isinstance(one, FewChannels)]
            if answer.size:
                assert reference.distance(run(convolution, algorithm, x, pool_size), answer) < TOLERANCE


@LONG
@pytest.mark.parametrize(("method", "count", "word"), [
    ("auto", 1, "few rows"), ("auto", 2, "few channels"), ("cook-toom", 2, "fused")
])  # fmt: skip
def test_network(method: str, count: int, word: str, card_with_kernels: CudaBackend) -> None:
    """A whole network takes them."""
    there, here = Network(TINY, None, card_with_kernels, method), Network(TINY, None, CpuBackend(2))
    some = pictures(count, 231, 231)
    assert reference.distance(there.run(some), here.run(some)) < 1e-5
    assert any(word in name for convolution in there.convolutions.values() for name in convolution.used)


# Its normalisation is that of the networks VGG: numbers for each channel.
BY_CHANNEL = replace(TINY, layers=(PER_CHANNEL, *TINY.layers[1:]))


@pytest.mark.parametrize(("method", "kernels", "topology"), [
    ("gemm", False, BY_CHANNEL),
    *(pytest.param(*one, TINY, marks=LONG) for one in (("auto", True), ("auto", False), ("fft", False))),
])  # fmt: skip
def test_graph(
    method: str, *, kernels: bool, topology: Topology, on_a_card: Callable[..., CudaBackend],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A pass captured once is right for other pictures, layers and sizes, whatever comes between."""
    backend = on_a_card(kernels=kernels, graphs=True)
    there, here = Network(topology, None, backend, method), Network(topology, None, CpuBackend(2))
    captured = []
    monkeypatch.setattr(backend, "record", lambda *given: captured.append(given) or CudaBackend.record(backend, *given))
    kinds = [(1, 231, 19), (1, 231, TINY.last_layer), (2, 245, 9)]
    for seed in range(2):
        for count, side, last in kinds:
            some = pictures(count, side, side, seed)
            assert reference.distance(there.run(some, last), here.run(some, last)) < 1e-5
    assert method != "gemm" or len(captured) == len(kinds)  # others pack weights anew, and lose what knew the old ones
    begun = [there.begin(pictures(1, 231, 231, seed), 19) for seed in range(2)]
    for seed, wait in enumerate(begun):
        assert reference.distance(wait(), here.run(pictures(1, 231, 231, seed), 19)) < 1e-5


FIRST = ((Geometry(3, 231, 231, 96, 11, 11, 4), 2), (Geometry(3, 221, 221, 96, 7, 7, 2), 3),
         (Geometry(3, 224, 224, 64, 3, 3, 1, 1), 1), (Geometry(3, 231, 231, 32, 11, 11, 4), 3),
         (Geometry(4, 99, 99, 8, 16, 16), 3))  # fmt: skip
"""The first convolutions of the networks, and their pools."""


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvrtc_compiles_them(architecture: str) -> None:
    """Where NVIDIA's compiler is installed; it needs no card."""
    assert all(_block(geometry)[1] > 0 for geometry, _ in FIRST)
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc")
    tiles = (tile_code(*sizes) for sizes in ((6, 3, 2), (8, 3, 1), (7, 5, 3), (6, 5, 1)))
    first = (channel_code(geometry, pool_size, *_block(geometry)) for geometry, pool_size in FIRST)
    for code in (*tiles, *first, *map(row_code, (1, 8))):
        program = nvrtc.createProgram(code, "kernels.cu", [], [])
        nvrtc.compileProgram(program, [f"-arch={architecture}", "--std=c++17"])
        assert nvrtc.getCUBIN(program)
