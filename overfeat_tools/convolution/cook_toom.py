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
for the classifier, where a large picture has given it a map; a tile of 9x8 has 4x3 or 5x4 there.  Rows and columns may
have different points: a tile of 8x7 places has 6x5 outputs, 1.87 multiplications each, and whole ones cover maps of
36x50.

The points decide the rounding.  Small, spread and symmetric ones keep the entries of the matrices near each other in
size; with all numbers random, an output's error is that of one product times

    sqrt(sum over i of (V_m'[., i] * |V_r[i]| * |inverse(V_n)'[i]|) ** 2)        on each axis.

For tiles of 6 places the least that is to be had is 21 (both axes, 3x3 kernel), for 7 places 51, for 8 131; the
points below have 22, 51 and 134, the textbook's {0, 1, -1, 2, -2, inf} 94.  For 9 it would be 350, too much for
float32, with real points.  With i and -i among them it is 30, but their numbers are complex, and take twice the
multiplications.  Most of the error of one product comes from adding up the channels, so short sums help: on all 3x3
layers of both networks tiles of 6 have errors of up to 13e-7 of the largest output, tiles of 7 up to 24e-7, and tiles
of 8x7 up to 31e-7.

Source: Lavin & Gray, arXiv:1509.09308; the transposition: Blahut, Fast Algorithms for Signal
Processing, chapter 5.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend import FloatArray

# Points for a tile of n places.  The first of them serve smaller tiles, with the same weights.
POINTS: dict[int, tuple[complex, ...]] = {
    4: (0, 1, -1, math.inf),
    5: (7 / 16, -7 / 16, 5 / 4, -5 / 4, math.inf),
    6: (0, 11 / 16, -11 / 16, 3 / 2, -3 / 2, math.inf),
    7: (5 / 16, -5 / 16, 13 / 8, -13 / 8, math.inf, 7 / 8, -7 / 8),
    8: (0, 9 / 16, -9 / 16, 29 / 16, -29 / 16, math.inf, 1, -1),
    9: (5 / 16, -5 / 16, 13 / 8, -13 / 8, math.inf, 7 / 8, -7 / 8, 1j),
}

LARGE_TILE = 8
"""From this size on tiles magnify the rounding of a sum: shorter sums are worth 3 % of the time."""


def real_points(size: int) -> int:
    """Count the points of a tile, or of a part of a larger one, that are real: the first."""
    return size - 2 if size in POINTS and POINTS[size][-1].imag else size


def tile_sizes(kernel: int) -> list[tuple[int, int]]:
    """List the sizes of tiles that suit a kernel: those with at least two outputs a side.

    They may be higher than wide, or less, so that whole ones fill a map; and large, but not on both axes:
    that would almost double the error.
    """
    sides = [side for side in POINTS if side > kernel > 1 and real_points(side) == side]
    return [size for size in itertools.product(sides, sides) if min(size) < LARGE_TILE]


def matrices(size: int, kernel: int, largest: int | None = None) -> tuple[npt.NDArray[np.float64], ...]:
    """Derive the matrices of one axis from its points: the first of those for a `largest` tile.

    A complex point stands for itself and its conjugate.  Its two rows, or columns, are real and imaginary parts.

    Returns
    -------
    evaluate_input : array (n, n) float64
        inverse(V_n)'
    evaluate_kernel : array (n, r) float64
        V_r
    interpolate : array (m, n) float64
        V_m'
    """
    points = POINTS[largest or size][:size]
    both = list(itertools.chain.from_iterable((one, one.conjugate()) if one.imag else (one,) for one in points))
    # Of a pair's products one is the other's conjugate: they add up to twice the real part.
    twice = [2.0 if point.imag else 1.0 for point in points]
    return (
        _in_parts(points, np.linalg.inv(_vandermonde(both, size)).T[[both.index(point) for point in points]]),
        _in_parts(points, _vandermonde(points, kernel)),
        _in_parts(points, (_vandermonde(points, size - kernel + 1).T * twice).conj().T).T,
    )


def _vandermonde(points: Sequence[complex], coefficients: int) -> npt.NDArray[np.complex128]:
    highest = np.eye(1, coefficients, coefficients - 1)[0]
    rows = [highest if point == math.inf else point ** np.arange(coefficients) for point in points]
    return np.array(rows, np.complex128)


def _in_parts(points: Sequence[complex], rows: npt.NDArray[np.complexfloating]) -> npt.NDArray[np.float64]:
    """Give the rows of real points as they are, those of complex points as real and imaginary parts."""
    parts = ((row.real, row.imag) if point.imag else (row.real,) for point, row in zip(points, rows, strict=True))
    return np.array(list(itertools.chain.from_iterable(parts)))


def on_both_axes(down: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> FloatArray:
    """Give the matrix that does to a flattened tile what `down` does to its columns and then `right` to its rows."""
    return np.kron(down, right).astype(np.float32)
