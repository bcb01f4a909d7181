"""The sizes of a convolution, shared by the planner and every algorithm."""

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


def split(length: int, step: int) -> list[slice]:
    """Split `range(length)` into slices of `step`, the last perhaps shorter."""
    return [slice(first, min(first + step, length)) for first in range(0, length, step)]
