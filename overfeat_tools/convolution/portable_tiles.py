"""Convolution in a transform domain, by numpy and FFTW, or by cupy: tiles -> spectra -> one product an element.

    M[e] (tiles, K) = V[e] (tiles, C) @ U[e] (C, K)        for each element e of a spectrum,

where U are the spectra of the weights, made once, and V those of the tiles; as `compiled_tiles.py`, with the basis
as a parameter (`portable_bases.py`).  Tiles are taken in rounds of two halves, which the Fourier basis pairs.  Each
step is shared out over the threads: V by groups of channels, M by elements, the outputs by groups of kernels.  Groups
are as large as half a thread's cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray
from overfeat_tools.convolution import compiled_sizes
from overfeat_tools.convolution.algorithm import Algorithm, Tiles, padded
from overfeat_tools.convolution.cook_toom import tile_sizes
from overfeat_tools.convolution.epilogue import Epilogue, window_maximum
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Geometry, split
from overfeat_tools.convolution.portable_bases import CookToomBasis, FourierBasis, PortableBasis
from overfeat_tools.convolution.rates import Rates

# V and M together, for one round of tiles; bounds memory on large pictures.
_ROUND_BYTES = 192 << 20
# Tiles of one round: more would not speed the products up, and leave fewer channels a group.
_ROUND_TILES = 1024

# Sizes whose transform FFTW has straight-line code for, several times as fast as of most others.
_FOURIER_SIZES = (8, 9, 10, 12, 14, 16, 20, 25, 32, 64)

_Half = tuple[slice, slice]
"""Half of a round: some pictures, and some rows of their tiles."""


@dataclass(frozen=True)
class PortableTiles(Tiles):
    """Tiles whose transforms and products are numpy's and FFTW's, or cupy's.

    `by_library` tells whether a card's transforms are cuFFT's, where Fourier tiles are asked for, or products.
    """

    by_library: bool = False

    def __str__(self) -> str:
        return super().__str__() + (" by cuFFT" if self.by_library else "")

    def is_offered(self, method: str) -> bool:
        """Tell whether the algorithm is one of a method, or of `auto`: cuFFT's has not been timed on a card."""
        if self.backend.name == "cuda" and self.basis_name == "fft" and self.by_library != (method == "fft"):
            return False
        return super().is_offered(method)

    @cached_property
    def _basis(self) -> PortableBasis:
        if self.basis_name == "fft":
            return FourierBasis(self.geometry, self.tiling, self.backend, by_library=self.by_library)
        return CookToomBasis(self.geometry, self.tiling, self.backend)

    @property
    def packed_bytes(self) -> int:
        """Bytes of U: as many numbers as a tile has places."""
        return self.tiling.pixels * self.geometry.channels * self.geometry.kernels * FLOAT_BYTES

    def workspace_bytes(self, pictures: int) -> int:
        """Add V and M of one round."""
        tile_bytes = (self.geometry.channels + self.geometry.kernels) * self.tiling.pixels * FLOAT_BYTES
        whole = self.tiling.count * pictures * tile_bytes
        return super().workspace_bytes(pictures) + min(2 * whole, max(2 * tile_bytes, _ROUND_BYTES))

    def seconds(self, pictures: int, rates: Rates) -> float:
        """Estimate the time of one batch: products, transforms, and three copies of each tile."""
        pixels, tiles = self.tiling.pixels, self.tiling.count * pictures
        maps = (self.geometry.channels + self.geometry.kernels) * tiles
        flops = 2.0 * pixels * self.geometry.channels * self.geometry.kernels * tiles
        if self.basis_name == "fft":
            # Half the bins, with 8 operations each: twice the count of real products.
            product = rates.blas_seconds(2 * flops, tiles, self.packed_bytes, is_complex=True)
            transforms = maps * 2.5 * pixels * np.log2(pixels) / rates.fft_flops
        else:
            product = rates.blas_seconds(flops, tiles, self.packed_bytes)
            transforms = maps * 2.0 * pixels**2 / rates.blas_flops
        return float(product + transforms + 3.0 * maps * pixels * FLOAT_BYTES / rates.copy_bytes)

    def packing_seconds(self, rates: Rates) -> float:
        """Estimate the time that transforming the weights takes."""
        return self.packed_bytes / (rates.pack_spectrum_bytes if self.basis_name == "fft" else rates.pack_tile_bytes)

    def pack(self, weight: FloatArray) -> list[Array]:
        """Transform weights (K, C, kh, kw): arrays (elements, C, K), one for each part of the basis."""
        kernels, channels = weight.shape[:2]
        spectra = self._arrays(channels, kernels)

        def transform(some: slice) -> None:
            self._basis.transform_weights(weight[some], [part[..., some] for part in spectra])

        self.backend.parallel_for(transform, self._groups(kernels, channels))
        return spectra

    def run(self, x: FloatArray, weights: Sequence[Array], y: FloatArray, epilogue: Epilogue) -> None:
        """Write the convolution of `x` into `y`."""
        tiling = self.tiling
        height = (tiling.rows - 1) * tiling.out_height + tiling.height
        width = (tiling.columns - 1) * tiling.out_width + tiling.width
        tiles = self._view_tiles(padded(x, self.geometry, self.backend, (height, width)))
        for halves in self._rounds(len(x)):
            spectra = self._forward([tiles[:, :, pictures, rows] for pictures, rows in halves])
            products = self._multiply(spectra, weights)
            self._inverse(products, y, halves, epilogue)

    def _view_tiles(self, x: FloatArray) -> Array:
        """View all tiles of padded maps without a copy: (T, T, N, rows, columns, C)."""
        tiling, (picture, row, column, channel) = self.tiling, x.strides
        shape = (tiling.height, tiling.width, len(x), tiling.rows, tiling.columns, x.shape[3])
        strides = (row, column, picture, tiling.out_height * row, tiling.out_width * column, channel)
        view: Array = self.backend.xp.lib.stride_tricks.as_strided(x, shape, strides)
        return view

    def _rounds(self, pictures: int) -> Iterator[list[_Half]]:
        """Cut the work into rounds of two equal halves; of an odd number, both halves compute what is in the middle."""
        geometry, tiling = self.geometry, self.tiling
        tile_bytes = (geometry.channels + geometry.kernels) * tiling.pixels * FLOAT_BYTES
        most = min(self.backend.block_bytes(_ROUND_BYTES) // tile_bytes, self.backend.block_bytes(_ROUND_TILES))
        by_picture = most // tiling.count
        if by_picture > 1:
            for some in split(pictures, by_picture):
                yield [(half, slice(0, tiling.rows)) for half in _halves(some)]
        else:
            for picture in split(pictures, 1):
                for some in split(tiling.rows, max(2, most // tiling.columns)):
                    yield [(picture, half) for half in _halves(some)]

    def _forward(self, halves: Sequence[Array]) -> list[Array]:
        """Make the spectra V of both halves of a round: arrays (elements, 2 * pairs, C)."""
        *_, pictures, rows, columns, channels = halves[0].shape
        pairs = pictures * rows * columns
        spectra = self._arrays(2 * pairs, channels, "spectra")

        def transform(group: slice) -> None:
            tiles, targets = self._basis.tiles(pairs, group.stop - group.start)
            for target, half in zip(targets, halves, strict=True):
                source = half[..., group]
                target.reshape(source.shape)[...] = source
            self._basis.forward(tiles, [part[..., group] for part in spectra])

        self.backend.parallel_for(transform, self._groups(channels, 2 * pairs))
        return spectra

    def _multiply(self, spectra: Sequence[Array], weights: Sequence[Array]) -> list[Array]:
        """Multiply element by element: arrays (elements, 2 * pairs, K)."""
        matmul = self.backend.xp.matmul
        products = self._arrays(spectra[0].shape[1], self.geometry.kernels, "products")
        work = [
            (u[elements], v[elements], out[elements])
            for u, v, out in zip(weights, spectra, products, strict=True)
            for elements in self.backend.chunks(len(u))
        ]

        def multiply(operands: tuple[Array, Array, Array]) -> None:
            u, v, out = operands
            matmul(v, u, out=out)

        self.backend.parallel_for(multiply, work)
        return products

    def _inverse(self, products: Sequence[Array], y: FloatArray, halves: Sequence[_Half], epilogue: Epilogue) -> None:
        """Turn products into outputs and store them in place."""
        tiling, pool_size = self.tiling, epilogue.pool_size

        def transform(kernels: slice) -> None:
            tiles = self._basis.inverse([part[..., kernels] for part in products])
            for half, (pictures, rows) in zip(tiles, halves, strict=True):
                outputs = self._pooled(half[: tiling.out_height, : tiling.out_width], pool_size)
                epilogue.apply(outputs, kernels)
                self._store(outputs, y[pictures, ..., kernels], rows)

        self.backend.parallel_for(transform, self._groups(y.shape[3], products[0].shape[1]))

    def _store(self, outputs: Array, y: Array, rows: slice) -> None:
        """Copy outputs (height, width, tiles, k) of some rows of tiles to their places in `y` (N, H, W, k)."""
        height, width, _, kernels = outputs.shape
        outputs = outputs.reshape(height, width, len(y), rows.stop - rows.start, self.tiling.columns, kernels)
        for row in range(rows.start, rows.stop):
            for column in range(self.tiling.columns):
                target = y[:, row * height : (row + 1) * height, column * width : (column + 1) * width]
                source = outputs[: target.shape[1], : target.shape[2], :, row - rows.start, column]
                target[...] = source.transpose(2, 0, 1, 3)

    def _pooled(self, outputs: Array, pool_size: int) -> FloatArray:
        """Copy outputs (out_height, out_width, tiles, k) into one piece, pooled."""
        height, width, *rest = outputs.shape
        shape = (height // pool_size, width // pool_size, *rest)
        windows = outputs.reshape(shape[0], pool_size, shape[1], pool_size, *rest).transpose(1, 3, 0, 2, 4, 5)
        pooled: FloatArray = self.backend.xp.empty(shape, np.float32)
        window_maximum(windows, pooled, self.backend)
        return pooled

    def _groups(self, channels: int, rows: int) -> list[slice]:
        fitting = self.backend.cache_bytes // (FLOAT_BYTES * self.tiling.pixels * rows)
        return split(channels, max(1, min(fitting, -(-channels // self.backend.threads))))

    def _arrays(self, rows: int, columns: int, name: str | None = None) -> list[Array]:
        """Give an array for each part of the basis: new ones, or the workspace of a name."""
        return [
            self.backend.workspace(f"{name} {number}", (elements, rows, columns), dtype)
            if name
            else self.backend.empty((elements, rows, columns), dtype)
            for number, (elements, dtype) in enumerate(self._basis.parts)
        ]


def _halves(some: slice) -> tuple[slice, slice]:
    half = -(-(some.stop - some.start) // 2)
    return slice(some.start, some.start + half), slice(some.stop - half, some.stop)


def candidates(geometry: Geometry, backend: Backend) -> Iterator[Algorithm]:
    """Give the tiles that suit a convolution, in each basis in which none are compiled."""
    if geometry.stride != 1:
        return
    compiled = {tiles.method for tiles in compiled_sizes.candidates(geometry, backend)}
    if "fft" not in compiled:
        for size in _fourier_sizes(geometry):
            yield PortableTiles(geometry, backend, "fft", size)
            if backend.name == "cuda":
                yield PortableTiles(geometry, backend, "fft", size, by_library=True)
    if "cook-toom" not in compiled and geometry.kernel_height == geometry.kernel_width:
        for size in tile_sizes(geometry.kernel_height):
            if size[0] == size[1]:
                yield PortableTiles(geometry, backend, "cook-toom", size)


def _fourier_sizes(geometry: Geometry) -> list[tuple[int, int]]:
    """List the sizes of Fourier tiles that suit a map: squares, up to the padded map rounded up to a fast size."""
    kernel = geometry.kernel_height, geometry.kernel_width
    if kernel == (1, 1):
        return []

    def options(kernel: int, length: int) -> list[int]:
        whole = next((size for size in _FOURIER_SIZES if size >= length), _FOURIER_SIZES[-1])
        return [size for size in _FOURIER_SIZES if kernel < size <= whole and size <= 8 * kernel]

    heights = options(kernel[0], geometry.height + 2 * geometry.padding)
    widths = options(kernel[1], geometry.width + 2 * geometry.padding)
    squares = [(size, size) for size in heights if size in widths]
    return squares or ([(heights[-1], widths[-1])] if heights and widths else [])
