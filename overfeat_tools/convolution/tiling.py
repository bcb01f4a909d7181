"""How a map is cut into overlapping tiles whose outputs cover it.

A tile of `size` input rows gives `size - kernel + 1` output rows, and the next tile begins that far below.  The last
tiles may extend beyond the edge of the map: what lies outside counts as zero, and outputs beyond the edge are left
out.  As all steps are equal, the tiles of a map are one strided view of it.
"""

from dataclasses import dataclass
from functools import cached_property

from overfeat_tools.convolution.algorithm import Algorithm
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
        """Inputs of a tile, of one channel."""
        return self.height * self.width

    @property
    def count(self) -> int:
        """Tiles of a map."""
        return self.rows * self.columns


def tile(geometry: Geometry, height: int, width: int) -> Tiling:
    """Cut the map into tiles of `height` x `width` inputs.

    A tile may be larger than the padded map: what lies outside counts as zero.
    """
    out_height = min(height - geometry.kernel_height + 1, geometry.out_height)
    out_width = min(width - geometry.kernel_width + 1, geometry.out_width)
    rows, columns = -(-geometry.out_height // out_height), -(-geometry.out_width // out_width)
    return Tiling(height, width, out_height, out_width, rows, columns)


@dataclass(frozen=True)
class Tiles(Algorithm):
    """Tiles of one size, in one basis; `basis_name` is the method."""

    basis_name: str
    size: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.basis_name} {self.size[0]}x{self.size[1]}"

    @property
    def method(self) -> str:  # type: ignore[override]  # noqa: D102 -- each basis is a method of its own
        return self.basis_name

    @cached_property
    def tiling(self) -> Tiling:
        """How a map is cut."""
        return tile(self.geometry, *self.size)

    def holds(self, pool_size: int) -> bool:
        """Tell whether no window of the pool extends over two tiles."""
        return self.tiling.out_height % pool_size == self.tiling.out_width % pool_size == 0
