"""What follows a convolution's sums: the pool, the bias, the rectifier.

Taking a maximum commutes with adding a bias and with the rectifier, exactly, in floating point too (nan aside): both
never turn a larger value into a smaller one.  So the maximum is taken first, and only what is left is rectified.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from overfeat_tools.backend import Argument, Array, Backend, Call, Compiler, FloatArray, Piece, Place
from overfeat_tools.convolution.geometry import FLOAT_BYTES
from overfeat_tools.convolution.kernels.epilogue import epilogue_kernel, transposed_epilogue_kernel


@dataclass(frozen=True)
class Epilogue:
    """A layer's biases; the rectifier's threshold, if one follows; the pool's size, 1 without one.

    `bias` is (K,) float32, contiguous.
    """

    bias: FloatArray
    threshold: float | None = None
    pool_size: int = 1

    def apply(self, y: Array, kernels: slice = slice(None)) -> None:
        """Add the biases of some kernels to `y` (..., k) and rectify it, in place; the pool is left alone."""
        y += self.bias[kernels]
        if self.threshold is not None:
            rectify(y, self.threshold)

    @property
    def rectifier_arguments(self) -> tuple[float, int]:
        """The last arguments of a compiled epilogue: the threshold, and a mask that is -1 where nothing is cleared."""
        return (0.0, -1) if self.threshold is None else (self.threshold, 0)

    def call(
        self, sums: Argument, sums_strides: Sequence[int], y: FloatArray, kernels: slice, compiler: Compiler
    ) -> Call:
        """Give the call that writes what becomes of sums, pool included.

        Parameters
        ----------
        sums : address of floats
            (H * pool_size or more, W * pool_size or more, k or more).
        sums_strides : (int, int)
            Floats from one row to the next, and from one column to the next.
        y : array (H, W, k) float32
            The last axis is contiguous.
        kernels : slice
            Which kernels these are.
        compiler : Compiler
        """
        strides = [stride // FLOAT_BYTES for stride in y.strides[:2]]
        bias = Place(self.bias, FLOAT_BYTES * kernels.start)
        arguments = (y, sums, bias, *strides, *sums_strides, *y.shape, *self.rectifier_arguments)
        return Call(epilogue_kernel(compiler, self.pool_size), arguments)

    def transposed_call(
        self, sums: Argument, sums_stride: int, y: FloatArray, kernels: slice, compiler: Compiler
    ) -> Call:
        """Give the call that does so without a pool, for the sums (k, positions or more) of a product's rows.

        `y` is (positions, K).
        """
        positions, bias = len(y), Place(self.bias, FLOAT_BYTES * kernels.start)
        target = y[:, kernels]
        return Call(transposed_epilogue_kernel(compiler), (
            target, sums, bias, y.strides[0] // FLOAT_BYTES, sums_stride, positions, target.shape[1],
            *self.rectifier_arguments,
        ))  # fmt: skip


def rectify(x: Array, threshold: float) -> None:
    """Clear what is not above the threshold, in place.

    Multiplying by the mask is 17 times as fast as assigning through it, where every other value
    is mispredicted.  It is done on the bits: 0 times them is +0.0 for every value, where a product
    of floats would leave -0.0 (which prints as `-0`) and nan behind.
    """
    bits = x.view(np.int32)
    bits *= x > threshold


Offsets = Sequence[tuple[int, int]]
"""Rows and columns that are left out above and on the left of the first window."""


def max_pool(x: FloatArray, y: FloatArray, size: int, backend: Backend, offsets: Offsets = ((0, 0),)) -> None:
    """Write the maximum of each window of `size` x `size`; windows don't overlap, and what is left over is dropped.

    Parameters
    ----------
    x : array (N, H, W, K) float32
    y : array (N * offsets, (H - down) // size, (W - right) // size, K) float32, or smaller
        Of each picture the result for every offset, one after the other.
    size : int
    backend : Backend
    offsets : sequence of (down, right)
    """
    _, height, width, kernels = y.shape

    def pool(place: tuple[int, slice]) -> None:
        number, band = place
        picture, (down, right) = number // len(offsets), offsets[number % len(offsets)]
        covered = x[picture, down : down + height * size, right : right + width * size]
        windows = covered.reshape(height, size, width, size, kernels)  # a view: two axes are split
        window_maximum(windows[band].transpose(1, 3, 0, 2, 4), y[place], backend)

    backend.parallel_for(pool, list(itertools.product(range(len(y)), backend.chunks(height))))


def compiled_max_pool(
    x: FloatArray,
    y: FloatArray,
    size: int,
    backend: Backend,
    compiler: Compiler,
    threshold: float | None = None,
    offsets: Offsets = ((0, 0),),
) -> None:
    """Do so with a compiled kernel, and rectify; K fills whole vectors."""
    (_, rows, _, kernels), strides = y.shape, [stride // FLOAT_BYTES for stride in x.strides[1:3]]
    pool, channels = Epilogue(np.zeros(kernels, np.float32), threshold, size), slice(0, kernels)

    def piece(number: int, band: slice) -> Piece:
        picture, (down, right) = number // len(offsets), offsets[number % len(offsets)]
        first = x.strides[0] * picture + x.strides[1] * (down + size * band.start) + x.strides[2] * right
        return [pool.call(Place(x, first), strides, y[number, band], channels, compiler)]

    backend.launch([piece(number, band) for number in range(len(y)) for band in backend.chunks(rows)])


def finish(
    x: FloatArray,
    threshold: float | None,
    pool_size: int,
    allocate: Callable[[tuple[int, ...]], FloatArray],
    backend: Backend,
    compiler: Compiler | None,
) -> FloatArray:
    """Rectify and pool what a convolution has left (N, H, W, K), which stays as it is."""
    pictures, height, width, kernels = x.shape
    y = allocate((pictures, height // pool_size, width // pool_size, kernels))
    if compiler:
        compiled_max_pool(x, y, pool_size, backend, compiler, threshold)
        return y
    max_pool(x, y, pool_size, backend)
    if threshold is not None:
        rectify(y, threshold)
    return y


def window_maximum(windows: Array, y: Array, backend: Backend) -> None:
    """Write into `y` (...) the maximum of `windows` (size, size, ...) over its first two axes."""
    first, *others = [values for row in windows for values in row]
    y[...] = first
    for values in others:
        backend.xp.maximum(y, values, out=y)
