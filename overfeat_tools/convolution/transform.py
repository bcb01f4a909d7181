"""Convolution in a transform domain: tiles -> spectra -> one product per element -> tiles.

With a basis in which convolving is multiplying, each element e (a frequency, or an evaluation
point) needs one matrix product over the channels,

    M[e] (K, columns) = U[e] (K, C) @ V[e] (C, columns),        columns = tiles * pictures,

where U are the kernels' spectra, made once, and V the tiles'.  Three phases, each shared out over the
threads: V by groups of channels, M by elements, the outputs by groups of kernels.  The groups are
as large as a thread's cache, so a tile goes through gathering, transform and spreading while hot.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from overfeat_tools.backend import Array, CpuBackend, FloatArray
from overfeat_tools.convolution.geometry import Geometry
from overfeat_tools.convolution.tiles import Tiling

# Tiles that one thread transforms at a time: half of a common second-level cache.
_GROUP_BYTES = 512 << 10
# V and M together, for one round of tiles; bounds memory on large pictures.
_ROUND_BYTES = 192 << 20


class Basis(Protocol):
    """What a basis must do; see `fourier.py` and `cooktoom.py`."""

    name: str
    parts: tuple[tuple[int, np.dtype[np.generic]], ...]

    def transform_kernels(self, weight: FloatArray, spectra: Sequence[Array]) -> None:
        """Write the spectra of some kernels."""

    def tiles(self, columns: int) -> FloatArray:
        """Give room for tiles."""

    def forward(self, tiles: FloatArray, spectra: Sequence[Array]) -> None:
        """Write the spectra of tiles."""

    def inverse(self, spectra: Sequence[Array], columns: int) -> FloatArray:
        """Turn spectra back into tiles."""


def element_bytes(basis: Basis) -> int:
    """Bytes of all elements of one tile, or of one kernel."""
    return sum(elements * dtype.itemsize for elements, dtype in basis.parts)


def transform_kernels(weight: FloatArray, basis: Basis, backend: CpuBackend) -> list[Array]:
    """Make the spectra U of all kernels.

    Parameters
    ----------
    weight : array (K, C, kh, kw) float32
    basis : Basis
    backend : CpuBackend

    Returns
    -------
    list of arrays (elements, K, C), one for each part of the basis
    """
    kernels, channels = weight.shape[:2]
    spectra = _empty(basis, kernels, channels, backend)
    # Small groups: the products' results stay in cache until they are spread out over the elements.
    group = max(1, _GROUP_BYTES // (channels * element_bytes(basis)))
    groups = _groups(kernels, group)

    def transform(number: int) -> None:
        some = groups[number]
        basis.transform_kernels(weight[some], [part[:, some] for part in spectra])

    backend.share(transform, len(groups))
    return spectra


def convolve(  # noqa: PLR0913 -- the six things a convolution is made of
    x: FloatArray,
    kernels: Sequence[Array],
    y: FloatArray,
    geometry: Geometry,
    tiling: Tiling,
    basis: Basis,
    backend: CpuBackend,
    finish: Callable[[Array, slice], None],
) -> None:
    """Write the convolution of `x` into `y`.

    Parameters
    ----------
    x : array (C, H, W, N) float32, contiguous
    kernels : list of arrays
        From `transform_kernels`.
    y : array (K, out_height, out_width, N) float32, contiguous
        The output.
    geometry, tiling, basis, backend
        The sizes, the tiles, the transform, and where to compute.
    finish : callable
        Called as `finish(piece, kernels)` with pieces of the output (k, ...) before they are put in
        their place, and the slice of kernels that they belong to.
    """
    pictures = x.shape[-1]
    per_tile = (geometry.channels + geometry.kernels) * element_bytes(basis) * pictures
    tiles_at_once = max(1, _ROUND_BYTES // per_tile)
    for first in range(0, len(tiling.starts), tiles_at_once):
        starts = tiling.starts[first : first + tiles_at_once]
        spectra = _forward(x, starts, geometry, tiling, basis, backend)
        products = _multiply(kernels, spectra, backend)
        _inverse(products, y, starts, tiling, basis, backend, finish)


def _forward(
    x: FloatArray, starts: Sequence[tuple[int, int]], geometry: Geometry, tiling: Tiling, basis: Basis, backend: CpuBackend
) -> list[Array]:
    channels, height, width, pictures = x.shape
    columns = _columns(len(starts), pictures)
    spectra = _empty(basis, channels, columns, backend)
    group = _group(channels, tiling.pixels * columns, backend)
    groups = _groups(channels, group)

    def transform(number: int) -> None:
        some = groups[number]
        count = some.stop - some.start
        room = basis.tiles(group * columns)
        tiles = room[..., : count * columns].reshape(tiling.height, tiling.width, count, columns)
        for tile, (row, column) in enumerate(starts):
            place = tiles[..., tile * pictures : (tile + 1) * pictures]
            top, left = row - geometry.padding, column - geometry.padding
            rows = slice(max(top, 0), min(top + tiling.height, height))
            cols = slice(max(left, 0), min(left + tiling.width, width))
            inner = place[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
            if inner.shape != place.shape:
                place[...] = 0.0
            inner[...] = x[some, rows, cols].transpose(1, 2, 0, 3)
        tiles[..., len(starts) * pictures :] = 0.0
        basis.forward(room, [part[:, some] for part in spectra])

    backend.share(transform, len(groups))
    return spectra


def _multiply(kernels: Sequence[Array], spectra: Sequence[Array], backend: CpuBackend) -> list[Array]:
    products = [
        backend.xp.empty((*u.shape[:2], v.shape[2]), u.dtype) for u, v in zip(kernels, spectra, strict=True)
    ]
    work = [
        (part, elements)
        for part, u in enumerate(kernels)
        for elements in backend.pieces(len(u))
    ]

    def multiply(number: int) -> None:
        part, elements = work[number]
        backend.xp.matmul(kernels[part][elements], spectra[part][elements], out=products[part][elements])

    backend.share(multiply, len(work))
    return products


def _inverse(
    products: Sequence[Array], y: FloatArray, starts: Sequence[tuple[int, int]], tiling: Tiling, basis: Basis,
    backend: CpuBackend, finish: Callable[[Array, slice], None],
) -> None:
    kernels, pictures = y.shape[0], y.shape[-1]
    columns = _columns(len(starts), pictures)
    group = _group(kernels, tiling.pixels * columns, backend)
    groups = _groups(kernels, group)

    def transform(number: int) -> None:
        some = groups[number]
        tiles = basis.inverse([part[:, some] for part in products], group * columns)
        outputs = tiles[: tiling.out_height, : tiling.out_width].transpose(2, 0, 1, 3)
        finish(outputs, some)
        for tile, (row, column) in enumerate(starts):
            y[some, row : row + tiling.out_height, column : column + tiling.out_width] = outputs[
                ..., tile * pictures : (tile + 1) * pictures
            ]

    backend.share(transform, len(groups))


def _columns(tiles: int, pictures: int) -> int:
    """Columns of the products: one a tile and picture, made even for the Fourier basis's pairs."""
    return tiles * pictures + tiles * pictures % 2


def _group(count: int, floats_each: int, backend: CpuBackend) -> int:
    fits = _GROUP_BYTES // (4 * floats_each)
    return max(1, min(fits, -(-count // backend.threads)))


def _groups(count: int, group: int) -> list[slice]:
    return [slice(start, min(start + group, count)) for start in range(0, count, group)]


def _empty(basis: Basis, rows: int, columns: int, backend: CpuBackend) -> list[Array]:
    return [backend.xp.empty((elements, rows, columns), dtype) for elements, dtype in basis.parts]
