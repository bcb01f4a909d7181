"""The kinds of layers that a network is made of: pure operations with their shapes.

Arrays are float32 with the channels last, (N, H, W, C).  `output_shape` maps (C, H, W) to (C, H, W), with sizes below
1 where the input is too small.  A convolution computes the padding before it, the rectifier and the pool after it
as well (`network.py`), so of these only their shapes are needed.
"""

import itertools
import math
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from overfeat_tools.backend import Array, Backend, Compiler, FloatArray
from overfeat_tools.convolution import Allocate, compiled_max_pool, compiled_normalise, max_pool

Shape = tuple[int, int, int]


class _Elementwise:
    """A layer whose result has the shape of its input."""

    def output_shape(self, shape: Shape) -> Shape:
        """Give the shape of the result."""
        return shape


@dataclass(frozen=True)
class Normalise(_Elementwise):
    """Centre and scale pixel values: (x - mean) / deviation, each one number or one for each channel."""

    mean: float | tuple[float, ...]
    deviation: float | tuple[float, ...]

    def __call__(
        self, x: Array, backend: Backend, allocate: Allocate | None = None, compiler: Compiler | None = None
    ) -> FloatArray:
        """Apply the layer, with a compiler by a compiled kernel.

        `x` may be of any real dtype; `allocate` gives memory for the result.
        """
        y: FloatArray = (allocate or backend.empty)(x.shape)
        if compiler:
            compiled_normalise(x, y, self.mean, self.deviation, backend, compiler)
            return y
        # By rows: of three channels alone a loop would be too short to be quick.
        source, target = (array.reshape(-1, math.prod(x.shape[2:])) for array in (x, y))
        # Numbers, not arrays: nothing can be brought to a card while a graph is captured.
        numbers = np.broadcast_arrays(np.atleast_1d(self.mean), np.atleast_1d(self.deviation))
        channels = list(enumerate(zip(*(each.tolist() for each in numbers), strict=True)))

        def normalise(rows: slice) -> None:
            target[rows] = source[rows]
            for channel, (mean, deviation) in channels:
                values = target[rows, channel :: len(channels)]
                values -= mean
                values /= deviation

        backend.parallel_for(normalise, backend.chunks(len(source)))
        return y


@dataclass(frozen=True)
class Convolve:
    """Valid cross-correlation with `channels` kernels of `size` x `size`, plus a bias each."""

    channels: int
    size: int
    stride: int = 1

    def output_shape(self, shape: Shape) -> Shape:
        """Give the shape of the result."""
        height, width = ((length - self.size) // self.stride + 1 for length in shape[1:])
        return self.channels, height, width


@dataclass(frozen=True)
class Rectify(_Elementwise):
    """Clear everything that is not above a small threshold: x > threshold ? x : 0."""

    threshold: float = 1e-6


@dataclass(frozen=True)
class MaxPool:
    """Take the maximum of each `size` x `size` window; windows don't overlap, what is left over is dropped."""

    size: int

    def output_shape(self, shape: Shape) -> Shape:
        """Give the shape of the result."""
        return shape[0], shape[1] // self.size, shape[2] // self.size


@dataclass(frozen=True)
class FragmentPool:
    """Take a `MaxPool` at each of its `size` x `size` offsets: a map becomes that many fragments, a batch of them.

    The fragments of one map follow each other, by rows of offsets.  All have the size of the smallest.  With
    `diagonal`, only the `size` offsets are taken that are equal on both axes.

    Source: Giusti et al., Fast Image Scanning with Deep Max-Pooling Convolutional Neural Networks, arXiv:1302.1700.
    """

    size: int
    diagonal: bool = False

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Rows and columns that each fragment leaves out above and on the left."""
        offsets = itertools.product(range(self.size), repeat=2)
        return [(down, right) for down, right in offsets if down == right or not self.diagonal]

    def output_shape(self, shape: Shape) -> Shape:
        """Give the shape of a fragment."""
        return shape[0], *((length + 1) // self.size - 1 for length in shape[1:])  # type: ignore[return-value]

    def __call__(
        self, x: FloatArray, backend: Backend, allocate: Allocate | None = None, compiler: Compiler | None = None
    ) -> FloatArray:
        """Apply the layer, with a compiler by a compiled kernel: (N, H, W, C) to (N * size * size, H', W', C)."""
        pictures, height, width, channels = x.shape
        shape = self.output_shape((channels, height, width))
        y: FloatArray = (allocate or backend.empty)((pictures * len(self.offsets), *shape[1:], channels))
        if compiler:
            compiled_max_pool(x, y, self.size, backend, compiler, offsets=self.offsets)
        else:
            max_pool(x, y, self.size, backend, self.offsets)
        return y


@dataclass(frozen=True)
class Pad:
    """Surround each map with `width` rows and columns of zeros."""

    width: int

    def output_shape(self, shape: Shape) -> Shape:
        """Give the shape of the result."""
        return shape[0], shape[1] + 2 * self.width, shape[2] + 2 * self.width

    def __call__(self, x: Array, backend: Backend) -> FloatArray:
        """Apply the layer: needed by itself only where a run ends with it."""
        pictures, height, width, channels = x.shape
        shape = (pictures, height + 2 * self.width, width + 2 * self.width, channels)
        y: FloatArray = backend.xp.zeros(shape, np.float32)
        y[:, self.width : -self.width, self.width : -self.width] = x
        return y


@dataclass(frozen=True)
class Softmax(_Elementwise):
    """Turn scores into probabilities over the channels, at each position."""

    def __call__(self, x: Array, backend: Backend) -> FloatArray:
        """Apply the layer."""
        return softmax(x, backend.xp, axis=3)


def softmax(x: Array, xp: ModuleType, axis: int) -> FloatArray:
    """Turn scores into probabilities over an axis, by a module with numpy's functions."""
    y: FloatArray = xp.exp(x - x.max(axis=axis, keepdims=True))
    y /= y.sum(axis=axis, keepdims=True)
    return y


Layer = Normalise | Convolve | Rectify | MaxPool | FragmentPool | Pad | Softmax
