"""A compiled product with the weights as they lie in the mapped file: the classifier, where nothing need be unfolded.

    y[p, k] = sum over t of weights[k, t] * patches[p, t]

1x1 kernels, and kernels as large as the map, make the map its own matrix of patches, up to the order of the taps.  A
few positions read the weights from memory and do little else, so packing the weights would cost more than it could
save: the patches are packed instead, into panels, and the rows of the weights are the rows of the product.  For very
few of them there is a kernel of its own.  Cost: the multiply-adds of the direct convolution, of whole panels.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from overfeat_tools.backend import Array, Backend, Call, FloatArray, Piece, Place, Scratch
from overfeat_tools.convolution.algorithm import Algorithm, compiler_of
from overfeat_tools.convolution.epilogue import Epilogue
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Geometry
from overfeat_tools.convolution.kernels import gemv
from overfeat_tools.convolution.kernels.gather import gather_kernel
from overfeat_tools.convolution.packing import Products, padded_count, panel_count, panel_width, runs
from overfeat_tools.convolution.rates import Rates

# Of so few rows reading the weights is all that takes time.
_FEW_ROWS = 2

# What a panel of one vector costs of one of two.
_ONE_VECTOR = 0.75

# What several panels cost of packed weights: each of them reads all rows of the weights again, far from each other.
_SEVERAL_PANELS = 1.15

# Terms that a thread gathers at a time, at least.
_LEAST_TERMS = 128


@dataclass(frozen=True)
class Unpacked(Algorithm):
    """The product of packed patches and the weights as they are.

    The kernel for very few rows of patches adds up in another order; `one_order` leaves it out.
    """

    method = "gemm"
    is_compiled = True

    one_order: bool = False

    def __str__(self) -> str:
        return "unpacked"

    def workspace_bytes(self, pictures: int) -> int:
        """Give the bytes of the patches, packed."""
        positions, compiler = pictures * self.geometry.out_pixels, compiler_of(self.backend)
        return padded_count(positions, panel_width(compiler)) * self.geometry.taps * FLOAT_BYTES

    def seconds(self, pictures: int, rates: Rates) -> float:
        """Estimate the time of one batch."""
        geometry, rows = self.geometry, self.geometry.out_pixels * pictures
        if rows <= _FEW_ROWS:
            product = geometry.weight_bytes / rates.memory_bytes
        else:
            # Whole panels are computed; one of a single vector at two thirds of the rate.
            width = panel_width(compiler_of(self.backend))
            computed = -(-rows // width) if rows > width // 2 else _ONE_VECTOR
            flops = 2.0 * geometry.kernels * geometry.taps * computed * width
            if computed > 1:
                flops *= _SEVERAL_PANELS
            product = rates.compiled_seconds(flops, geometry.weight_bytes)
        return product + geometry.taps * rows * FLOAT_BYTES / rates.pack_tile_bytes + 1.0 / rates.compiled_stages

    def pack(self, weight: FloatArray) -> list[Array]:
        """Give the weights as a matrix (K, taps)."""
        return [weight.reshape(self.geometry.kernels, self.geometry.taps)]

    def run(self, x: FloatArray, weights: Sequence[Array], y: FloatArray, epilogue: Epilogue) -> None:
        """Write the convolution of `x` into `y`."""
        geometry, compiler = self.geometry, compiler_of(self.backend)
        out = y.reshape(-1, geometry.kernels, copy=False)
        reads_only = geometry.kernels % gemv.ROWS == geometry.taps % gemv.terms_multiple(compiler) == 0
        if reads_only and not self.one_order and len(out) <= gemv.max_columns(compiler):
            self._multiply_few(self._columns(x, len(out)), weights[0], out, epilogue)
        else:
            self._multiply(self._panels(x, len(out)), weights[0], out, epilogue)

    def _multiply_few(self, columns: FloatArray, weights: Array, out: FloatArray, epilogue: Epilogue) -> None:
        """Multiply with columns (P, taps)."""
        compiler, count = compiler_of(self.backend), len(columns)
        kernel, row_floats = gemv.gemv_kernel(compiler, count), weights.strides[0] // FLOAT_BYTES

        def piece(groups: slice) -> Piece:
            kernels = slice(groups.start * gemv.ROWS, groups.stop * gemv.ROWS)
            rows = weights[kernels]
            product = Call(kernel, (Scratch(), rows, row_floats, columns, rows.shape[1], len(rows)))
            return [product, epilogue.transposed_call(Scratch(), count, out, kernels, compiler)]

        self._launch(piece, len(weights) // gemv.ROWS, gemv.ROWS * count)

    def _multiply(self, panels: FloatArray, weights: Array, out: FloatArray, epilogue: Epilogue) -> None:
        """Multiply with panels (panels, taps, width)."""
        row_floats, width = weights.strides[0] // FLOAT_BYTES, len(panels) * panels.shape[2]
        offsets, terms = np.arange(len(weights), dtype=np.int64) * row_floats, runs((0,), weights.shape[1])

        def piece(kernels: slice) -> Piece:
            rows = offsets[: kernels.stop - kernels.start]
            products = Products(weights[kernels], 0, rows, terms, panels[None], Scratch(), (0, width))
            end = epilogue.transposed_call(Scratch(), width, out, kernels, compiler_of(self.backend))
            return [*products.calls(slice(0, len(panels)), self.backend), end]

        self._launch(piece, len(weights), width)

    def _launch(self, piece: Callable[[slice], Piece], count: int, floats: int) -> None:
        """Share out `count` groups of rows, each with so many products."""
        chunks = self.backend.chunks(count)
        most = max(chunk.stop - chunk.start for chunk in chunks)
        self.backend.launch([piece(chunk) for chunk in chunks], most * floats * FLOAT_BYTES)

    def _columns(self, x: FloatArray, count: int) -> FloatArray:
        """Copy the patches side by side: (P, taps)."""
        geometry = self.geometry
        if geometry.is_pointwise and x[0].size == geometry.out_pixels * geometry.taps:
            return x.reshape(count, geometry.taps, copy=False)
        columns = self.backend.workspace("patches", (count, geometry.taps))
        self._gather(x, [columns], 1, geometry.taps, count)
        return columns

    def _panels(self, x: FloatArray, count: int) -> FloatArray:
        """Copy the patches into panels (panels, taps, width); a few go into a panel of one vector."""
        compiler, taps = compiler_of(self.backend), self.geometry.taps
        width = min(panel_width(compiler), padded_count(count, compiler.lanes))
        panels = self.backend.workspace("patches", (panel_count(count, width), taps, width))
        self._gather(x, list(panels), width, 1, width)
        return panels

    def _gather(self, x: FloatArray, parts: list[FloatArray], term_step: int, column_step: int, width: int) -> None:
        """Copy `width` columns into each of the parts."""
        kernel, (columns, terms) = gather_kernel(compiler_of(self.backend)), self._places(x)
        self.backend.launch([
            [
                Call(kernel, (
                    part, term_step, column_step, width, x, Place(columns, first * columns.itemsize),
                    min(width, len(columns) - first), terms, some.start, some.stop,
                ))
                for part, first in zip(parts, itertools.count(0, width), strict=False)
            ]
            for some in self.backend.chunks(len(terms), _LEAST_TERMS)
        ])  # fmt: skip

    def _places(self, x: FloatArray) -> tuple[Array, Array]:
        """Give where each patch begins in `x`, and where its taps are from there, in floats."""
        geometry = self.geometry
        picture, row, column = (stride // FLOAT_BYTES for stride in x.strides[:3])
        i, j = (np.arange(length, dtype=np.int64) for length in (geometry.height, geometry.width))
        pixels = np.add.outer(i * row, j * column)
        channels, pictures = np.arange(geometry.channels, dtype=np.int64), np.arange(len(x), dtype=np.int64) * picture
        if geometry.covers_map:
            return pictures, np.add.outer(channels, pixels).ravel()
        return np.add.outer(pictures, pixels).ravel(), channels


def candidates(geometry: Geometry, backend: Backend) -> Iterator[Algorithm]:
    """Give the algorithm where the map is its own matrix of patches."""
    if backend.compiler and (geometry.is_pointwise or geometry.covers_map):
        yield Unpacked(geometry, backend)
