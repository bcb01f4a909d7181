"""The Fourier basis: tiles are turned into spectra by FFT, kernels by one product.

For a kernel w and a tile x, both on a circle of T places, the valid correlation

    y[p] = sum over q of w[q] x[p + q]        has the spectrum        Y[f] = conj(W[f]) X[f],

and its first T - k + 1 places are free of wrap-around, so the kernel need not be padded beyond T.

Two real maps a, b travel as one complex map a + ib: the kernels are real, so a's outputs come back
in the real part and b's in the imaginary part.  With the pictures last in memory that packing is
a mere view, and FFTW gets complex columns side by side, which its vector code likes.

A packed spectrum has no symmetry, but the kernels' has: W[-f] = conj(W[f]).  So

    Y[f] = conj(W[f]) X[f]        and        conj(Y[-f]) = conj(W[f]) conj(X[-f])

are two columns of one product, and only half of W is kept: the bins f with f < -f.  The bins with
f = -f (one, two or four of them) have real W: there the real and imaginary parts are the two
columns of a real product.
"""

from collections.abc import Sequence

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray
from overfeat_tools.convolution.geometry import Geometry
from overfeat_tools.convolution.tiles import Tiling
from overfeat_tools.convolution.transform import Elements


class FourierBasis:
    """Spectra of tiles of one size.

    `parts` lists the kinds of elements: pairs of mirrored bins, complex, then real bins.
    """

    def __init__(self, geometry: Geometry, tiling: Tiling, backend: Backend) -> None:
        self.height, self.width = tiling.height, tiling.width
        self._backend = backend
        self._kernel_size = (geometry.kernel_height, geometry.kernel_width)
        rows, columns = np.divmod(np.arange(tiling.pixels), self.width)
        mirror = -rows % self.height * self.width + -columns % self.width
        bins = np.arange(tiling.pixels)
        self._host_pairs, self._host_reals = bins[bins < mirror], bins[bins == mirror]
        self._pairs, self._reals = backend.array(self._host_pairs), backend.array(self._host_reals)
        self._mirrors = backend.array(mirror[self._host_pairs])
        self.parts: tuple[Elements, ...] = (
            Elements(len(self._pairs), np.dtype(np.complex64), terms=128),
            Elements(len(self._reals), np.dtype(np.float32), terms=512),
        )

    def transform_kernels(self, weight: FloatArray, spectra: Sequence[Array]) -> None:
        """Write the conjugate spectra of kernels, divided by the number of places.

        Parameters
        ----------
        weight : array (k, C, kh, kw) float32
        spectra : arrays (elements, k, C), one for each of `parts`
        """
        # A kernel has few places: the DFT matrix restricted to them is far cheaper than padded FFTs.
        rows = np.outer(np.arange(self.height), np.arange(self._kernel_size[0])) / self.height
        columns = np.outer(np.arange(self.width), np.arange(self._kernel_size[1])) / self.width
        turns = rows[:, None, :, None] + columns[None, :, None, :]
        dft = np.exp(2j * np.pi * turns) / (self.height * self.width)
        dft = dft.reshape(self.height * self.width, -1)
        flat = weight.reshape(-1, dft.shape[1]).T
        pairs, reals = spectra
        matmul, bring = self._backend.xp.matmul, self._backend.array
        pair_dft = dft[self._host_pairs]
        pairs.real = matmul(bring(pair_dft.real.astype(np.float32)), flat).reshape(pairs.shape)
        pairs.imag = matmul(bring(pair_dft.imag.astype(np.float32)), flat).reshape(pairs.shape)
        reals[...] = matmul(bring(dft[self._host_reals].real.astype(np.float32)), flat).reshape(reals.shape)

    def tiles(self, columns: int) -> FloatArray:
        """Give this thread's room for tiles: (height, width, columns) float32."""
        plan = self._backend.fourier_plan(self.height, self.width, columns // 2)
        return plan.tiles.view(np.float32)

    def forward(self, tiles: FloatArray, spectra: Sequence[Array]) -> None:
        """Transform what stands in `tiles` and write its elements.

        Parameters
        ----------
        tiles : array from `tiles`
        spectra : arrays (elements, c, columns), one for each of `parts`
            c * columns may be less than the columns of `tiles`: the rest is left out.
        """
        pairs, reals = spectra
        count, half = pairs.shape[1], pairs.shape[2] // 2
        plan = self._backend.fourier_plan(self.height, self.width, tiles.shape[-1] // 2)
        plan.forward()
        bins = plan.tiles.reshape(self.height * self.width, -1)[:, : count * half]
        bins = bins.reshape(-1, count, half)
        pairs[..., :half] = bins[self._pairs]
        self._backend.xp.conjugate(bins[self._mirrors], out=pairs[..., half:])
        reals.view(np.complex64)[...] = bins[self._reals]

    def inverse(self, spectra: Sequence[Array], columns: int) -> FloatArray:
        """Transform products back into tiles, of which the first outputs are valid.

        Parameters
        ----------
        spectra : arrays (elements, k, columns of one kernel), one for each of `parts`
        columns : int
            At least k * columns of one kernel: the size of room to use.

        Returns
        -------
        array (height, width, k, columns of one kernel) float32
        """
        pairs, reals = spectra
        count, half = pairs.shape[1], pairs.shape[2] // 2
        plan = self._backend.fourier_plan(self.height, self.width, columns // 2)
        bins = plan.tiles.reshape(self.height * self.width, -1)[:, : count * half]
        bins = bins.reshape(-1, count, half)
        bins[self._pairs] = pairs[..., :half]
        bins[self._mirrors] = pairs[..., half:].conj()
        bins[self._reals] = reals.view(np.complex64)
        plan.inverse()
        return bins.view(np.float32).reshape(self.height, self.width, count, 2 * half)
