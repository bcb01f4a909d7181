"""Algorithms by kernels of our own for a card (`card_kernels.cu`): fused Cook-Toom tiles, few rows, few channels.

The portable tiles are chains of elementwise kernels, each of which reads and writes all spectra; here one kernel
gathers tiles and evaluates them, and one interpolates, pools, adds the bias, rectifies and stores.  Between them is a
library's product.  A product of few rows, the classifier's of a single picture, only reads weights: a kernel does so in
one pass.  Of few channels, the first convolution, patches would be many times as large as the map: they are gathered in
a block's own memory, and multiplied there.

None of this has run on a card yet.  It is offered only where `cuda.Paths.kernels` asks for it; the tests compile the
kernels for the processor, and compare them with the definition.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray
from overfeat_tools.convolution import cook_toom
from overfeat_tools.convolution.algorithm import Algorithm, Tiles
from overfeat_tools.convolution.epilogue import Epilogue
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Geometry, split
from overfeat_tools.convolution.portable_bases import CookToomBasis
from overfeat_tools.convolution.rates import Rates

if TYPE_CHECKING:
    from overfeat_tools.backend.cuda import CudaBackend

_SOURCE = Path(__file__).with_name("card_kernels.cu")

# Threads of a block of those that transform, and of `multiply_few_rows`.
_THREADS = 128
_THREADS_OF_FEW_ROWS = 256

# Spectra and products of one round.
_ROUND_BYTES = 192 << 20

# Rows that a product of few rows may have: the sums of each are kept in registers.
_FEW_ROWS = 8

# Channels that are few; threads of a block for them, kernels of a thread, and the shared memory that a block may have.
_FEW_CHANNELS = 4
_THREADS_OF_FEW_CHANNELS = 192
_KERNELS_OF_THREAD = 8
_SHARED_BYTES = 48 << 10
_PLACE_BYTES = 16  # where the map of a place lies, and its first row and column
_WINDOWS = {1: 8, 2: 2, 3: 1}  # of a thread, by the size of the pool


@dataclass(frozen=True)
class FusedTiles(Tiles):
    """Cook-Toom tiles, transformed by one kernel each way."""

    def __str__(self) -> str:
        return super().__str__() + " fused"

    @property
    def packed_bytes(self) -> int:
        """Bytes of the evaluated weights."""
        return self.tiling.pixels * self.geometry.channels * self.geometry.kernels * FLOAT_BYTES

    def workspace_bytes(self, pictures: int) -> int:
        """Bound spectra and products of one round; there is no padded copy."""
        return self._tile_bytes * self.tiling.count * min(pictures, self._pictures_of_round)

    @property
    def _tile_bytes(self) -> int:
        return (self.geometry.channels + self.geometry.kernels) * self.tiling.pixels * FLOAT_BYTES

    @property
    def _pictures_of_round(self) -> int:
        return max(1, self.backend.block_bytes(_ROUND_BYTES) // (self._tile_bytes * self.tiling.count))

    def seconds(self, pictures: int, rates: Rates) -> float:
        """Estimate the time of one batch: products, and spectra written and read once."""
        tiles = self.tiling.count * pictures
        flops = 2.0 * self.tiling.pixels * self.geometry.channels * self.geometry.kernels * tiles
        moved = 2.0 * self._tile_bytes * tiles
        return rates.blas_seconds(flops, tiles, self.packed_bytes) + moved / rates.memory_bytes

    def packing_seconds(self, rates: Rates) -> float:
        """Estimate the time that evaluating the weights takes."""
        return self.packed_bytes / rates.pack_tile_bytes

    def holds(self, pool_size: int) -> bool:
        """Tell whether no window of the pool extends over two tiles."""
        return self._outputs % pool_size == 0

    @property
    def _outputs(self) -> int:
        return self.size[0] - self.geometry.kernel_height + 1

    @cached_property
    def _basis(self) -> CookToomBasis:
        return CookToomBasis(self.geometry, self.tiling, self.backend)

    def pack(self, weight: FloatArray) -> list[Array]:
        """Evaluate weights (K, C, kh, kw): an array (elements, C, K)."""
        spectra = self.backend.empty((self.tiling.pixels, self.geometry.channels, self.geometry.kernels))
        self._basis.transform_weights(weight, [spectra])
        return [spectra]

    def run(self, x: FloatArray, weights: Sequence[Array], y: FloatArray, epilogue: Epilogue) -> None:
        """Write the convolution of `x` into `y`."""
        for some in split(len(x), self._pictures_of_round):
            self._run_round(x[some], weights[0], y[some], epilogue)

    def _run_round(self, x: FloatArray, weights: Array, y: FloatArray, epilogue: Epilogue) -> None:
        backend, geometry, tiling = cast("CudaBackend", self.backend), self.geometry, self.tiling
        code = tile_code(tiling.height, geometry.kernel_height, epilogue.pool_size)
        tiles, grid = len(x) * tiling.count, (tiling.rows, tiling.columns)
        spectra = backend.empty((tiling.pixels, tiles, geometry.channels))
        blocks = -(-tiles * geometry.channels // _THREADS)
        backend.run_kernel(
            code, "evaluate_tiles", blocks, _THREADS, x, spectra, *x.shape, geometry.padding, *grid
        )
        products = backend.empty((tiling.pixels, tiles, geometry.kernels))
        backend.xp.matmul(spectra, weights, out=products)
        threshold = epilogue.threshold
        backend.run_kernel(
            code, "interpolate_tiles", -(-tiles * geometry.kernels // _THREADS), _THREADS, products, epilogue.bias, y,
            *y.shape, *grid, float(threshold or 0.0), int(threshold is not None),
        )  # fmt: skip


class FewRows(Algorithm):
    """A product of few rows, all weights read once: for kernels that are 1x1, or as large as the map."""

    method = "gemm"

    def __str__(self) -> str:
        return "few rows"

    def seconds(self, pictures: int, rates: Rates) -> float:
        """Estimate the time of reading the weights; more rows than few are never taken."""
        rows = pictures * self.geometry.out_pixels
        return self.geometry.weight_bytes / rates.memory_bytes if rows <= _FEW_ROWS else math.inf

    def workspace_bytes(self, pictures: int) -> int:
        """Bound a copy of the input in the order of the weights."""
        return pictures * self.geometry.out_pixels * self.geometry.taps * FLOAT_BYTES

    def run(self, x: FloatArray, weights: Sequence[Array], y: FloatArray, epilogue: Epilogue) -> None:
        """Write the convolution of `x` into `y`."""
        backend, geometry = cast("CudaBackend", self.backend), self.geometry
        inputs = x[:, : geometry.height, : geometry.width]
        ordered = inputs.transpose(0, 3, 1, 2) if geometry.covers_map else inputs
        patches = backend.xp.ascontiguousarray(ordered).reshape(-1, geometry.taps)
        threshold = epilogue.threshold
        backend.run_kernel(
            row_code(len(patches), _THREADS_OF_FEW_ROWS), "multiply_few_rows", geometry.kernels, _THREADS_OF_FEW_ROWS,
            weights[0], patches,
            epilogue.bias, y, geometry.taps, geometry.kernels, float(threshold or 0.0), int(threshold is not None),
        )  # fmt: skip


class FewChannels(Algorithm):
    """A convolution of few channels whose patches are stored nowhere; its pool, too."""

    method = "gemm"

    def __str__(self) -> str:
        return "few channels"

    def seconds(self, pictures: int, rates: Rates) -> float:
        """Estimate the time of multiplying."""
        return 2.0 * self.geometry.multiply_adds * pictures / rates.card_flops

    def workspace_bytes(self, pictures: int) -> int:  # noqa: ARG002 -- none
        """Give nothing: there is no padded copy either."""
        return 0

    def holds(self, pool_size: int) -> bool:
        """Tell whether a thread can take a window of the pool."""
        return pool_size in _WINDOWS

    def pack(self, weight: FloatArray) -> list[Array]:
        """Give the weights as a matrix (taps, K), the taps in the order of the map."""
        ordered = self.backend.xp.ascontiguousarray(weight.transpose(2, 3, 1, 0))
        return [ordered.reshape(self.geometry.taps, self.geometry.kernels)]

    def run(self, x: FloatArray, weights: Sequence[Array], y: FloatArray, epilogue: Epilogue) -> None:
        """Write the convolution of `x` into `y`."""
        backend, threshold = cast("CudaBackend", self.backend), epilogue.threshold
        across, down = _block(self.geometry)
        code, windows = channel_code(self.geometry, epilogue.pool_size, across, down), len(x) * y.shape[1] * y.shape[2]
        groups = self.geometry.kernels // (_KERNELS_OF_THREAD * across)
        blocks = groups * -(-windows // (_WINDOWS[epilogue.pool_size] * down))
        backend.run_kernel(
            code, "convolve_few_channels", blocks, across * down, x, weights[0], epilogue.bias, y,
            *x.shape[:3], self.geometry.padding, *y.shape[1:], float(threshold or 0.0), int(threshold is not None),
        )  # fmt: skip


def _block(geometry: Geometry) -> tuple[int, int]:
    """Give the threads of a block of `FewChannels`: for kernels, all or a part of them, and for windows, perhaps none.

    What they share, patches and weights of a kernel's row, must fit whatever the pool.
    """
    eights = geometry.kernels // _KERNELS_OF_THREAD
    across = max(share for share in range(1, 17) if eights % share == 0)
    places = max(windows * pool_size**2 for pool_size, windows in _WINDOWS.items())
    taps = geometry.kernel_width * geometry.channels
    room = _SHARED_BYTES - FLOAT_BYTES * taps * (1 + _KERNELS_OF_THREAD * across)
    fitting = room // (places * (FLOAT_BYTES * taps + _PLACE_BYTES))
    return across, min(fitting, max(1, _THREADS_OF_FEW_CHANNELS // across))


@cache
def channel_code(geometry: Geometry, pool_size: int, across: int, down: int) -> str:
    """Give the source of the kernel for maps of few channels."""
    definitions = {
        "CHANNELS": geometry.channels, "TAPS": geometry.kernel_width * geometry.channels,
        "KERNEL_ROWS": geometry.kernel_height, "STRIDE": geometry.stride, "POOL": pool_size,
        "WINDOWS": _WINDOWS[pool_size], "ACROSS": across, "DOWN": down,
    }  # fmt: skip
    return _code(definitions)


@cache
def tile_code(size: int, kernel: int, pool_size: int) -> str:
    """Give the source of the kernels for tiles of a size."""
    evaluate, _, interpolate = cook_toom.matrices(size, kernel)
    definitions = {
        "TILE": size, "OUTPUTS": size - kernel + 1, "POOL": pool_size, "EVALUATE": _initialiser(evaluate),
        "INTERPOLATE": _initialiser(interpolate),
    }  # fmt: skip
    return _code(definitions)


@cache
def row_code(rows: int, threads: int = _THREADS_OF_FEW_ROWS) -> str:
    """Give the source of the kernel for products of so many rows, by blocks of so many threads."""
    return _code({"ROWS": rows, "THREADS": threads})


def _code(definitions: Mapping[str, object]) -> str:
    lines = [f"#define {name} {value}\n" for name, value in definitions.items()]
    return "".join(lines) + _SOURCE.read_text(encoding="ascii")


def _initialiser(matrix: Array) -> str:
    """Write a matrix as C does, in float32; what is a zero but for the rounding of its derivation is one."""
    rounded = np.where(np.abs(matrix) < np.abs(matrix).max() * 1e-12, 0.0, matrix).astype(np.float32)
    rows = ("{" + ", ".join(f"{float(value)!r}f" for value in row) + "}" for row in rounded)
    return "{" + ", ".join(rows) + "}"


def candidates(geometry: Geometry, backend: Backend) -> Iterator[Algorithm]:
    """Give the algorithms that suit a convolution, on a card on which they are tried."""
    if not cast("CudaBackend", backend).paths.kernels:
        return
    if (geometry.is_pointwise or geometry.covers_map) and geometry.taps % 4 == 0:
        yield FewRows(geometry, backend)
    few = geometry.channels <= _FEW_CHANNELS and geometry.kernels % _KERNELS_OF_THREAD == 0
    if few and _block(geometry)[1] > 0:
        yield FewChannels(geometry, backend)
    if geometry.stride == 1 and geometry.kernel_height == geometry.kernel_width:
        for size in cook_toom.tile_sizes(geometry.kernel_height):
            if size[0] == size[1]:
                yield FusedTiles(geometry, backend, "cook-toom", size)
