"""What follows a convolution's sums: the pool, the bias, the rectifier.

Taking a maximum commutes with adding a bias and with the rectifier, exactly, in floating point too (nan aside): both
never turn a larger value into a smaller one.  So the maximum is taken first, and only what is left is rectified.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from overfeat_tools.backend import Array, Backend, Compiler, FloatArray
from overfeat_tools.convolution.geometry import FLOAT_BYTES
from overfeat_tools.convolution.kernels.epilogue import epilogue_kernel


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

    def run_compiled(self, sums: FloatArray, y: FloatArray, kernels: slice, compiler: Compiler) -> None:
        """Write what becomes of sums, pool included.

        Parameters
        ----------
        sums : array (H * pool_size or more, W * pool_size or more, k or more) float32
        y : array (H, W, k) float32
            In both the last axis is contiguous; k is a multiple of the vector's width.
        kernels : slice
            Which kernels these are.
        compiler : Compiler
        """
        strides = [stride // FLOAT_BYTES for array in (y, sums) for stride in array.strides[:2]]
        bias = self.bias.ctypes.data + FLOAT_BYTES * kernels.start
        epilogue_kernel(compiler, self.pool_size)(
            y.ctypes.data, sums.ctypes.data, bias, *strides, *y.shape, *self.rectifier_arguments
        )


def rectify(x: Array, threshold: float) -> None:
    """Clear what is not above the threshold, in place.

    Multiplying by the mask is 17 times as fast as assigning through it, where every other value
    is mispredicted.  It is done on the bits: 0 times them is +0.0 for every value, where a product
    of floats would leave -0.0 (which prints as `-0`) and nan behind.
    """
    bits = x.view(np.int32)
    bits *= x > threshold


def max_pool(x: FloatArray, size: int, backend: Backend) -> FloatArray:
    """Take the maximum of each window of `size` x `size`; windows don't overlap, and what is left over is dropped.

    Parameters
    ----------
    x : array (N, H, W, K) float32
    size : int
    backend : Backend

    Returns
    -------
    array (N, H // size, W // size, K) float32
    """
    pictures, height, width, kernels = x.shape
    y: FloatArray = backend.empty((pictures, height // size, width // size, kernels))
    covered = x[:, : y.shape[1] * size, : y.shape[2] * size]
    windows = covered.reshape(pictures, y.shape[1], size, y.shape[2], size, kernels)  # a view: two axes are split

    def pool(band: tuple[int, slice]) -> None:
        window_maximum(windows[band].transpose(1, 3, 0, 2, 4), y[band], backend)

    backend.parallel_for(pool, list(itertools.product(range(pictures), backend.chunks(y.shape[1]))))
    return y


def window_maximum(windows: Array, y: Array, backend: Backend) -> None:
    """Write into `y` (...) the maximum of `windows` (size, size, ...) over its first two axes."""
    first, *others = [values for row in windows for values in row]
    y[...] = first
    for values in others:
        backend.xp.maximum(y, values, out=y)
