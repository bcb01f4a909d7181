"""What follows a convolution's sums: the maximum of squares, the bias, the rectifier.

The maximum commutes with adding a bias and with the rectifier, exactly, in floating point too (nan aside): both
never turn a larger value into a smaller one.  So it is taken first, and only what is left is added to and rectified.
"""

from dataclasses import dataclass

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray, compiler_of
from overfeat_tools.convolution.geometry import FLOAT_BYTES
from overfeat_tools.convolution.kernels.epilogue import epilogue_kernel


def rectify(x: Array, threshold: float) -> None:
    """Clear what is not above the threshold, in place.

    Multiplying by the mask is 17 times as fast as assigning through it, where every other value
    is mispredicted.  It is done on the bits: 0 times them is +0.0 for every value, where a product
    of floats would leave -0.0 (which prints as `-0`) and nan behind.
    """
    bits = x.view(np.int32)
    bits *= x > threshold


@dataclass(frozen=True)
class Ending:
    """A layer's biases, and the rectifier's threshold if one follows.

    `bias` is (K,) float32, contiguous.
    """

    bias: FloatArray
    threshold: float | None
    backend: Backend

    def __call__(self, piece: Array, kernels: slice) -> None:
        """Add the bias to a piece (k, ...) of the output and rectify it, in place; `kernels` tells which it is of."""
        piece += self.bias[kernels].reshape(-1, *[1] * (piece.ndim - 1))
        if self.threshold is not None:
            rectify(piece, self.threshold)

    @property
    def clearing(self) -> tuple[float, int]:
        """The last arguments of a compiled ending: the threshold, and -1 for not clearing anything."""
        return (0.0, -1) if self.threshold is None else (self.threshold, 0)

    def pool(self, x: FloatArray, squares: int) -> FloatArray:
        """Give the maximum of each square of what was finished, (N, H, W, K): (N, H // squares, W // squares, K)."""
        pictures, height, width, kernels = x.shape
        y = self.backend.empty((pictures, height // squares, width // squares, kernels))
        nothing = Ending(np.zeros(kernels, np.float32), None, self.backend)
        parts = self.backend.pieces(y.shape[1])

        def pool_some(number: int) -> None:
            picture, rows = number // len(parts), parts[number % len(parts)]
            nothing.finish(x[picture, rows.start * squares :], y[picture, rows], slice(0, kernels), squares)

        self.backend.share(pool_some, pictures * len(parts))
        return y

    def finish(self, sums: FloatArray, y: FloatArray, kernels: slice, squares: int) -> None:
        """Write what becomes of sums with the kernels last.

        Parameters
        ----------
        sums : array (H * squares or more, W * squares or more, k or more) float32
        y : array (H, W, k) float32
            In both the kernels are contiguous.
        kernels : slice
            Which they are.
        squares : int
            Take the maximum of squares of so many a side.
        """
        (y_row, y_place), (row, place) = (
            [stride // FLOAT_BYTES for stride in array.strides[:2]] for array in (y, sums)
        )  # fmt: skip
        bias = self.bias.ctypes.data + FLOAT_BYTES * kernels.start
        epilogue_kernel(compiler_of(self.backend), squares)(
            y.ctypes.data, sums.ctypes.data, bias, y_row, y_place, row, place, *y.shape, *self.clearing
        )
