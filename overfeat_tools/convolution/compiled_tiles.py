"""Convolution in a transform domain, compiled: tiles -> spectra -> one product an element -> outputs.

    V[e, tile, c]  spectra of the tiles         each tile is read where it lies in the map
    M[e, tile, k] = sum over c of V[e, tile, c] * U[e, c, k]       real or complex
    outputs        transformed back, pooled, biased, rectified and stored in place in one go

The basis, in which convolving is multiplying, is a parameter (`bases.py`): Fourier or Cook-Toom.  The channels come
last everywhere, so nothing is rearranged between the three steps, and a single picture runs as well as a batch.  An
element has one number of a channel or two: the first numbers of all channels, then the second ones.

Tiles are taken in rounds: as many as the threads' own caches hold about half of V and M for, but so many that reading
U again for each round costs less than writing and reading V and M.

Where whole tiles don't fit a map, those at its edges can be trimmed.  A smaller Cook-Toom tile has the first points of
a larger one on each axis, and so a part of its U: nothing more is packed for it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from overfeat_tools.backend import Array, Call, FloatArray, Place, Scratch
from overfeat_tools.convolution.algorithm import Tiles, compiler_of
from overfeat_tools.convolution.bases import REAL_BINS, CompiledBasis, Part, compiled_basis
from overfeat_tools.convolution.cook_toom import LARGE_TILE, real_points
from overfeat_tools.convolution.epilogue import Epilogue
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Tiling, split, trim
from overfeat_tools.convolution.packing import TERMS, Products, pack_panel, padded_count, panel_count, panel_width, runs
from overfeat_tools.convolution.rates import Rates

# V and M together, for one round of tiles: what suits the caches of a thread, and what bounds memory for all of them.
_THREAD_ROUND_BYTES = 2 << 20
_MOST_ROUND_BYTES = 128 << 20

# Between one element and the next, and between one tile and the next: the elements of a tile, and the tiles that
# are multiplied at a time, should not compete for the same lines of a cache.
_GAP_FLOATS = 80
_TILE_GAP_FLOATS = 16

# One thread transforms so few numbers sooner than others have heard of it.
_ALONE_FLOATS = 1 << 15

# Where each chunk has fewer tiles, channels are shared out as well.
_MANY_TILES = 8

# Fewer panels are no chunk of work of their own.
_LEAST_PANELS = 16

# Trimmed tiles are worth kernels of their own, which must be compiled, where they save more than this.
_WORTH_TRIMMING = 1.03

# Large Cook-Toom tiles magnify the rounding of a sum: theirs are shorter, which takes a little longer.
_TERMS_OF_LARGE_TILES = 64
_SHORT_SUMS = 1.03


@dataclass(frozen=True)
class CompiledTiles(Tiles):
    """Tiles whose transforms and products are compiled; `trimmed` ones don't hang over the edges of a map."""

    is_compiled = True

    trimmed: bool = False

    def __str__(self) -> str:
        return f"{self.packing} trimmed" if self.trimmed else self.packing

    @property
    def packing(self) -> str:
        """Name the basis and the size: trimmed tiles share the weights of whole ones."""
        return super().__str__()

    @cached_property
    def _basis(self) -> CompiledBasis:
        return compiled_basis(self.basis_name, self.geometry, self.size, compiler_of(self.backend))

    @cached_property
    def tilings(self) -> list[Tiling]:
        """The sizes of tiles that there are, and where."""
        return trim(self.geometry, *self.size, real_points(self.size[0])) if self.trimmed else [self.tiling]

    def holds(self, pool_size: int) -> bool:
        """Tell whether no window of the pool extends over two tiles."""
        return all(one.out_height % pool_size == one.out_width % pool_size == 0 for one in self.tilings)

    @property
    def _padded(self) -> int:
        return padded_count(self.geometry.kernels, panel_width(compiler_of(self.backend)))

    @property
    def _has_short_sums(self) -> bool:
        return self.basis_name == "cook-toom" and max(self.size) >= LARGE_TILE

    @property
    def packed_bytes(self) -> int:
        """Bytes of U: as many numbers as a tile has places; the real ones fill panels."""
        real = REAL_BINS if self.basis_name == "fft" else real_points(self.size[0]) * self.size[1]
        kernels = real * self._padded + (self.tiling.pixels - real) * self.geometry.kernels
        return kernels * self.geometry.channels * FLOAT_BYTES

    def tiles_in_a_round(self, tiling: Tiling) -> int:
        """Tell how many tiles make a round."""
        channels, kernels = self.geometry.channels, self._padded
        tile_bytes = (channels + kernels) * tiling.pixels * FLOAT_BYTES
        worth_reading = channels * kernels // (channels + kernels)
        cached = self.backend.parallel * _THREAD_ROUND_BYTES // tile_bytes
        return max(1, min(max(cached, worth_reading), _MOST_ROUND_BYTES // tile_bytes))

    def workspace_bytes(self, pictures: int) -> int:
        """Give the bytes of V and M of one round."""
        channels = self.geometry.channels + self._padded + 2 * _TILE_GAP_FLOATS
        return max(
            (min(self.tiles_in_a_round(one), one.count * pictures) * channels + 2 * _GAP_FLOATS)
            * one.pixels * FLOAT_BYTES
            for one in self.tilings
        )  # fmt: skip

    def seconds(self, pictures: int, rates: Rates) -> float:
        """Estimate the time of one batch: the product, moving V and M, a stage for each round."""
        taken = sum(self._seconds_of(one, one.count * pictures, rates) for one in self.tilings)
        return taken * _WORTH_TRIMMING if self.trimmed else taken

    def _seconds_of(self, tiling: Tiling, tiles: int, rates: Rates) -> float:
        packed_bytes = self.packed_bytes * tiling.pixels / self.tiling.pixels
        rounds = -(-tiles // self.tiles_in_a_round(tiling))
        # A complex product is four real ones, of two numbers of a spectrum.
        complex_ = tiling.height if self.basis_name == "fft" else tiling.height - real_points(tiling.height)
        flops = packed_bytes / FLOAT_BYTES * 2.0 * tiles * (1 + complex_ / tiling.height)
        if self._has_short_sums:
            flops *= _SHORT_SUMS
        moved = 2.0 * (self.geometry.channels + self.geometry.kernels) * tiles * tiling.pixels * FLOAT_BYTES
        product = rates.compiled_seconds(flops, rounds * packed_bytes)
        return product + moved / rates.compiled_tile_bytes + rounds / rates.compiled_stages

    def packing_seconds(self, rates: Rates) -> float:
        """Estimate the time that transforming the weights takes; for single outputs they are never worth the memory."""
        return math.inf if self.geometry.covers_map else self.packed_bytes / rates.pack_tile_bytes

    def pack(self, weight: FloatArray) -> list[Array]:
        """Transform the weights, and pack them.

        Parameters
        ----------
        weight : array (K, C, kh, kw) float32

        Returns
        -------
        list of arrays, one for each part of the basis
            (depth, elements, panels, C, width) float32, or of complex elements (elements, panels, C, 2 * lanes).
        """
        return [self._pack_part(part, weight) for part in self._basis.parts]

    def _pack_part(self, part: Part, weight: FloatArray) -> Array:
        (depth, elements, places), channels = part.kernels.shape, self.geometry.channels
        compiler = compiler_of(self.backend)
        width = compiler.lanes if part.complex else panel_width(compiler)
        count = panel_count(len(weight), width)
        if part.complex:
            packed = self.backend.empty((elements, count, channels, depth * width))
            spectra = packed.reshape(elements, count, channels, depth, width).transpose(3, 0, 1, 2, 4)
        else:
            packed = spectra = self.backend.empty((depth, elements, count, channels, width))

        def transform(number: int) -> None:
            panel = self.backend.workspace("panel", (places, channels, width), of_thread=True)
            pack_panel(weight, number, panel)
            taps = panel.reshape(places, -1)
            for spectrum, matrix in zip(spectra[:, :, number], part.kernels, strict=True):
                if part.complex:  # in pieces of one vector
                    spectrum[...] = (matrix @ taps).reshape(spectrum.shape)
                else:
                    np.matmul(matrix, taps, out=spectrum.reshape(elements, -1, copy=False))

        self.backend.parallel_for(transform, range(count))
        return packed

    def run(self, x: FloatArray, weights: Sequence[Array], y: FloatArray, epilogue: Epilogue) -> None:
        """Write the convolution of `x` into `y`; K and C are multiples of the width of a vector."""
        for tiling in self.tilings:
            size = tiling.height, tiling.width
            basis = compiled_basis(self.basis_name, self.geometry, size, compiler_of(self.backend), self.size)
            count = tiling.count * len(x)
            rounds = -(-count // self.tiles_in_a_round(tiling))
            for tiles in split(count, -(-count // rounds)):
                spectra = self._forward(x, basis, tiling, tiles)
                products = self._multiply(spectra, weights, basis, tiling)
                self._inverse(products, y, basis, tiling, tiles, epilogue)

    @cached_property
    def _zeros(self) -> FloatArray:
        zeros: FloatArray = np.zeros(self.geometry.channels, np.float32)
        return zeros

    def _forward(self, x: FloatArray, basis: CompiledBasis, tiling: Tiling, tiles: slice) -> FloatArray:
        """Make the spectra V of some tiles: (elements, tiles, depth * C)."""
        geometry, forward = self.geometry, basis.forward()
        spectra = self._workspace("spectra", basis, tiles.stop - tiles.start, geometry.channels)
        # A map smaller than a tile is one tile, so that this is right there, too.
        steps = tiling.height - geometry.kernel_height + 1, tiling.width - geometry.kernel_width + 1
        self.backend.launch([
            [Call(forward, (
                spectra, x, self._zeros, *[stride // FLOAT_BYTES for stride in spectra.strides[:2]], *x.shape[1:],
                *steps, geometry.padding - tiling.top, geometry.padding - tiling.left, tiling.columns, tiling.rows,
                tiles.start, some.start, some.stop, channels.start, channels.stop,
            ))]
            for some, channels in self._chunks(tiling, tiles, geometry.channels)
        ])  # fmt: skip
        return spectra

    def _multiply(
        self, spectra: FloatArray, weights: Sequence[Array], basis: CompiledBasis, tiling: Tiling
    ) -> FloatArray:
        """Multiply element by element: (elements, tiles, depth * kernels)."""
        count = spectra.shape[1]
        products = self._workspace("products", basis, count, self._padded)
        rows = np.arange(count, dtype=np.int64) * (spectra.strides[1] // FLOAT_BYTES)
        self.backend.launch([
            product.calls(panels, self.backend)
            for part, packed in zip(basis.parts, weights, strict=False)  # small tiles have no complex part
            for some, wanted in self._matching(part, tiling)
            for product in self._products(part, spectra[some], rows, packed[..., wanted, :, :, :], products[some])
            for panels in self.backend.chunks(product.panels.shape[0] * product.panels.shape[1], _LEAST_PANELS)
        ])  # fmt: skip
        return products

    def _matching(self, part: Part, tiling: Tiling) -> Iterator[tuple[slice, slice]]:
        """Give elements of a part, and which of the packed weights are theirs."""
        count, width = part.elements.stop - part.elements.start, self.size[1]
        if tiling.width == width:
            yield part.elements, slice(0, count)
            return
        for row in range(count // tiling.width):
            first = part.elements.start + row * tiling.width
            yield slice(first, first + tiling.width), slice(row * width, row * width + tiling.width)

    def _products(self, part: Part, x: FloatArray, rows: Array, packed: Array, out: FloatArray) -> Iterator[Products]:
        channels, kernels = self.geometry.channels, self._padded
        terms = runs((0,), channels, _TERMS_OF_LARGE_TILES if self._has_short_sums else TERMS)
        x_step, *out_strides = (stride // FLOAT_BYTES for stride in (x.strides[0], *out.strides[:2]))
        strides = out_strides[0], out_strides[1]
        if part.complex:
            apart = channels, kernels
            if part.imaginary:
                apart = part.imaginary * x_step, part.imaginary * out_strides[0]
            yield Products(x, x_step, rows, terms, packed, out, strides, apart)
            return
        for i, panels in enumerate(packed):
            source, target = (Place(array, i * count * FLOAT_BYTES) for array, count in ((x, channels), (out, kernels)))
            yield Products(source, x_step, rows, terms, panels, target, strides)

    def _inverse(
        self, products: FloatArray, y: FloatArray, basis: CompiledBasis, tiling: Tiling, tiles: slice,
        epilogue: Epilogue,
    ) -> None:  # fmt: skip
        """Turn products into outputs and store them in place."""
        inverse, kernels, discarded = basis.inverse(epilogue.pool_size), self.geometry.kernels, Scratch()
        corner = tiling.top // epilogue.pool_size, tiling.left // epilogue.pool_size
        self.backend.launch([
            [Call(inverse, (
                y, products, epilogue.bias, discarded,
                *[stride // FLOAT_BYTES for stride in products.strides[:2]], *y.shape[1:],
                self._padded, *corner, tiling.columns, tiling.rows, tiles.start, some.start, some.stop,
                channels.start, channels.stop, *epilogue.rectifier_arguments,
            ))]
            for some, channels in self._chunks(tiling, tiles, kernels)
        ], kernels * FLOAT_BYTES)  # fmt: skip

    def _chunks(self, tiling: Tiling, tiles: slice, channels: int) -> list[tuple[slice, slice]]:
        """Share out tiles, or channels where the tiles are few, or both, or nothing."""
        count, first = tiles.stop - tiles.start, tiles.start
        if count * channels * tiling.pixels <= _ALONE_FLOATS:
            return [(tiles, slice(0, channels))]
        by_tiles, lanes = self.backend.chunks(count), compiler_of(self.backend).lanes
        if count >= _MANY_TILES * len(by_tiles):
            return [(slice(first + some.start, first + some.stop), slice(0, channels)) for some in by_tiles]
        vectors = self.backend.chunks(channels // lanes)
        wanted = -(-len(self.backend.chunks(count * channels)) // len(vectors))
        return [
            (slice(first + some.start, first + some.stop), slice(part.start * lanes, part.stop * lanes))
            for part in vectors
            for some in split(count, -(-count // wanted))
        ]

    def _workspace(self, name: str, basis: CompiledBasis, tiles: int, channels: int) -> FloatArray:
        """Give memory for one round: (elements, tiles, depth * channels)."""
        numbers, elements = basis.depth * channels, basis.elements
        tile_floats = numbers + _TILE_GAP_FLOATS
        flat = self.backend.workspace(name, (elements, tiles * tile_floats + _GAP_FLOATS))
        tiled = flat[:, : tiles * tile_floats].reshape(elements, tiles, tile_floats, copy=False)
        return tiled[..., :numbers]
