"""Sizes of a valid convolution, shared by the planner and every method."""

from collections.abc import Callable
from dataclasses import dataclass

from overfeat_tools.backend import Array

FLOAT_BYTES = 4

Finish = Callable[[Array, slice], None]
"""What a method calls with each piece (k, ...) of its output, and the slice of kernels it is of."""


@dataclass(frozen=True)
class Geometry:
    """One convolution on one map size.

    `channels` C and `height` x `width` describe the input before padding, `kernels` K and
    `kernel_height` x `kernel_width` the weights; `padding` rows and columns of zeros stand on
    each side of the input.
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
        """Places of the output, each with K values."""
        return self.out_height * self.out_width

    @property
    def taps(self) -> int:
        """Weights of one kernel: C * kh * kw."""
        return self.channels * self.kernel_height * self.kernel_width

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the direct convolution of one picture."""
        return self.kernels * self.taps * self.out_pixels


def stretches(length: int, step: int) -> list[slice]:
    """Cut `range(length)` into slices of `step`, the last perhaps shorter."""
    return [slice(first, min(first + step, length)) for first in range(0, length, step)]


def inside(origin: int, stride: int, count: int, length: int) -> tuple[int, slice]:
    """Find which of the places origin, origin + stride, ... lie inside 0..length.

    Returns the first such place and the slice of their numbers, 0 to `count`.
    """
    start = min(count, max(0, -(origin // stride)))
    stop = max(start, min(count, -((origin - length) // stride)))
    return max(0, origin + stride * start), slice(start, stop)
