"""Indirect convolution: one matrix product of which nothing is unfolded.

With the channels last the inputs of one output are kh runs of kw * C neighbours.  The compiled product
(`kernels/matmul.py`) takes the beginnings of its rows from a table, so the map itself is its matrix:

    y[p, k] = sum over i < kh, t < kw * C of x[p + i * W * C + t] * panels[k, i * kw * C + t].

Cost: the multiply-adds of the direct convolution, at the full speed of the processor, for any kernel size and
stride.  The weights must be packed first.

Source: Dukhan, The Indirect Convolution Algorithm, arXiv:1907.02129.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from overfeat_tools.backend import Array, Backend, Call, FloatArray, Piece, Place, Scratch
from overfeat_tools.convolution.algorithm import Algorithm, compiled_pad, compiler_of
from overfeat_tools.convolution.epilogue import Epilogue
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Geometry, split
from overfeat_tools.convolution.kernels.pad import pad_kernel
from overfeat_tools.convolution.packing import Products, pack_panel, padded_count, panel_count, panel_width, runs
from overfeat_tools.convolution.rates import Rates

# Chunks of work for each thread: enough that none waits long for the last one.
_CHUNKS_A_THREAD = 4

# Sums of a band of outputs: large bands are quicker even where they leave the second-level cache, since each chunk of
# work costs a few calls.
_BAND_BYTES = 2 << 20

# Inputs that all panels meet before the next inputs, where there is one map: what a cache that the threads share keeps.
# On two cores, 1x1 kernels of 4096 channels are 1.05 times as fast as where each panel meets all inputs.
_INPUT_BYTES = 8 << 20

# Pixels that begin at the same place of a page share the few lines of a cache that such places have: with 1x1 kernels,
# where a row of the product is one pixel, they are read from farther away each time.
_PAGE_FLOATS, _GAP_FLOATS = 1024, 16
_LEAST_PIXELS = 16


class Indirect(Algorithm):
    """The compiled product on packed weights and a table of offsets."""

    method = "gemm"
    is_compiled = True

    def __str__(self) -> str:
        return "indirect"

    @property
    def packed_bytes(self) -> int:
        """Bytes of the panels."""
        return self._padded_kernels * self.geometry.taps * FLOAT_BYTES

    @property
    def _padded_kernels(self) -> int:
        """Kernels that the panels have room for: all are computed."""
        return padded_count(self.geometry.kernels, panel_width(compiler_of(self.backend)))

    def workspace_bytes(self, pictures: int) -> int:
        """Add the sums of a band of outputs for each thread."""
        geometry, row_bytes = self.geometry, self.geometry.out_width * self._padded_kernels * FLOAT_BYTES
        moved = pictures * geometry.out_pixels * (geometry.channels + _GAP_FLOATS) * FLOAT_BYTES if self._gap else 0
        return super().workspace_bytes(pictures) + moved + self.backend.threads * (_BAND_BYTES + row_bytes)

    def seconds(self, pictures: int, rates: Rates) -> float:
        """Estimate the time of one batch."""
        flops = 2.0 * self._padded_kernels * self.geometry.taps * self.geometry.out_pixels * pictures
        return rates.compiled_seconds(flops, self.packed_bytes) + 1.0 / rates.compiled_stages

    def packing_seconds(self, rates: Rates) -> float:
        """Estimate the time that packing takes."""
        return self.packed_bytes / rates.pack_panel_bytes

    def holds(self, pool_size: int) -> bool:  # noqa: ARG002 -- bands of any pool can be taken
        """Tell that every pool is taken on the way."""
        return True

    def pack(self, weight: FloatArray) -> list[Array]:
        """Pack weights into panels (panels, kh*kw*C, width)."""
        geometry, width = self.geometry, panel_width(compiler_of(self.backend))
        count = panel_count(geometry.kernels, width)
        shape = (count, geometry.kernel_height * geometry.kernel_width, geometry.channels, width)
        panels = self.backend.empty(shape)
        self.backend.parallel_for(lambda number: pack_panel(weight, number, panels[number]), range(count))
        return [panels.reshape(count, geometry.taps, width)]

    def run(self, x: FloatArray, weights: Sequence[Array], y: FloatArray, epilogue: Epilogue) -> None:
        """Write the convolution of `x` into `y`."""
        geometry, backend, (panels,) = self.geometry, self.backend, weights
        if not y.size:  # a pool that is larger than the map
            return
        if geometry.is_pointwise and epilogue.pool_size == 1 and x.shape[1:3] == y.shape[1:3]:
            # Where no kernel reaches over an edge, all maps of the batch are one: panels meet more rows at a time.
            x, y = (maps.reshape(1, -1, *maps.shape[2:], copy=False) for maps in (x, y))
        inputs = self._apart(x) if self._gap else compiled_pad(x, geometry, backend)
        pool_size, compiler = epilogue.pool_size, compiler_of(backend)
        picture_floats, row_floats = (stride // FLOAT_BYTES for stride in inputs.strides[:2])
        width, out_rows = panels.shape[2], y.shape[1] * pool_size
        starts = tuple(i * row_floats for i in range(geometry.kernel_height))
        terms = runs(starts, geometry.kernel_width * geometry.channels)
        schedule = self._schedule(panels, len(x), out_rows, pool_size)
        panel_range, _, band = schedule[0]
        scratch_bytes = (panel_range.stop * width) * (band.stop * geometry.out_width) * FLOAT_BYTES
        offsets = self._offsets(band.stop, row_floats)

        def piece(panel_range: slice, picture: int, band: slice) -> Piece:
            count, top, bottom = panel_range.stop - panel_range.start, band.start, band.stop
            rows = offsets[: (bottom - top) * geometry.out_width]
            kernels = slice(panel_range.start * width, panel_range.stop * width)
            first = picture * picture_floats + top * geometry.stride * row_floats
            source, sums, row_stride = Place(inputs, first * FLOAT_BYTES), Scratch(), count * width
            products = Products(source, 0, rows, terms, panels[None, panel_range], sums, (0, row_stride))
            target = y[picture, top // pool_size : bottom // pool_size, :, kernels]  # the last panel may be padded
            strides = geometry.out_width * row_stride, row_stride
            end = epilogue.call(sums, strides, target, kernels, compiler)
            return [*products.calls(slice(0, count), backend), end]

        backend.launch([piece(*part) for part in schedule], scratch_bytes)

    @property
    def _gap(self) -> int:
        """Floats to put between pixels."""
        return _GAP_FLOATS if self.geometry.is_pointwise and self.geometry.channels % _PAGE_FLOATS == 0 else 0

    def _apart(self, x: FloatArray) -> FloatArray:
        """Copy maps (N, H, W, C), so that pixels don't compete for lines of the cache: (N, H, W, C + gap)."""
        compiler, backend, (*pixels, channels) = compiler_of(self.backend), self.backend, x.shape
        y: FloatArray = backend.workspace("padded", (*pixels, channels + self._gap))
        count = math.prod(pixels)
        backend.launch([
            [Call(pad_kernel(compiler), (y, x, y.shape[3], channels, count, 0, 0, some.start, some.stop))]
            for some in backend.chunks(count, _LEAST_PIXELS)
        ])  # fmt: skip
        return y

    def _schedule(
        self, panels: FloatArray, pictures: int, out_rows: int, pool_size: int
    ) -> list[tuple[slice, int, slice]]:
        """Give, in order, which panels meet which picture's band of output rows; the first are as large as any."""
        geometry, threads, width = self.geometry, self.backend.parallel, panels.shape[2]
        # Each group of panels stays in the cache, if it can, while a band of outputs passes.
        count = -(-len(panels) // max(1, self.backend.cache_bytes // panels[0].nbytes))
        if count > 1:
            count = max(count, min(len(panels), 2 * threads))
        groups = split(len(panels), -(-len(panels) // count))
        most = _BAND_BYTES // (FLOAT_BYTES * geometry.out_width * groups[0].stop * width)
        chunks = -(-_CHUNKS_A_THREAD * threads // (pictures * len(groups)))
        band = max(1, min(most, -(-out_rows // chunks)) // pool_size) * pool_size
        if band < out_rows or pictures > 1 or len(groups) == 1:
            return list(itertools.product(groups, range(pictures), split(out_rows, band)))
        # A panel need not stay in the cache for other maps: inputs do, and fewer chunks of work are quicker.
        groups = split(len(panels), -(-len(panels) // (2 * _CHUNKS_A_THREAD * threads)))
        row_bytes = geometry.stride * geometry.width * geometry.channels * FLOAT_BYTES
        band = max(1, _INPUT_BYTES // row_bytes // pool_size) * pool_size
        return [(some, 0, rows) for rows in split(out_rows, band) for some in groups]

    def _offsets(self, rows: int, row_floats: int) -> Array:
        """Give where the inputs of each output in a band of rows begin, counted from the first input."""
        geometry = self.geometry
        down = np.arange(rows) * (geometry.stride * row_floats)
        right = np.arange(geometry.out_width) * (geometry.stride * (geometry.channels + self._gap))
        return np.add.outer(down, right).ravel().astype(np.int64)


def candidates(geometry: Geometry, backend: Backend) -> Iterator[Algorithm]:
    """Give the algorithm where it is worth packing: weights that meet one position only are sooner read as they lie."""
    if backend.compiler and geometry.kernels >= panel_width(backend.compiler) // 2 and geometry.out_pixels > 1:
        yield Indirect(geometry, backend)
