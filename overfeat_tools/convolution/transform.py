"""Convolution in a transform domain: tiles -> spectra -> one product per element -> tiles.

With a basis in which convolving is multiplying, each element e (a frequency, or an evaluation
point) needs one matrix product over the channels,

    M[e] (K, columns) = U[e] (K, C) @ V[e] (C, columns),        columns = tiles * pictures,

where U are the kernels' spectra, made once, and V the tiles'.  Three phases, each shared out over the
threads: V by groups of channels, M by elements, the outputs by groups of kernels.  The groups are
as large as half a thread's cache, so a tile goes through gathering, transform and spreading while hot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Finish, Geometry, inside, stretches
from overfeat_tools.convolution.pooling import maximum_of_squares
from overfeat_tools.convolution.product import multiply, row_blocks
from overfeat_tools.convolution.tiles import Tiling, place, windows

# V and M together, for one round of tiles; bounds memory on large pictures.
_ROUND_BYTES = 192 << 20
# Columns of one round: more would not speed the products up, and leave fewer channels a group.
_ROUND_COLUMNS = 1024

# A product is cut into blocks of rows where elements alone are too few to keep all threads busy, but
# not with so few columns that it is bound by reading the kernels.
_ELEMENTS_A_THREAD = 8
_FEW_COLUMNS = 64


@dataclass(frozen=True)
class Elements:
    """One kind of elements that a basis turns a tile into: how many, their dtype, how to add up their products.

    `terms` is how many channels are added up at a time; see `product.py`.
    """

    count: int
    dtype: np.dtype[Any]
    terms: int


class Basis(Protocol):
    """What a basis must do; see `fourier.py` and `cooktoom.py`."""

    @property
    def parts(self) -> tuple[Elements, ...]:
        """Kinds of elements."""

    def transform_kernels(self, weight: FloatArray, spectra: Sequence[Array]) -> None:
        """Write the spectra of some kernels."""

    def tiles(self, columns: int) -> FloatArray:
        """Give room for tiles."""

    def forward(self, tiles: FloatArray, spectra: Sequence[Array]) -> None:
        """Write the spectra of tiles."""

    def inverse(self, spectra: Sequence[Array], columns: int) -> FloatArray:
        """Turn spectra back into tiles."""


@dataclass(frozen=True)
class Tiled:
    """A convolution of one geometry through the tiles of one basis."""

    geometry: Geometry
    tiling: Tiling
    basis: Basis
    backend: Backend

    @property
    def element_bytes(self) -> int:
        """Bytes of all elements of one tile, or of one kernel."""
        return sum(part.count * part.dtype.itemsize for part in self.basis.parts)

    @property
    def _elements(self) -> int:
        return sum(part.count for part in self.basis.parts)

    def transform_kernels(self, weight: FloatArray) -> list[Array]:
        """Make the spectra U of all kernels.

        Parameters
        ----------
        weight : array (K, C, kh, kw) float32

        Returns
        -------
        list of arrays (elements, K, C), one for each part of the basis
        """
        kernels, channels = weight.shape[:2]
        empty = self.backend.empty
        spectra: list[Array] = [empty((part.count, kernels, channels), part.dtype) for part in self.basis.parts]
        # Small groups: the products' results stay in cache until they are spread over the elements.
        groups = stretches(kernels, max(1, self.backend.cache_bytes // (channels * self.element_bytes)))

        def transform(number: int) -> None:
            some = groups[number]
            self.basis.transform_kernels(weight[some], [part[:, some] for part in spectra])

        self.backend.share(transform, len(groups))
        return spectra

    def convolve(
        self, x: FloatArray, kernels: Sequence[Array], y: FloatArray, finish: Finish, squares: int = 1
    ) -> None:
        """Write the convolution of `x` into `y`.

        Parameters
        ----------
        x : array (C, H, W, N) float32, contiguous
        kernels : list of arrays
            From `transform_kernels`.
        y : array (K, out_height // squares, out_width // squares, N) float32, contiguous
            The output.
        finish : callable
            Called as `finish(piece, kernels)` with pieces of the output (k, ...) before they are
            put in their place, and the slice of kernels that they belong to.
        squares : int
            Take the maximum of squares of so many outputs a side; the tiling must hold them.
        """
        tiling, at_once = self.tiling, self.backend.at_once
        row_columns = tiling.columns * x.shape[-1]
        row_bytes = (self.geometry.channels + self.geometry.kernels) * self.element_bytes * row_columns
        rows_at_once = max(1, min(at_once(_ROUND_BYTES) // row_bytes, at_once(_ROUND_COLUMNS) // row_columns))
        for rows in stretches(tiling.rows, rows_at_once):
            products = self._multiply(kernels, self._forward(x, rows))
            step = tiling.out_height // squares
            self._inverse(products, y[:, rows.start * step : rows.stop * step], rows, finish, squares)

    def _forward(self, x: FloatArray, rows: slice) -> list[Array]:
        """Make the spectra V of some rows of tiles: arrays (elements, C, columns)."""
        channels, tiling = x.shape[0], self.tiling
        used = (rows.stop - rows.start) * tiling.columns * x.shape[-1]
        columns = _columns(used)
        spectra = self._scratch("spectra", channels, columns)
        groups = self._channel_groups(channels, columns)
        room_columns = (groups[0].stop - groups[0].start) * columns

        def transform(number: int) -> None:
            some = groups[number]
            tiles = windows(self._surrounded(x[some], rows), tiling, self.backend)
            room = self.basis.tiles(room_columns)
            target = room[..., : tiles.shape[2] * columns].reshape(*tiles.shape[:3], columns)
            if used < columns:
                target[..., used:] = 0.0
            target[..., :used].reshape(tiles.shape)[...] = tiles
            self.basis.forward(room, [part[:, some] for part in spectra])

        self.backend.share(transform, len(groups))
        return spectra

    def _surrounded(self, x: Array, rows: slice) -> Array:
        """Give the inputs (c, H, W, N) of some rows of tiles, with zeros where they lie outside the map."""
        tiling, padding = self.tiling, self.geometry.padding
        count = rows.stop - rows.start
        height = (count - 1) * tiling.out_height + tiling.height
        width = (tiling.columns - 1) * tiling.out_width + tiling.width
        first_row, inner_rows = inside(rows.start * tiling.out_height - padding, 1, height, self.geometry.height)
        _, inner_columns = inside(-padding, 1, width, self.geometry.width)
        last_row = first_row + inner_rows.stop - inner_rows.start
        source = x[:, first_row:last_row, : inner_columns.stop - inner_columns.start]
        if source.shape[1:3] == (height, width):
            return source
        # A copy, but in long runs and of one group of channels: it stays in the cache.
        surrounded = self.backend.thread_scratch("surrounded", (len(x), height, width, x.shape[-1]), np.float32)
        surrounded[...] = 0.0
        surrounded[:, inner_rows, inner_columns] = source
        return surrounded

    def _multiply(self, kernels: Sequence[Array], spectra: Sequence[Array]) -> list[Array]:
        """Multiply element by element: arrays (elements, K, columns)."""
        products = self._scratch("products", self.geometry.kernels, spectra[0].shape[2])
        if self.backend.batched:
            for u, v, out in zip(kernels, spectra, products, strict=True):
                self.backend.xp.matmul(u, v, out=out)
            return products
        columns = spectra[0].shape[2]
        whole = columns <= _FEW_COLUMNS or self._elements >= _ELEMENTS_A_THREAD * self.backend.threads
        rows = [slice(None)] if whole else row_blocks(self.geometry.kernels, columns, self.backend)
        work = [(part, element, some) for part, u in enumerate(kernels) for element in range(len(u)) for some in rows]
        pieces = self.backend.pieces(len(work))

        def multiply_some(number: int) -> None:
            for part, element, some in work[pieces[number]]:
                u, v, out = kernels[part][element, some], spectra[part][element], products[part][element, some]
                multiply(u, v, out, self.basis.parts[part].terms, self.backend)

        self.backend.share(multiply_some, len(pieces))
        return products

    def _inverse(self, products: Sequence[Array], y: FloatArray, rows: slice, finish: Finish, squares: int = 1) -> None:
        """Turn the products of some rows of tiles into outputs and put them in their places in `y`, which is theirs."""
        pictures, tiling = y.shape[-1], self.tiling
        tile_rows = rows.stop - rows.start
        used = tile_rows * tiling.columns * pictures
        columns = _columns(used)
        groups = self._channel_groups(y.shape[0], columns)
        room_columns = (groups[0].stop - groups[0].start) * columns

        def transform(number: int) -> None:
            some = groups[number]
            tiles = self.basis.inverse([part[:, some] for part in products], room_columns)
            outputs = tiles[: tiling.out_height, : tiling.out_width, :, :used]
            if squares > 1:
                outputs = self._pooled(outputs, squares)
            finish(outputs.transpose(2, 0, 1, 3), some)
            place(outputs.reshape(*outputs.shape[:3], tile_rows, tiling.columns, pictures), y[some])

        self.backend.share(transform, len(groups))

    def _pooled(self, outputs: Array, squares: int) -> Array:
        """Take the maximum of squares of outputs (out_height, out_width, k, columns)."""
        height, width, *rest = outputs.shape
        shape = (height // squares, width // squares, *rest)
        pooled = self.backend.thread_scratch("pooled", shape, np.float32)
        maximum_of_squares(
            outputs.reshape(1, height, width, -1), squares, pooled.reshape(1, *shape[:2], -1), self.backend
        )
        return pooled

    def _channel_groups(self, channels: int, columns: int) -> list[slice]:
        fits = self.backend.cache_bytes // (FLOAT_BYTES * self.tiling.pixels * columns)
        return stretches(channels, max(1, min(fits, -(-channels // self.backend.threads))))

    def _scratch(self, use: str, rows: int, columns: int) -> list[Array]:
        """Make room for what lives only within one round: arrays (elements, rows, columns)."""
        return [
            self.backend.scratch(f"{use} {number}", (part.count, rows, columns), part.dtype)
            for number, part in enumerate(self.basis.parts)
        ]


def _columns(used: int) -> int:
    """Columns of the products: one a tile and picture, made even for the Fourier basis's pairs."""
    return used + used % 2
