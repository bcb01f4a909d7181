"""How a map is cut into overlapping tiles whose outputs cover it.

A tile of `size` input rows gives `size - kernel + 1` output rows.  Where the last tile would
stand over the edge of the output it is moved back, so every tile gives its full outputs and a few
places are computed twice, with no ragged case anywhere else.
"""

from dataclasses import dataclass

from overfeat_tools.convolution.geometry import Geometry


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
