"""The bases of the portable tiles (`portable_tiles.py`): Fourier for every device, Cook-Toom for graphics cards.

For weights w and a tile x, both on a circle of T places, the valid correlation

    y[p] = sum over q of w[q] x[p + q]        has the spectrum        Y[f] = conj(W[f]) X[f],

and its first T - k + 1 places are free of wrap-around, so the weights need not be padded beyond T.

Two real tiles a, b travel as one complex tile a + ib: the weights are real, so a's outputs come back
in the real part and b's in the imaginary part.  A packed spectrum has no symmetry, but that of the weights has:
W[-f] = conj(W[f]).  So

    Y[f] = conj(W[f]) X[f]        and        conj(Y[-f]) = conj(W[f]) conj(X[-f])

are two rows of one product, and only half of W is kept: the bins f with f < -f.  The bins with
f = -f (one, two or four of them) have real W: there the real and imaginary parts are the two
rows of a real product.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray
from overfeat_tools.convolution import cook_toom
from overfeat_tools.convolution.geometry import Geometry
from overfeat_tools.convolution.tiling import Tiling


@dataclass(frozen=True)
class Elements:
    """Elements of a spectrum that are multiplied alike: how many, and their dtype."""

    count: int
    dtype: np.dtype[Any]


class PortableBasis(Protocol):
    """What turns tiles, weights and products into each other; `parts` lists the kinds of elements.

    Tiles come in two halves of equal number, since the Fourier basis makes pairs of them.
    """

    parts: tuple[Elements, ...]

    def transform_weights(self, weight: FloatArray, spectra: Sequence[Array]) -> None:
        """Write the spectra of some kernels (k, C, kh, kw): arrays (elements, C, k), one for each part."""

    def tiles(self, pairs: int, channels: int) -> tuple[Array, Sequence[FloatArray]]:
        """Give this thread's memory for tiles, and views of both halves: two arrays (T, T, pairs, channels)."""

    def forward(self, tiles: Array, spectra: Sequence[Array]) -> None:
        """Write the spectra of `tiles`: arrays (elements, 2 * pairs, channels), one for each part."""

    def inverse(self, products: Sequence[Array]) -> Sequence[FloatArray]:
        """Turn products (elements, 2 * pairs, k) back into both halves of the outputs: (T, T or less, pairs, k)."""


class FourierBasis:
    """Spectra of tiles by FFT; those of the weights by one product with the DFT's matrix, as they have few places."""

    def __init__(self, geometry: Geometry, tiling: Tiling, backend: Backend) -> None:
        self._shape, self._backend = (tiling.height, tiling.width), backend
        rows, columns = np.divmod(np.arange(tiling.pixels), tiling.width)
        mirror = -rows % tiling.height * tiling.width + -columns % tiling.width
        bins = np.arange(tiling.pixels)
        pairs, reals = bins[bins < mirror], bins[bins == mirror]
        self._pairs, self._reals = backend.to_device(pairs), backend.to_device(reals)
        self._mirrors = backend.to_device(mirror[pairs])
        down = np.outer(rows, np.arange(geometry.kernel_height)) / tiling.height
        right = np.outer(columns, np.arange(geometry.kernel_width)) / tiling.width
        turns = (down[:, :, None] + right[:, None, :]).reshape(tiling.pixels, -1)
        dft = (np.exp(2j * np.pi * turns) / tiling.pixels).astype(np.complex64)
        self._pair_dft, self._real_dft = dft[pairs], dft[reals].real.copy()
        self.parts: tuple[Elements, ...] = (
            Elements(len(pairs), np.dtype(np.complex64)),
            Elements(len(reals), np.dtype(np.float32)),
        )

    def transform_weights(self, weight: FloatArray, spectra: Sequence[Array]) -> None:
        """Write the conjugate spectra of some kernels, divided by the number of places."""
        kernels, channels = weight.shape[:2]
        taps = weight.reshape(kernels * channels, -1).T
        product: Callable[[Array], Array] = lambda matrix: self._backend.xp.matmul(  # noqa: E731 -- one expression
            self._backend.to_device(np.ascontiguousarray(matrix)), taps
        ).reshape(-1, kernels, channels).transpose(0, 2, 1)
        pairs, reals = spectra
        pairs.real, pairs.imag = product(self._pair_dft.real), product(self._pair_dft.imag)
        reals[...] = product(self._real_dft)

    def tiles(self, pairs: int, channels: int) -> tuple[Array, Sequence[FloatArray]]:
        """Give memory for tiles: the real and the imaginary parts of what will be transformed."""
        tiles = self._backend.fft_plan(*self._shape, pairs * channels).tiles
        halves = tiles.view(np.float32).reshape(*self._shape, pairs, channels, 2)
        return tiles, (halves[..., 0], halves[..., 1])

    def forward(self, tiles: Array, spectra: Sequence[Array]) -> None:
        """Transform the tiles and write their elements."""
        complex_, real = spectra
        pairs = complex_.shape[1] // 2
        self._backend.fft_plan(*tiles.shape).forward()
        bins = tiles.reshape(-1, pairs, complex_.shape[2])
        complex_[:, :pairs] = bins[self._pairs]
        complex_[:, pairs:] = bins[self._mirrors].conj()
        real[:, :pairs], real[:, pairs:] = bins[self._reals].real, bins[self._reals].imag

    def inverse(self, products: Sequence[Array]) -> Sequence[FloatArray]:
        """Transform products back into tiles."""
        complex_, real = products
        pairs, kernels = complex_.shape[1] // 2, complex_.shape[2]
        plan = self._backend.fft_plan(*self._shape, pairs * kernels)
        bins = plan.tiles.reshape(-1, pairs, kernels)
        bins[self._pairs] = complex_[:, :pairs]
        bins[self._mirrors] = complex_[:, pairs:].conj()
        bins[self._reals] = real[:, :pairs] + 1j * real[:, pairs:]
        plan.inverse()
        return self.tiles(pairs, kernels)[1]


class CookToomBasis:
    """Evaluations of tiles at a few points, as one product with a matrix (`cook_toom.py`)."""

    def __init__(self, geometry: Geometry, tiling: Tiling, backend: Backend) -> None:
        self._backend, self._size = backend, tiling.height
        self._forward, self._weights, self._inverse = (
            backend.to_device(cook_toom.on_both_axes(matrix, matrix))
            for matrix in cook_toom.matrices(tiling.height, geometry.kernel_height)
        )
        self.parts: tuple[Elements, ...] = (Elements(tiling.pixels, np.dtype(np.float32)),)

    def transform_weights(self, weight: FloatArray, spectra: Sequence[Array]) -> None:
        """Evaluate some kernels."""
        kernels, channels = weight.shape[:2]
        flat = self._backend.xp.matmul(self._weights, weight.reshape(kernels * channels, -1).T)
        spectra[0][...] = flat.reshape(-1, kernels, channels).transpose(0, 2, 1)

    def tiles(self, pairs: int, channels: int) -> tuple[Array, Sequence[FloatArray]]:
        """Give memory for tiles."""
        shape = (self._size, self._size, 2 * pairs, channels)
        tiles = self._backend.thread_workspace("tiles", shape, np.float32)
        return tiles, (tiles[:, :, :pairs], tiles[:, :, pairs:])

    def forward(self, tiles: Array, spectra: Sequence[Array]) -> None:
        """Evaluate the tiles."""
        values = self._backend.xp.matmul(self._forward, tiles.reshape(self._size**2, -1))
        spectra[0][...] = values.reshape(spectra[0].shape)

    def inverse(self, products: Sequence[Array]) -> Sequence[FloatArray]:
        """Interpolate products into outputs."""
        (values,) = products
        outputs = self._backend.xp.matmul(self._inverse, values.reshape(len(values), -1))
        side = round(len(self._inverse) ** 0.5)
        outputs = outputs.reshape(side, side, *values.shape[1:])
        return outputs[:, :, : values.shape[1] // 2], outputs[:, :, values.shape[1] // 2 :]
