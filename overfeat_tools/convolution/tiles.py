"""How a map is cut into overlapping tiles whose outputs cover it.

A tile of `size` input rows gives `size - kernel + 1` output rows.  Where the last tile would
stand over the edge of the output it is moved back, so every tile gives its full outputs and a few
places are computed twice, with no ragged case anywhere else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from overfeat_tools.convolution.geometry import Geometry

Starts = Sequence[tuple[int, int]]
"""The first output row and column of some tiles."""


@dataclass(frozen=True)
class Tiling:
    """Tiles of `height` x `width` inputs, each giving `out_height` x `out_width` outputs.

    `starts` holds the first output row and column of every tile.
    """

    height: int
    width: int
    out_height: int
    out_width: int
    starts: tuple[tuple[int, int], ...]

    @property
    def pixels(self) -> int:
        """Places of a tile's input."""
        return self.height * self.width


def cut(geometry: Geometry, height: int, width: int) -> Tiling:
    """Cut the map into tiles of `height` x `width` inputs.

    A tile may be larger than the padded map: what lies outside counts as zero.
    """
    out_height = min(height - geometry.kernel_height + 1, geometry.out_height)
    out_width = min(width - geometry.kernel_width + 1, geometry.out_width)
    starts = tuple(
        (row, column)
        for row in _starts(geometry.out_height, out_height)
        for column in _starts(geometry.out_width, out_width)
    )
    return Tiling(height, width, out_height, out_width, starts)


def _starts(length: int, step: int) -> list[int]:
    return [*range(0, length - step, step), length - step]


@dataclass(frozen=True)
class Run:
    """Tiles side by side: `count` of them from number `first`, the outputs from `row` and `column` on."""

    first: int
    count: int
    row: int
    column: int


def runs_of(starts: Starts, width: int, joins: Callable[[int], bool] = lambda _: True) -> list[Run]:
    """Join tiles that lie side by side, so that they can be copied together.

    Parameters
    ----------
    starts : sequence of (row, column)
        The tiles, a row after the other.
    width : int
        Output columns of a tile.
    joins : callable
        Tells of a tile's column whether it may be joined with others.
    """
    runs: list[Run] = []
    for number, (row, column) in enumerate(starts):
        last = runs[-1] if runs else None
        if (
            last
            and (last.row, last.column + last.count * width) == (row, column)
            and joins(last.column)
            and joins(column)
        ):
            runs[-1] = Run(last.first, last.count + 1, row, last.column)
        else:
            runs.append(Run(number, 1, row, column))
    return runs
