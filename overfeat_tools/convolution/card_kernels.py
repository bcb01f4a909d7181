"""Algorithms by kernels of our own for a card (`card_kernels.cu`): fused Cook-Toom tiles, products of few rows.

The portable tiles are chains of elementwise kernels, each of which reads and writes all spectra; here one kernel
gathers tiles and evaluates them, and one interpolates, pools, adds the bias, rectifies and stores.  Between them is a
library's product.  A product of few rows, the classifier's of a single picture, only reads weights: a kernel does so in
one pass.

None of this has run on a card yet.  It is offered only where `cuda.Paths.kernels` asks for it; the tests compile the
kernels for the processor, and compare them with the definition.
"""

import math
from collections.abc import Iterator, Sequence
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


def _code(definitions: dict[str, object]) -> str:
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
    if geometry.stride == 1 and geometry.kernel_height == geometry.kernel_width:
        for size in cook_toom.tile_sizes(geometry.kernel_height):
            if size[0] == size[1]:
                yield FusedTiles(geometry, backend, "cook-toom", size)
