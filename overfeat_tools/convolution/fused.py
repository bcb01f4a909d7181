"""Tiles, compiled: what `transform.py` does with numpy, in three loops made for it.

    V[e, tile, c]  spectra of tiles            each tile is read where it lies in the map
    M[e, tile, k] = sum over c of V[e, tile, c] * U[e, c, k]       real or complex
    outputs        transformed back, pooled, biased, rectified and put in their places in one go

Channels come last everywhere, so that nothing is rearranged between the three, and a single picture runs as well as a
batch.  An element has one number of a channel or two (`bases.py`): those of all channels, then the others.
Between the loops stand V and M, in rounds: of as many tiles as the last-level cache holds, but
enough that reading U again for each round costs less than reading and writing V and M.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray, compiler_of
from overfeat_tools.convolution.bases import REAL_BINS, Part, compiled_basis, has_short_sums
from overfeat_tools.convolution.ending import Ending
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Geometry, stretches
from overfeat_tools.convolution.panels import TERMS, Products, padded, panel_width, put_in_order, runs
from overfeat_tools.convolution.tiles import Tiling

# V and M together, for one round of tiles: what suits the last-level cache, and what bounds memory.
_ROUND_BYTES = 32 << 20
_MOST_ROUND_BYTES = 128 << 20

# Between one element and the next, and between one tile and the next: the elements of a tile, and the tiles that
# are multiplied at a time, should not compete for the same lines of a cache.
_GAP_FLOATS = 80
_TILE_GAP_FLOATS = 16

# So few numbers of spectra one thread transforms while another would be waking up.
_ALONE_FLOATS = 1 << 19

# Fewer panels are no piece of work of their own.
_LEAST_PANELS = 16

# Products that large Cook-Toom tiles have added up in registers, for accuracy.
_TERMS_OF_LARGE_TILES = 64


def spectra_bytes(method: str, geometry: Geometry, tiling: Tiling, width: int) -> int:
    """Give the bytes of the kernels' spectra, as many numbers as a tile has places; those of real ones fill panels."""
    real = REAL_BINS if method == "fft" else tiling.pixels
    kernels = real * padded(geometry.kernels, width) + (tiling.pixels - real) * geometry.kernels
    return kernels * geometry.channels * FLOAT_BYTES


def tiles_at_once(geometry: Geometry, tiling: Tiling, width: int) -> int:
    """Tell how many tiles make a round."""
    channels, kernels = geometry.channels, padded(geometry.kernels, width)
    tile_bytes = (channels + kernels) * tiling.pixels * FLOAT_BYTES
    worth_reading = channels * kernels // (channels + kernels)
    return max(1, min(max(_ROUND_BYTES // tile_bytes, worth_reading), _MOST_ROUND_BYTES // tile_bytes))


class FusedTiles:
    """A convolution of one geometry through tiles of one size, by one method."""

    def __init__(self, method: str, geometry: Geometry, tiling: Tiling, backend: Backend) -> None:
        compiler = compiler_of(backend)
        self.geometry, self.tiling, self._backend = geometry, tiling, backend
        self._lanes, self._width = compiler.lanes, panel_width(compiler)
        self._basis = compiled_basis(method, geometry, (tiling.height, tiling.width), compiler)
        self._padded = padded(geometry.kernels, self._width)
        # A map smaller than a tile is one tile, so that this is right there, too.
        self._steps = tiling.height - geometry.kernel_height + 1, tiling.width - geometry.kernel_width + 1
        short = has_short_sums(method, (tiling.height, tiling.width))
        self._runs = runs((0,), geometry.channels, _TERMS_OF_LARGE_TILES if short else TERMS)
        self._tiles_at_once = tiles_at_once(geometry, tiling, self._width)

    def transform_kernels(self, weight: FloatArray) -> list[Array]:
        """Make the spectra U of all kernels.

        Parameters
        ----------
        weight : array (K, C, r, r) float32

        Returns
        -------
        list of arrays, one for each part of the basis
            (depth, elements, panels, C, width) float32, or complex ones (elements, panels, C, 2 * lanes).
        """
        return [
            self._complex_spectra(part, weight) if part.complex else self._real_spectra(part, weight)
            for part in self._basis.parts
        ]

    def _real_spectra(self, part: Part, weight: FloatArray) -> Array:
        depth, count = self._basis.depth, self._padded // self._width
        spectra = self._backend.empty((depth, part.count, count, self.geometry.channels, self._width))

        def transform(number: int) -> None:
            taps = self._ordered(weight, number, self._width)
            for i, matrix in enumerate(part.kernels):
                np.matmul(matrix, taps, out=spectra[i, :, number].reshape(part.count, -1, copy=False))

        self._backend.share(transform, count)
        return spectra

    def _complex_spectra(self, part: Part, weight: FloatArray) -> Array:
        lanes, channels = self._lanes, self.geometry.channels
        count = len(weight) // lanes
        spectra = self._backend.empty((part.count, count, channels, 2, lanes))

        def transform(number: int) -> None:
            taps = self._ordered(weight, number, lanes)
            for i, matrix in enumerate(part.kernels):
                spectra[:, number, :, i] = (matrix @ taps).reshape(part.count, channels, lanes)

        self._backend.share(transform, count)
        return spectra.reshape(part.count, count, channels, 2 * lanes)

    def _ordered(self, weight: FloatArray, number: int, width: int) -> FloatArray:
        """Give the kernels of a panel in its order: (kh * kw, C * width)."""
        shape = (self.geometry.kernel_height * self.geometry.kernel_width, self.geometry.channels, width)
        ordered = self._backend.thread_scratch("ordered", shape, np.float32)
        put_in_order(weight, number, ordered)
        flat: FloatArray = ordered.reshape(shape[0], -1)
        return flat

    def convolve(
        self, x: FloatArray, kernels: Sequence[Array], y: FloatArray, ending: Ending, squares: int = 1
    ) -> None:
        """Write the convolution of `x` into `y`.

        Parameters
        ----------
        x : array (N, H, W, C) float32, contiguous
        kernels : sequence of arrays
            From `transform_kernels`.
        y : array (N, out_height // squares, out_width // squares, K) float32, contiguous
            The output.  K and C are multiples of the width of a vector.
        ending : Ending
            What is done to the sums.
        squares : int
            Take the maximum of squares of so many outputs a side; the tiling must hold them.
        """
        count = self.tiling.count * len(x)
        rounds = -(-count // self._tiles_at_once)
        for tiles in stretches(count, -(-count // rounds)):
            spectra = self._evaluate(x, tiles)
            products = self._multiply(spectra, kernels)
            self._interpolate(products, y, tiles, ending, squares)

    def _evaluate(self, x: FloatArray, tiles: slice) -> FloatArray:
        """Make the spectra V of some tiles: (elements, tiles, depth * C)."""
        geometry, tiling, count = self.geometry, self.tiling, tiles.stop - tiles.start
        spectra = self._room("spectra", count, self._basis.depth * geometry.channels)
        zeros = self._backend.scratch("zeros", (geometry.channels,), np.float32)
        zeros[...] = 0.0
        evaluate = self._basis.evaluate()
        work = self._pieces(tiles, geometry.channels)

        def transform(number: int) -> None:
            some, channels = work[number]
            evaluate(
                spectra.ctypes.data, x.ctypes.data, zeros.ctypes.data,
                *[stride // FLOAT_BYTES for stride in spectra.strides[:2]], *x.shape[1:],
                *self._steps, geometry.padding, tiling.columns, tiling.rows, tiles.start, some.start, some.stop,
                channels.start, channels.stop,
            )  # fmt: skip

        self._backend.share(transform, len(work))
        return spectra

    def _multiply(self, spectra: FloatArray, kernels: Sequence[Array]) -> FloatArray:
        """Multiply element by element: (elements, tiles, depth * kernels)."""
        count = spectra.shape[1]
        products = self._room("products", count, self._basis.depth * self._padded)
        columns = np.arange(count, dtype=np.int64) * (spectra.strides[1] // FLOAT_BYTES)
        work = [
            (all_, some)
            for part, panels in zip(self._basis.parts, kernels, strict=True)
            for all_ in self._products(part, spectra[part.elements], columns, panels, products[part.elements])
            for some in self._backend.pieces(all_.count, _LEAST_PANELS)
        ]

        def multiply(number: int) -> None:
            all_, some = work[number]
            all_.compute(some, self._backend)

        self._backend.share(multiply, len(work))
        return products

    def _products(
        self, part: Part, x: FloatArray, columns: Array, panels: Array, out: FloatArray
    ) -> Iterator[Products]:
        channels, kernels = self.geometry.channels, self._padded
        if part.complex:
            yield Products(x, columns, self._runs, panels, out, (channels, kernels))
            return
        for i, some in enumerate(panels):
            yield Products(x[..., i * channels :], columns, self._runs, some, out[..., i * kernels :])

    def _interpolate(self, products: FloatArray, y: FloatArray, tiles: slice, ending: Ending, squares: int) -> None:
        """Turn products into outputs and put them in their places."""
        interpolate = self._basis.interpolate(squares)
        work = self._pieces(tiles, self.geometry.kernels)

        def transform(number: int) -> None:
            some, kernels = work[number]
            nowhere = self._backend.thread_scratch("nowhere", (self.geometry.kernels,), np.float32)
            interpolate(
                y.ctypes.data, products.ctypes.data, ending.bias.ctypes.data, nowhere.ctypes.data,
                *[stride // FLOAT_BYTES for stride in products.strides[:2]], *y.shape[1:],
                self._padded, self.tiling.columns, self.tiling.rows, tiles.start, some.start, some.stop, kernels.start,
                kernels.stop, *ending.clearing,
            )  # fmt: skip

        self._backend.share(transform, len(work))

    def _pieces(self, tiles: slice, channels: int) -> list[tuple[slice, slice]]:
        """Share out tiles, or channels where the tiles are few, or nothing."""
        count = tiles.stop - tiles.start
        if count * channels * self.tiling.pixels <= _ALONE_FLOATS:
            return [(tiles, slice(0, channels))]
        by_tiles = self._backend.pieces(count)
        if count >= 8 * len(by_tiles):
            return [(slice(tiles.start + some.start, tiles.start + some.stop), slice(0, channels)) for some in by_tiles]
        lanes = self._lanes
        parts = self._backend.pieces(channels // lanes)
        return [(tiles, slice(some.start * lanes, some.stop * lanes)) for some in parts]

    def _room(self, use: str, tiles: int, channels: int) -> FloatArray:
        """Make room for what lives only within one round: (elements, tiles, channels)."""
        tile_floats = channels + _TILE_GAP_FLOATS
        whole = self._backend.scratch(use, (self._basis.elements, tiles * tile_floats + _GAP_FLOATS), np.float32)
        tiled = whole[:, : tiles * tile_floats].reshape(self._basis.elements, tiles, tile_floats, copy=False)
        room: FloatArray = tiled[..., :channels]
        return room
