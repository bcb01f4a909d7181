"""The sizes of a convolution, shared by the planner and every algorithm; and how a map is cut into tiles.

A tile of `size` input rows gives `size - kernel + 1` output rows, and the next tile begins that far below.  The last
tiles may extend beyond the edge of the map: what lies outside counts as zero, and outputs beyond the edge are left
out.  As all steps are equal, the tiles of a map are one strided view of it.  Or the last tiles are trimmed: then a map
has tiles of up to four sizes, whole ones, and smaller ones along two edges and in a corner.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Geometry:
    """One convolution on one map size.

    `channels` C and `height` x `width` describe the input before padding, `kernels` K and
    `kernel_height` x `kernel_width` the weights; `padding` rows and columns of zeros surround the input.
    """

    channels: int
    height: int
    width: int
    kernels: int
    kernel_height: int
    kernel_width: int
    stride: int = 1
    padding: int = 0

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        return (self.height + 2 * self.padding - self.kernel_height) // self.stride + 1

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        return (self.width + 2 * self.padding - self.kernel_width) // self.stride + 1

    @property
    def out_pixels(self) -> int:
        """Positions of the output, each with K values."""
        return self.out_height * self.out_width

    @property
    def taps(self) -> int:
        """Weights of one kernel: C * kh * kw."""
        return self.channels * self.kernel_height * self.kernel_width

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        return self.kernels * self.taps * FLOAT_BYTES

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the direct convolution of one picture."""
        return self.kernels * self.taps * self.out_pixels

    @property
    def is_pointwise(self) -> bool:
        """Whether the kernels are 1x1 and meet every pixel as it lies."""
        return self.kernel_height == self.kernel_width == self.stride == 1 and not self.padding

    @property
    def covers_map(self) -> bool:
        """Whether a kernel is as large as the map, so that there is one output."""
        return (self.kernel_height, self.kernel_width) == (self.height, self.width) and not self.padding

    def cropped(self, pool_size: int) -> "Geometry":
        """Give the smaller map whose outputs are those that a pool of this size covers."""
        if pool_size > min(self.out_height, self.out_width):
            return self
        return replace(
            self,
            height=self.height - self.stride * (self.out_height % pool_size),
            width=self.width - self.stride * (self.out_width % pool_size),
        )


@dataclass(frozen=True)
class Tiling:
    """`rows` x `columns` tiles of `height` x `width` inputs, each giving `out_height` x `out_width` outputs.

    `top` and `left` are row and column of the first output, and so of the first input.
    """

    height: int
    width: int
    out_height: int
    out_width: int
    rows: int
    columns: int
    top: int = 0
    left: int = 0

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


def trim(geometry: Geometry, height: int, width: int, smaller: int) -> list[Tiling]:
    """Cut the map into tiles of `height` x `width` inputs, and into smaller ones where less is left.

    A tile that is less high has at most a height of `smaller`.
    """
    down = _trim_axis(geometry.out_height, geometry.kernel_height, height, smaller)
    right = _trim_axis(geometry.out_width, geometry.kernel_width, width, width)
    pairs = (zip(*both, strict=True) for both in itertools.product(down, right))
    return [Tiling(*itertools.chain.from_iterable(pair)) for pair in pairs]


def _trim_axis(length: int, kernel: int, size: int, smaller: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut `length` outputs: inputs and outputs of a tile, how many of these there are, and where the first begins."""
    most = size - kernel + 1
    count, rest = divmod(length, most)
    if rest + kernel - 1 > smaller:
        count, rest = count + 1, 0
    if count:
        yield size, most, count, 0
    if rest:
        yield rest + kernel - 1, rest, 1, count * most


def split(length: int, step: int) -> list[slice]:
    """Split `range(length)` into slices of `step`, the last perhaps shorter."""
    return [slice(first, min(first + step, length)) for first in range(0, length, step)]
