"""Convolution as a matrix product: unfold the patches (im2col), multiply by the weights.

    patches[position, tap] = x[n, stride * row + i, stride * col + j, c],        y = patches @ weights'

The weights are used as they lie in the mapped file, taps in the order (C, kh, kw); only small ones are packed into
the order of the map, (kh, kw, C), so that a patch is copied in long runs.  1x1 kernels, and kernels as large as the
map, need no patches.  Cost: the multiply-adds of the direct convolution.  It serves every geometry and device.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray
from overfeat_tools.convolution.algorithm import Algorithm, padded
from overfeat_tools.convolution.epilogue import Epilogue
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Geometry, split
from overfeat_tools.convolution.rates import Rates

# Patches held at a time: enough rows for the product to run at full speed, yet few enough to stay in the last-level
# cache of most machines.
_PATCH_BYTES = 16 << 20

# Below this a copy of the weights in another order costs nothing to speak of.
_SMALL_WEIGHT_BYTES = 1 << 20

# Products summed up at a time: rounding grows with the length of a sum.  All of them in a product of one row: it is
# bound by reading the weights without a break, and BLAS sums up many parts of it side by side.
_TERMS = 512

# Up to so many rows of patches a product by a library goes better with both operands exchanged.
_FEW_POSITIONS = 96


class Gemm(Algorithm):
    """A product of unfolded patches and all weights."""

    method = "gemm"

    @property
    def _packs(self) -> bool:
        return self.geometry.weight_bytes <= _SMALL_WEIGHT_BYTES and not self._is_unfolded

    @property
    def _is_unfolded(self) -> bool:
        """Whether the map is its own matrix of patches, up to the order of the taps."""
        return self.geometry.is_pointwise or self.geometry.covers_map

    def workspace_bytes(self, pictures: int) -> int:
        """Add the patches, of which a part is unfolded at a time."""
        row_bytes = self.geometry.taps * self.geometry.out_width * FLOAT_BYTES
        patches = min(pictures * self.geometry.out_height * row_bytes, max(row_bytes, _PATCH_BYTES))
        return super().workspace_bytes(pictures) + patches

    @property
    def packing(self) -> str:
        """Tell apart the two orders of the weights."""
        return "gemm, small" if self._packs else "gemm"

    def seconds(self, pictures: int, rates: Rates) -> float:
        """Estimate the time of one batch."""
        geometry, rows = self.geometry, self.geometry.out_pixels * pictures
        flops = 2.0 * geometry.multiply_adds * pictures
        product = rates.blas_seconds(flops, rows, geometry.weight_bytes)
        if rows == 1:  # reading is all there is to it, though compiled kernels do it better
            product = 1.1 * geometry.weight_bytes / rates.memory_bytes
        unfolded = 0 if self._is_unfolded else geometry.taps * rows * FLOAT_BYTES
        return product + unfolded / rates.unfold_bytes + 1.0 / rates.stages

    def pack(self, weight: FloatArray) -> list[Array]:
        """Give the weights as a matrix (K, taps)."""
        ordered = self.backend.xp.ascontiguousarray(weight.transpose(0, 2, 3, 1)) if self._packs else weight
        return [ordered.reshape(self.geometry.kernels, self.geometry.taps)]

    def run(self, x: FloatArray, weights: Sequence[Array], y: FloatArray, epilogue: Epilogue) -> None:
        """Write the convolution of `x` into `y`."""
        for patches, out in self._rounds(x, y):
            self._multiply(patches, weights[0], out, epilogue)

    def _rounds(self, x: FloatArray, y: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Give patches (positions, taps) and their part of the output (positions, K)."""
        geometry = self.geometry
        if self._is_unfolded:
            inputs = x[:, : geometry.height, : geometry.width]
            flat = inputs.transpose(0, 3, 1, 2) if geometry.covers_map else inputs
            yield flat.reshape(-1, geometry.taps), y.reshape(-1, geometry.kernels)
            return
        windows = self._windows(padded(x, geometry, self.backend))
        row_bytes = geometry.taps * geometry.out_width * FLOAT_BYTES
        rows = max(1, self.backend.block_bytes(_PATCH_BYTES) // row_bytes)
        for pictures in split(len(x), max(1, rows // geometry.out_height)):
            for band in split(geometry.out_height, rows):
                out = y[pictures, band]
                yield self._unfold(windows[pictures, band]), out.reshape(-1, geometry.kernels)

    def _windows(self, x: FloatArray) -> Array:
        """View all patches of padded maps without a copy: (N, out_height, out_width, *taps)."""
        geometry = self.geometry
        picture, row, column, channel = x.strides
        shape = (
            len(x), geometry.out_height, geometry.out_width,
            geometry.kernel_height, geometry.kernel_width, geometry.channels,
        )  # fmt: skip
        strides = (picture, row * geometry.stride, column * geometry.stride, row, column, channel)
        view: Array = self.backend.xp.lib.stride_tricks.as_strided(x, shape, strides)
        return view if self._packs else view.transpose(0, 1, 2, 5, 3, 4)

    def _unfold(self, windows: Array) -> FloatArray:
        """Copy patches side by side: (positions, taps)."""
        patches = self.backend.workspace("patches", windows.shape)

        def copy(band: tuple[int, slice]) -> None:
            patches[band] = windows[band]

        rows = self.backend.chunks(windows.shape[1])
        self.backend.parallel_for(copy, list(itertools.product(range(len(windows)), rows)))
        return patches.reshape(-1, self.geometry.taps)

    def _multiply(self, patches: FloatArray, weights: Array, out: FloatArray, epilogue: Epilogue) -> None:
        """Write `patches` (P, taps) @ `weights` (K, taps)' and its epilogue into `out` (P, K)."""
        # The larger operand is shared out, so that each thread reads a part of it only.
        by_kernels = len(weights) >= len(patches)
        terms = self.geometry.taps if len(patches) == 1 else self.backend.block_bytes(_TERMS)
        few = by_kernels and len(patches) <= _FEW_POSITIONS
        columns = self.backend.xp.ascontiguousarray(patches.T) if few else patches.T

        def multiply(chunk: slice) -> None:
            positions, kernels = (slice(None), chunk) if by_kernels else (chunk, slice(None))
            target = out[positions, kernels]
            if few:
                # BLAS is 1.7 times as fast with the weights on the left as with both exchanged.
                product = self.backend.workspace("product", (len(weights[kernels]), len(patches)), of_thread=True)
                self._sum_in_short(weights[kernels], columns, product, terms)
                target[...] = product.T
            else:
                self._sum_in_short(patches[positions], weights[kernels].T, target, terms)
            epilogue.apply(target, kernels)

        self.backend.parallel_for(multiply, self.backend.chunks(max(len(weights), len(patches))))

    def _sum_in_short(self, left: Array, right: Array, out: Array, terms: int) -> None:
        """Write `left` (M, L) @ `right` (L, R) into `out`, in sums of at most `terms`, added up in pairs of pairs."""
        length = left.shape[1]
        if length <= terms:
            # numpy's matmul of a vector keeps the interpreter's lock, and so other threads from theirs.
            product = self.backend.xp.dot if out.shape[1] == 1 else self.backend.xp.matmul
            product(left, right, out=out)
            return
        middle = terms * -(-length // (2 * terms))
        self._sum_in_short(left[:, :middle], right[:middle], out, terms)
        rest = self.backend.xp.empty(out.shape, np.float32)
        self._sum_in_short(left[:, middle:], right[middle:], rest, terms)
        out += rest


def candidates(geometry: Geometry, backend: Backend) -> Iterator[Algorithm]:
    """Give the algorithm, which suits everything."""
    yield Gemm(geometry, backend)
