"""Convolution as one matrix product a row of outputs: unfold along the rows only.

    unfolded[row, j, c, col, n] = x[c, row, stride * col + j, n]

holds each input row kw times, side by side.  The patches of a whole row of outputs are then kh
input rows that follow each other in memory, a matrix as they lie:

    y[:, row] (K, out_width*N) = weight (K, kh*kw*C) @ unfolded[stride*row : stride*row + kh].

That copies kw values for each input instead of kh*kw for each output: for the first layers, whose
few channels make the product small, a third of the time of `gemm.py`.  The weights must be put in
the order (kh, kw, C) first, so it suits small kernels.

Source: the unfolding is that of Cho & Brand, arXiv:1706.06873.
"""

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Finish, Geometry, inside
from overfeat_tools.convolution.pooling import maximum_of_squares

# Unfolded rows that a thread holds at a time.
_UNFOLDED_BYTES = 4 << 20


def prepare(weight: FloatArray, geometry: Geometry, backend: Backend) -> Array:
    """Put kernels (K, C, kh, kw) in the order that rows are unfolded in: (K, kh*kw*C)."""
    ordered: Array = backend.xp.ascontiguousarray(weight.transpose(0, 2, 3, 1))
    return ordered.reshape(geometry.kernels, geometry.taps)


def convolve(
    x: FloatArray,
    kernels: Array,
    y: FloatArray,
    geometry: Geometry,
    backend: Backend,
    finish: Finish,
    squares: int = 1,
) -> None:
    """Write the convolution of `x` into `y`.

    Parameters
    ----------
    x : array (C, H, W, N) float32, contiguous
    kernels : array (K, kh*kw*C) float32
        From `prepare`.
    y : array (K, out_height // squares, out_width // squares, N) float32, contiguous
        The output.
    geometry, backend
        The sizes, and where to compute.
    finish : callable
        Called as `finish(piece, kernels)` with each piece of `y` while it is in the cache.
    squares : int
        Take the maximum of squares of so many outputs a side.
    """
    row = geometry.out_width * x.shape[-1]
    step = -(-_rows_at_once(geometry, row, backend) // squares) * squares
    out_height = y.shape[1] * squares
    shape = (geometry.kernels, geometry.out_width, x.shape[-1])

    def some_rows(number: int) -> None:
        top = number * step
        bottom = min(top + step, out_height)
        piece = y[:, top // squares : bottom // squares]
        whole = piece
        if squares > 1:
            # Rows outermost: a product is quicker if what it writes lies in one piece.
            whole = backend.thread_scratch("rows", (bottom - top, *shape), np.float32).transpose(1, 0, 2, 3)
        unfolded = _unfold(x, geometry, top, bottom, backend)
        for out_row in range(bottom - top):
            first = out_row * geometry.stride
            patches = unfolded[first : first + geometry.kernel_height].reshape(geometry.taps, row)
            backend.xp.matmul(kernels, patches, out=whole[:, out_row].reshape(geometry.kernels, row))
        if squares > 1:
            maximum_of_squares(whole, squares, piece, backend)
        finish(piece, slice(None))

    backend.share(some_rows, -(-out_height // step))


def _rows_at_once(geometry: Geometry, row: int, backend: Backend) -> int:
    """Give output rows a piece of work: as many as fit, and enough pieces for all threads."""
    input_row_bytes = geometry.kernel_width * geometry.channels * row * FLOAT_BYTES
    fit = (backend.at_once(_UNFOLDED_BYTES) // input_row_bytes - geometry.kernel_height) // geometry.stride + 1
    return max(1, min(fit, -(-geometry.out_height // (2 * backend.threads))))


def _unfold(x: FloatArray, geometry: Geometry, top: int, bottom: int, backend: Backend) -> Array:
    """Unfold the input rows below output rows `top` to `bottom`: (rows, kw, C, out_width, N)."""
    stride, padding = geometry.stride, geometry.padding
    count = (bottom - top - 1) * stride + geometry.kernel_height
    shape = (count, geometry.kernel_width, geometry.channels, geometry.out_width, x.shape[-1])
    unfolded = backend.thread_scratch("unfolded", shape, np.float32)
    first_row, rows = inside(top * stride - padding, 1, count, geometry.height)
    if rows != slice(0, count):
        unfolded[...] = 0.0  # the part in the padding
    source = x[:, first_row : first_row + rows.stop - rows.start].transpose(1, 0, 2, 3)
    for j in range(geometry.kernel_width):
        first, columns = inside(j - padding, stride, geometry.out_width, geometry.width)
        if columns != slice(0, geometry.out_width):
            unfolded[:, j] = 0.0
        last = first + stride * (columns.stop - columns.start)
        unfolded[rows, j, :, columns] = source[:, :, first:last:stride]
    return unfolded
