"""The bases of the portable tiles (`portable_tiles.py`): Fourier and Cook-Toom, for every device.

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

A basis turns tiles, weights and products into each other; its `parts` are the kinds of elements of a spectrum, how
many and of which dtype.  Tiles come in two halves of equal number, since the Fourier basis makes pairs of them.  The
methods of both (whose products are `dot`, always in full precision, where `matmul` on a card need not be) take and give

    weights     (k, C, kh, kw)
    tiles       an array of this thread's, and views of its halves, (T, T, pairs, C)
    spectra     an array for each part: (elements, C, k) of weights, (elements, 2 * pairs, C) of tiles
    products    an array for each part, (elements, 2 * pairs, k)
    outputs     two halves, (T, T or less, pairs, k)
"""

from collections.abc import Sequence

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray
from overfeat_tools.convolution import cook_toom
from overfeat_tools.convolution.bases import conjugate_spectrum
from overfeat_tools.convolution.geometry import Geometry, Tiling


class FourierBasis:
    """Spectra of tiles by FFT; those of the weights by one product with the DFT's matrix, as they have few places."""

    def __init__(self, geometry: Geometry, tiling: Tiling, backend: Backend, *, by_library: bool = False) -> None:
        self._shape, self._backend = (tiling.height, tiling.width), backend
        self._plan = backend.library_fft_plan if by_library else backend.fft_plan
        rows, columns = np.divmod(np.arange(tiling.pixels), tiling.width)
        mirror = -rows % tiling.height * tiling.width + -columns % tiling.width
        bins = np.arange(tiling.pixels)
        pairs, reals = bins[bins < mirror], bins[bins == mirror]
        self._pairs, self._mirrors, self._reals = map(backend.to_device, (pairs, mirror[pairs], reals))
        dft = conjugate_spectrum(np.stack([columns, rows], axis=1), geometry, self._shape).astype(np.complex64)
        self._dft = [backend.to_device(part.copy()) for part in (dft[pairs].real, dft[pairs].imag, dft[reals].real)]
        self.parts = (len(pairs), np.complex64), (len(reals), np.float32)

    def transform_weights(self, weight: FloatArray, spectra: Sequence[Array]) -> None:
        """Write the conjugate spectra of some kernels, divided by the number of places."""
        pairs, reals = spectra
        for target, matrix in zip((pairs.real, pairs.imag, reals), self._dft, strict=True):
            target[...] = _transform(matrix, weight, self._backend)

    def tiles(self, pairs: int, channels: int) -> tuple[Array, Sequence[FloatArray]]:
        """Give memory for tiles: the real and the imaginary parts of what will be transformed."""
        tiles, shape = self._plan(*self._shape, pairs * channels).tiles, (*self._shape, pairs, channels)
        return tiles, (tiles.real.reshape(shape), tiles.imag.reshape(shape))  # views: an axis is split

    def forward(self, tiles: Array, spectra: Sequence[Array]) -> None:
        """Transform the tiles and write their elements."""
        complex_, real = spectra
        pairs = complex_.shape[1] // 2
        self._plan(*tiles.shape).forward()
        bins = tiles.reshape(-1, pairs, complex_.shape[2])
        complex_[:, :pairs] = bins[self._pairs]
        complex_[:, pairs:] = bins[self._mirrors].conj()
        real[:, :pairs], real[:, pairs:] = bins[self._reals].real, bins[self._reals].imag

    def inverse(self, products: Sequence[Array]) -> Sequence[FloatArray]:
        """Transform products back into tiles."""
        complex_, real = products
        pairs, kernels = complex_.shape[1] // 2, complex_.shape[2]
        plan = self._plan(*self._shape, pairs * kernels)
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
        self.parts = ((tiling.pixels, np.float32),)

    def transform_weights(self, weight: FloatArray, spectra: Sequence[Array]) -> None:
        """Evaluate some kernels."""
        spectra[0][...] = _transform(self._weights, weight, self._backend)

    def tiles(self, pairs: int, channels: int) -> tuple[Array, Sequence[FloatArray]]:
        """Give memory for tiles."""
        shape = (self._size, self._size, 2 * pairs, channels)
        tiles = self._backend.workspace("tiles", shape, of_thread=True)
        return tiles, (tiles[:, :, :pairs], tiles[:, :, pairs:])

    def forward(self, tiles: Array, spectra: Sequence[Array]) -> None:
        """Evaluate the tiles."""
        values = self._backend.xp.dot(self._forward, tiles.reshape(self._size**2, -1))
        spectra[0][...] = values.reshape(spectra[0].shape)

    def inverse(self, products: Sequence[Array]) -> Sequence[FloatArray]:
        """Interpolate products into outputs."""
        (values,) = products
        outputs = self._backend.xp.dot(self._inverse, values.reshape(len(values), -1))
        side = round(len(self._inverse) ** 0.5)
        outputs = outputs.reshape(side, side, *values.shape[1:])
        return outputs[:, :, : values.shape[1] // 2], outputs[:, :, values.shape[1] // 2 :]


PortableBasis = FourierBasis | CookToomBasis


def _transform(matrix: Array, weight: FloatArray, backend: Backend) -> Array:
    """Multiply a matrix (elements, kh * kw) and the places of kernels (k, C, kh, kw): (elements, C, k)."""
    kernels, channels = weight.shape[:2]
    flat: Array = backend.xp.dot(matrix, weight.reshape(kernels * channels, -1).T)
    return flat.reshape(-1, kernels, channels).transpose(0, 2, 1)
