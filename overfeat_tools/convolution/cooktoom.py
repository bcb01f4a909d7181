"""The Cook-Toom basis (Winograd's minimal filtering): polynomials evaluated at a few real points.

Multiplying polynomials g (r coefficients) and h (m coefficients) gives n = m + r - 1 coefficients,
and that many points fix the product:

    g * h = inverse(V_n) [(V_r g) . (V_m h)],        V_k[i, j] = point_i ** j,

the point at infinity reading the highest coefficient.  A valid correlation is the transpose of
that product in h, so m outputs y of n inputs d are

    y = V_m' [(V_r g) . (inverse(V_n)' d)].

In two dimensions the three matrices act on rows and columns, which is one matrix of Kronecker
products acting on the flattened tile: a plain product again.  Per output and channel pair there are
(n / m)**2 multiplications: 2.25 for 4x4 outputs of a 3x3 kernel, 9 in the direct convolution.

A tile of 7 places has 5x5 outputs of a 3x3 kernel, 1.96 multiplications each, and fits maps of 15x15; it has
2x2 outputs of a 6x6 kernel, 12.25 multiplications each for 36, as the tile of 6 has of a 5x5 kernel, 9 for 25:
for the classifier, where a large picture has given it a map.  Rows and columns may have different points: a tile of
8x7 places has 6x5 outputs, 1.87 multiplications each, and whole ones cover maps of 36x50.

The points decide the rounding.  Small, spread and symmetric ones keep the entries of the matrices
near each other in size; with all numbers random, an output's error is that of one product times

    sqrt(sum over i of (V_m'[., i] * |V_r[i]| * |inverse(V_n)'[i]|) ** 2)        on each axis.

For tiles of 6 places the least that is to be had is 21 (both axes, 3x3 kernel), for 7 places 51, for 8 131; the
points below have 22, 51 and 134, the textbook's {0, 1, -1, 2, -2, inf} 94.  For 9 it would be 350, too much for
floats.  Most of the error of one product comes from adding up the channels, so short sums help.  With those of numpy's
engine, on all 3x3 layers of both networks, tiles of 6 have errors of up to 15e-7 of the largest output, tiles of 7 up
to 27e-7.  The compiled one keeps its sums shorter (`bases.py`): up to 13e-7, 24e-7, and 31e-7 for tiles of 8x7.

Source: Lavin & Gray, arXiv:1509.09308; the transposition: Blahut, Fast Algorithms for Signal
Processing, chapter 5.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend import Array, Backend, FloatArray
from overfeat_tools.convolution.geometry import Geometry
from overfeat_tools.convolution.tiles import Tiling
from overfeat_tools.convolution.transform import Elements

# Finite points for a tile of n places; infinity is always the last.
POINTS: dict[int, tuple[float, ...]] = {
    4: (0, 1, -1),
    5: (7 / 16, -7 / 16, 5 / 4, -5 / 4),
    6: (0, 11 / 16, -11 / 16, 3 / 2, -3 / 2),
    7: (5 / 16, -5 / 16, 7 / 8, -7 / 8, 13 / 8, -13 / 8),
    8: (0, 9 / 16, -9 / 16, 1, -1, 29 / 16, -29 / 16),
}

TERMS = {4: 1024, 5: 1024, 6: 1024, 7: 512}
"""Channels given to one product, for the sizes of square tiles that numpy's engine uses.

The shorter the sum the better: what it loses, large tiles make more of.
"""


class CookToomBasis:
    """Evaluations of tiles of n x n places at n x n points.

    `parts` lists the kinds of elements: one, real.
    """

    def __init__(self, geometry: Geometry, tiling: Tiling, backend: Backend) -> None:
        self._xp, self._backend = backend.xp, backend
        size, kernel = tiling.height, geometry.kernel_height
        self._evaluate_input, self._evaluate_kernel, self._interpolate = (
            backend.array(on_both_axes(matrix, matrix)) for matrix in matrices(size, kernel)
        )
        self._size, self._outputs = size, size - kernel + 1
        self.parts: tuple[Elements, ...] = (Elements(size * size, np.dtype(np.float32), TERMS[size]),)

    def transform_kernels(self, weight: FloatArray, spectra: Sequence[Array]) -> None:
        """Write the evaluations of kernels: `weight` (k, C, r, r), `spectra` [(elements, k, C)]."""
        flat = weight.reshape(-1, self._evaluate_kernel.shape[1]).T
        (out,) = spectra
        out[...] = self._xp.matmul(self._evaluate_kernel, flat).reshape(out.shape)

    def tiles(self, columns: int) -> FloatArray:
        """Give this thread's room for tiles: (n, n, columns) float32."""
        return self._backend.thread_scratch("tiles", (self._size, self._size, columns), np.float32)

    def forward(self, tiles: FloatArray, spectra: Sequence[Array]) -> None:
        """Evaluate what stands in `tiles` into [(elements, c, columns)]."""
        (out,) = spectra
        count, columns = out.shape[1:]
        flat = tiles.reshape(self._size**2, -1)[:, : count * columns]
        self._xp.matmul(self._evaluate_input, flat, out=_flat(out))

    def inverse(self, spectra: Sequence[Array], columns: int) -> FloatArray:  # noqa: ARG002 -- the Fourier basis needs it
        """Interpolate products [(elements, k, columns)] into outputs (m, m, k, columns)."""
        (products,) = spectra
        flat = _flat(products)
        outputs = self._backend.thread_scratch("tiles", (self._outputs**2, flat.shape[1]), np.float32)
        self._xp.matmul(self._interpolate, flat, out=outputs)
        return outputs.reshape(self._outputs, self._outputs, *products.shape[1:])


def matrices(size: int, kernel: int) -> tuple[npt.NDArray[np.float64], ...]:
    """Derive the matrices of one axis from its points.

    Returns
    -------
    evaluate_input : array (n, n) float64
        inverse(V_n)'
    evaluate_kernel : array (n, r) float64
        V_r
    interpolate : array (m, n) float64
        V_m'
    """
    vandermonde = _vandermonde(POINTS[size], size)
    outputs = size - kernel + 1
    return (
        np.linalg.inv(vandermonde).T.astype(np.float64),
        _vandermonde(POINTS[size], kernel),
        _vandermonde(POINTS[size], outputs).T,
    )


def _vandermonde(points: Sequence[float], coefficients: int) -> npt.NDArray[np.float64]:
    finite = np.asarray(points, np.float64)[:, None] ** np.arange(coefficients)
    infinity = np.zeros((1, coefficients))
    infinity[0, -1] = 1.0
    return np.vstack([finite, infinity])


def on_both_axes(down: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> FloatArray:
    """Give the matrix that does to a flattened tile what `down` does to its columns and then `right` to its rows."""
    return np.kron(down, right).astype(np.float32)


def _flat(spectra: Array) -> Array:
    """View (elements, c, columns), a slice of some channels of all, as a matrix without a copy."""
    elements, count, columns = spectra.shape
    flat = spectra.view()
    flat.shape = (elements, count * columns)
    return flat
