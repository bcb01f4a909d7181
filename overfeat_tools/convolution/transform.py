"""Convolution in a transform domain: tiles -> spectra -> one product per element -> tiles.

With a basis in which convolving is multiplying, each element e (a frequency, or an evaluation
point) needs one matrix product over the channels,

    M[e] (K, columns) = U[e] (K, C) @ V[e] (C, columns),        columns = tiles * pictures,

where U are the kernels' spectra, made once, and V the tiles'.  Three phases, each shared out over the
threads: V by groups of channels, M by elements, the outputs by groups of kernels.  The groups are
as large as a thread's cache, so a tile goes through gathering, transform and spreading while hot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Finish, Geometry, stretches
from overfeat_tools.convolution.product import multiply, row_blocks
from overfeat_tools.convolution.tiles import Run, Starts, Tiling, runs_of

# Tiles that one thread transforms at a time: half of a common second-level cache.
_GROUP_BYTES = 512 << 10
# V and M together, for one round of tiles; bounds memory on large pictures.
_ROUND_BYTES = 192 << 20
# Columns of one round: more would not speed the products up, and leave fewer channels a group.
_ROUND_COLUMNS = 1024

# Channels added up at a time; see `product.py`.
_TERMS = 128

# Up to so many columns a product is bound by reading the kernels: blocks would only get in the way.
_FEW_COLUMNS = 64


class Basis(Protocol):
    """What a basis must do; see `fourier.py` and `cooktoom.py`."""

    @property
    def parts(self) -> tuple[tuple[int, np.dtype[Any]], ...]:
        """Kinds of elements: how many of each, and their dtype."""

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
        return sum(elements * dtype.itemsize for elements, dtype in self.basis.parts)

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
        empty = self.backend.xp.empty
        spectra: list[Array] = [empty((elements, kernels, channels), dtype) for elements, dtype in self.basis.parts]
        # Small groups: the products' results stay in cache until they are spread over the elements.
        groups = stretches(kernels, max(1, self.backend.at_once(_GROUP_BYTES) // (channels * self.element_bytes)))

        def transform(number: int) -> None:
            some = groups[number]
            self.basis.transform_kernels(weight[some], [part[:, some] for part in spectra])

        self.backend.share(transform, len(groups))
        return spectra

    def convolve(self, x: FloatArray, kernels: Sequence[Array], y: FloatArray, finish: Finish) -> None:
        """Write the convolution of `x` into `y`.

        Parameters
        ----------
        x : array (C, H, W, N) float32, contiguous
        kernels : list of arrays
            From `transform_kernels`.
        y : array (K, out_height, out_width, N) float32, contiguous
            The output.
        finish : callable
            Called as `finish(piece, kernels)` with pieces of the output (k, ...) before they are
            put in their place, and the slice of kernels that they belong to.
        """
        pictures = x.shape[-1]
        at_once = self.backend.at_once
        per_tile = (self.geometry.channels + self.geometry.kernels) * self.element_bytes * pictures
        tiles_at_once = max(1, min(at_once(_ROUND_BYTES) // per_tile, at_once(_ROUND_COLUMNS) // pictures))
        for first in range(0, len(self.tiling.starts), tiles_at_once):
            starts = self.tiling.starts[first : first + tiles_at_once]
            products = self._multiply(kernels, self._forward(x, starts))
            self._inverse(products, y, starts, finish)

    def _forward(self, x: FloatArray, starts: Starts) -> list[Array]:
        """Make the spectra V of some tiles: arrays (elements, C, columns)."""
        channels, _, _, pictures = x.shape
        tiling = self.tiling
        columns = _columns(len(starts), pictures)
        spectra = self._scratch("spectra", channels, columns)
        groups = self._channel_groups(channels, columns)
        room_columns = (groups[0].stop - groups[0].start) * columns
        # Where the input has its whole width, a row of tiles is one strided copy.
        runs = runs_of(starts, tiling.out_width, self._is_inside)

        def transform(number: int) -> None:
            some = groups[number]
            count = some.stop - some.start
            room = self.basis.tiles(room_columns)
            tiles = room[..., : count * columns].reshape(tiling.height, tiling.width, count, columns)
            for run in runs:
                self._gather(x[some], tiles, run)
            tiles[..., len(starts) * pictures :] = 0.0
            self.basis.forward(room, [part[:, some] for part in spectra])

        self.backend.share(transform, len(groups))
        return spectra

    def _is_inside(self, column: int) -> bool:
        """Tell whether the tile of an output column reads no padding at the left or right."""
        left = column - self.geometry.padding
        return left >= 0 and left + self.tiling.width <= self.geometry.width

    def _gather(self, x: Array, tiles: Array, run: Run) -> None:
        """Copy a run of tiles of `x` (c, H, W, N) into `tiles` (height, width, c, columns)."""
        channels, height, width, pictures = x.shape
        tiling = self.tiling
        place = tiles[..., run.first * pictures : (run.first + run.count) * pictures]
        place = place.reshape(tiling.height, tiling.width, channels, run.count, pictures)
        top, left = run.row - self.geometry.padding, run.column - self.geometry.padding
        rows = slice(max(top, 0), min(top + tiling.height, height))
        cols = slice(max(left, 0), min(left + tiling.width, width))
        source = x[:, rows, cols, :]
        shape = (*source.shape[:2], run.count, *source.shape[2:])
        step = tiling.out_width * x.strides[2]
        as_strided = self.backend.xp.lib.stride_tricks.as_strided
        windows = as_strided(source, shape, (*x.strides[:2], step, *x.strides[2:]))
        inner = place[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
        if inner.shape != place.shape:
            place[...] = 0.0
        inner[...] = windows.transpose(1, 3, 0, 2, 4)

    def _multiply(self, kernels: Sequence[Array], spectra: Sequence[Array]) -> list[Array]:
        """Multiply element by element: arrays (elements, K, columns)."""
        products = self._scratch("products", self.geometry.kernels, spectra[0].shape[2])
        if self.backend.batched:
            for u, v, out in zip(kernels, spectra, products, strict=True):
                self.backend.xp.matmul(u, v, out=out)
            return products
        columns = spectra[0].shape[2]
        few = columns <= _FEW_COLUMNS
        rows = [slice(None)] if few else row_blocks(self.geometry.kernels, columns, self.backend)
        terms = self.geometry.channels if few else _TERMS
        work = [(part, element, some) for part, u in enumerate(kernels) for element in range(len(u)) for some in rows]
        pieces = self.backend.pieces(len(work))

        def multiply_some(number: int) -> None:
            for part, element, some in work[pieces[number]]:
                out = products[part][element, some]
                multiply(kernels[part][element, some], spectra[part][element], out, terms, self.backend)

        self.backend.share(multiply_some, len(pieces))
        return products

    def _inverse(self, products: Sequence[Array], y: FloatArray, starts: Starts, finish: Finish) -> None:
        """Turn products into outputs and put them in their places."""
        pictures = y.shape[-1]
        height, width = self.tiling.out_height, self.tiling.out_width
        columns = _columns(len(starts), pictures)
        groups = self._channel_groups(y.shape[0], columns)
        runs = runs_of(starts, width)
        room_columns = (groups[0].stop - groups[0].start) * columns

        def transform(number: int) -> None:
            some = groups[number]
            tiles = self.basis.inverse([part[:, some] for part in products], room_columns)
            outputs = tiles[:height, :width].transpose(2, 0, 1, 3)
            finish(outputs, some)
            for run in runs:
                target = y[some, run.row : run.row + height, run.column : run.column + run.count * width]
                target = target.reshape(*target.shape[:2], run.count, width, pictures)
                from_run = outputs[..., run.first * pictures : (run.first + run.count) * pictures]
                target[...] = from_run.reshape(*outputs.shape[:3], run.count, pictures).transpose(0, 1, 3, 2, 4)

        self.backend.share(transform, len(groups))

    def _channel_groups(self, channels: int, columns: int) -> list[slice]:
        fits = self.backend.at_once(_GROUP_BYTES) // (FLOAT_BYTES * self.tiling.pixels * columns)
        return stretches(channels, max(1, min(fits, -(-channels // self.backend.threads))))

    def _scratch(self, use: str, rows: int, columns: int) -> list[Array]:
        """Make room for what lives only within one round: arrays (elements, rows, columns)."""
        return [
            self.backend.scratch(f"{use} {part}", (elements, rows, columns), dtype)
            for part, (elements, dtype) in enumerate(self.basis.parts)
        ]


def _columns(tiles: int, pictures: int) -> int:
    """Columns of the products: one a tile and picture, made even for the Fourier basis's pairs."""
    return tiles * pictures + tiles * pictures % 2
