"""The kinds of layers a network is made of: pure operations with their shapes.

Arrays are float32 (N, C, H, W), in any memory order; results keep their input's.  `output_shape`
maps (C, H, W) to (C, H, W), with sizes below 1 where the input is too small.
"""

from dataclasses import dataclass

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray
from overfeat_tools.convolution import Budget, Convolution, Rates, Room, pictures_last, pool, rectify

__all__ = ["Budget", "Convolution", "Convolve", "Layer", "MaxPool", "Normalise", "Pad", "Rates", "Rectify", "Softmax"]

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Normalise:
    """Centre and scale pixel values: (x - mean) / deviation."""

    mean: float
    deviation: float

    def output_shape(self, shape: Shape) -> Shape:
        """Give the shape of the result."""
        return shape

    def __call__(self, x: Array, backend: Backend, room: Room | None = None) -> FloatArray:
        """Apply the layer; `x` may be of any real dtype.

        The result's memory order is what the first convolution will like: the colours stay last for the
        compiled ways, the pictures come last for numpy's.  `room` gives memory for it, by default new.
        """
        axes = (0, 2, 3, 1) if backend.compiler else (2, 1, 3, 0)
        lines = x.transpose(axes)
        y = room(lines.shape) if room else backend.empty(lines.shape)
        mean, deviation = np.float32(self.mean), np.float32(self.deviation)

        def normalise(share: int) -> None:
            some = shares[share]
            # Transposed while still a byte each, where they are bytes: a quarter of the traffic.
            piece = y[some]
            piece[...] = backend.xp.ascontiguousarray(lines[some])
            piece -= mean
            piece /= deviation

        shares = backend.pieces(len(lines))
        backend.share(normalise, len(shares))
        return y.transpose(np.argsort(axes).tolist())


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

    def weight_shape(self, shape: Shape) -> tuple[int, int, int, int]:
        """Give the kernels' shape (K, C, kh, kw) for an input shape."""
        return self.channels, shape[0], self.size, self.size


@dataclass(frozen=True)
class Rectify:
    """Zero everything that is not above a small threshold: x > threshold ? x : 0."""

    threshold: float = 1e-6

    def output_shape(self, shape: Shape) -> Shape:
        """Give the shape of the result."""
        return shape

    def __call__(self, x: Array, backend: Backend) -> FloatArray:  # noqa: ARG002 -- layers are called alike
        """Apply the layer."""
        y: FloatArray = x.copy(order="K")
        rectify(y, self.threshold)
        return y


@dataclass(frozen=True)
class MaxPool:
    """Take the maximum of each `size` x `size` square; squares don't overlap, the rest is dropped."""

    size: int

    def output_shape(self, shape: Shape) -> Shape:
        """Give the shape of the result."""
        return shape[0], shape[1] // self.size, shape[2] // self.size

    def __call__(self, x: Array, backend: Backend) -> FloatArray:
        """Apply the layer."""
        return pool(pictures_last(x, backend), self.size, backend).transpose(3, 0, 1, 2)


@dataclass(frozen=True)
class Pad:
    """Surround each map with `width` rows and columns of zeros."""

    width: int

    def output_shape(self, shape: Shape) -> Shape:
        """Give the shape of the result."""
        return shape[0], shape[1] + 2 * self.width, shape[2] + 2 * self.width

    def __call__(self, x: Array, backend: Backend) -> FloatArray:
        """Apply the layer."""
        pictures, *shape = x.shape
        channels, height, width = self.output_shape((shape[0], shape[1], shape[2]))
        y: FloatArray = backend.xp.zeros((channels, height, width, pictures), np.float32).transpose(3, 0, 1, 2)
        y[:, :, self.width : -self.width, self.width : -self.width] = x
        return y


@dataclass(frozen=True)
class Softmax:
    """Turn scores into probabilities over the channels, at each place."""

    def output_shape(self, shape: Shape) -> Shape:
        """Give the shape of the result."""
        return shape

    def __call__(self, x: Array, backend: Backend) -> FloatArray:
        """Apply the layer."""
        y: FloatArray = backend.xp.exp(x - x.max(axis=1, keepdims=True))
        y /= y.sum(axis=1, keepdims=True)
        return y


Layer = Normalise | Convolve | Rectify | MaxPool | Pad | Softmax
