"""How a map is cut into overlapping tiles whose outputs cover it.

A tile of `size` input rows gives `size - kernel + 1` output rows, and the next tile stands that far
down.  The last tiles may hang over the edge of the map: what lies outside counts as zero, and
outputs beyond the edge are left out.  Steps without exception make all tiles of a map one strided
view of it, so that gathering them is a single copy.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from overfeat_tools.backend import Array, Backend
from overfeat_tools.convolution.geometry import Geometry


@dataclass(frozen=True)
class Tiling:
    """`rows` x `columns` tiles of `height` x `width` inputs, each giving `out_height` x `out_width` outputs."""

    height: int
    width: int
    out_height: int
    out_width: int
    rows: int
    columns: int

    @property
    def pixels(self) -> int:
        """Places of a tile's input."""
        return self.height * self.width

    @property
    def count(self) -> int:
        """Tiles of a map."""
        return self.rows * self.columns

    def holds(self, squares: int) -> bool:
        """Tell whether squares of so many outputs a side never stand on two tiles."""
        return self.out_height % squares == self.out_width % squares == 0


def cut(geometry: Geometry, height: int, width: int) -> Tiling:
    """Cut the map into tiles of `height` x `width` inputs.

    A tile may be larger than the padded map: what lies outside counts as zero.
    """
    out_height = min(height - geometry.kernel_height + 1, geometry.out_height)
    out_width = min(width - geometry.kernel_width + 1, geometry.out_width)
    rows, columns = -(-geometry.out_height // out_height), -(-geometry.out_width // out_width)
    return Tiling(height, width, out_height, out_width, rows, columns)


def windows(x: Array, tiling: Tiling, backend: Backend) -> Array:
    """View the tiles of a map without a copy.

    Parameters
    ----------
    x : array (C, H, W, N)
        H and W as large as the tiles need.

    Returns
    -------
    array (height, width, C, rows, columns, N)
        To read only: tiles overlap.  `rows` and `columns` number them.
    """
    channels, height, width, pictures = x.shape
    rows = (height - tiling.height) // tiling.out_height + 1
    columns = (width - tiling.width) // tiling.out_width + 1
    channel, row, column, picture = x.strides
    shape = (tiling.height, tiling.width, channels, rows, columns, pictures)
    strides = (row, column, channel, tiling.out_height * row, tiling.out_width * column, picture)
    view: Array = backend.xp.lib.stride_tricks.as_strided(x, shape, strides)
    return view


def place(outputs: Array, y: Array) -> None:
    """Copy the tiles' outputs to their places, leaving out what lies beyond the edge.

    Parameters
    ----------
    outputs : array (out_height, out_width, K, rows, columns, N)
    y : array (K, H, W, N)
        The rows and columns of the map that these tiles cover.
    """
    height, width, _, rows, columns, _ = outputs.shape
    for tile_rows, out_rows, inner_rows in _whole_and_rest(y.shape[1], height, rows):
        for tile_columns, out_columns, inner_columns in _whole_and_rest(y.shape[2], width, columns):
            source = outputs[:inner_rows, :inner_columns, :, tile_rows, tile_columns]
            target = y[:, out_rows, out_columns]
            shape = (
                y.shape[0], source.shape[3], source.shape[0], source.shape[4], source.shape[1], y.shape[3],
            )  # fmt: skip
            # Splitting the axes of a map is a view of it: no copy is made here.
            target.reshape(shape)[...] = source.transpose(2, 3, 0, 4, 1, 5)


def _whole_and_rest(length: int, step: int, count: int) -> Iterator[tuple[slice, slice, int]]:
    """Give the tiles that lie inside the map, then the last if it hangs over: tiles, outputs, and how many of each."""
    whole = min(count, length // step)
    if whole:
        yield slice(0, whole), slice(0, whole * step), step
    if whole < count and whole * step < length:
        yield slice(whole, whole + 1), slice(whole * step, length), length - whole * step
