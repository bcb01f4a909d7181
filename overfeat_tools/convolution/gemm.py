"""Convolution as one matrix product: unfold the patches, multiply by the kernels.

For a stretch of output rows the patches are copied side by side,

    columns[c, i, j, row, col, n] = x[c, stride * row + i, stride * col + j, n],

and `weight (K, C*kh*kw) @ columns (C*kh*kw, rows*out_width*N)` is the output, already in its
place.  The weights are used as they lie in the mapped file.  Cost: the multiply-adds of the
direct convolution; it needs no preparation and serves every kernel size and stride.  `rows.py` is its
brother for small kernels.
"""

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray, compiler_of
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Finish, Geometry, inside
from overfeat_tools.convolution.kernels import gemv
from overfeat_tools.convolution.panels import Products, panelled, runs
from overfeat_tools.convolution.product import multiply, row_blocks

# Unfolded patches held at a time: enough columns for the product to run at full speed (1,000 or
# more), yet few enough to stay in the last-level cache of most machines.
_COLUMNS_BYTES = 16 << 20

# Products added up at a time, see `product.py`; more in a product of one column, which is bound by reading the
# kernels in long stretches, and adds up in short sums by itself.
_TERMS = 512
_TERMS_OF_ONE_COLUMN = 2048


def workspace_bytes(geometry: Geometry, pictures: int) -> int:
    """Bytes of unfolded patches held at once."""
    if needs_no_unfolding(geometry):
        return 0
    row_bytes = geometry.taps * geometry.out_width * pictures * FLOAT_BYTES
    return row_bytes * _rows_at_once(geometry, pictures)


def convolve(
    x: FloatArray,
    weight: FloatArray,
    y: FloatArray,
    geometry: Geometry,
    backend: Backend,
    finish: Finish,
) -> None:
    """Write the convolution of `x` into `y`.

    Parameters
    ----------
    x : array (C, H, W, N) float32, contiguous
    weight : array (K, C, kh, kw) float32
    y : array (K, out_height, out_width, N) float32, contiguous
        The output.
    geometry : Geometry
        The sizes of all these.
    backend : Backend
        Where to compute.
    finish : callable
        Called as `finish(piece, kernels)` with each piece of `y` just written and the slice of
        kernels that it belongs to, while it is still in the cache.
    """
    pictures = x.shape[-1]
    kernels = weight.reshape(geometry.kernels, geometry.taps)
    places = y.reshape(geometry.kernels, geometry.out_pixels * pictures)
    row = geometry.out_width * pictures
    rows_at_once = _rows_at_once(geometry, pictures, backend.at_once(_COLUMNS_BYTES))
    for top in range(0, geometry.out_height, rows_at_once):
        bottom = min(top + rows_at_once, geometry.out_height)
        columns = _unfold(x, geometry, top, bottom, backend)
        _multiply(kernels, columns, places[:, top * row : bottom * row], backend, finish)


def _multiply(kernels: Array, columns: Array, out: FloatArray, backend: Backend, finish: Finish) -> None:
    """Write `kernels` (K, taps) @ `columns` (taps, columns) into `out`, and finish it."""
    compiler = backend.compiler
    if compiler and compiler.loaded and kernels.strides[1] == FLOAT_BYTES:
        whole = len(kernels) % gemv.ROWS == kernels.shape[1] % gemv.terms_multiple(compiler) == 0
        if whole and columns.shape[1] <= gemv.max_columns(compiler):
            _multiply_few(kernels, columns, out, backend, finish)
            return
        if columns.shape[1] > 1:
            _multiply_compiled(kernels, columns, out, backend, finish)
            return
    blocks = row_blocks(len(kernels), columns.shape[1], backend)
    terms = backend.at_once(_TERMS_OF_ONE_COLUMN if columns.shape[1] == 1 else _TERMS)

    def multiply_some(number: int) -> None:
        some = blocks[number]
        multiply(kernels[some], columns, out[some], terms, backend)
        finish(out[some], some)

    backend.share(multiply_some, len(blocks))


def _multiply_compiled(kernels: Array, columns: Array, out: FloatArray, backend: Backend, finish: Finish) -> None:
    """Do so with the compiled product, to which the kernels are the columns and the patches the panels.

    It reads the kernels as they lie in the file, and is some times as fast as BLAS where there are few columns.
    """
    panels = panelled(columns, backend)
    count, taps, width = panels.shape
    what = runs((0,), taps)
    blocks = backend.pieces(len(kernels))
    whole = out.shape[1] == count * width

    def multiply_some(number: int) -> None:
        some = blocks[number]
        rows = some.stop - some.start
        places = np.arange(rows, dtype=np.int64) * (kernels.strides[0] // FLOAT_BYTES)
        target = out[some] if whole else backend.thread_scratch("products", (rows, count * width), np.float32)
        Products(kernels[some][None], places, what, panels[None], target[None]).compute(slice(0, count), backend)
        if not whole:
            out[some] = target[:, : out.shape[1]]
        finish(out[some], some)

    backend.share(multiply_some, len(blocks))


def _multiply_few(kernels: Array, columns: Array, out: FloatArray, backend: Backend, finish: Finish) -> None:
    """Do so with a few columns, as fast as the kernels can be read from memory."""
    count = columns.shape[1]
    multiply_some = gemv.gemv_kernel(compiler_of(backend), count)
    x, y = np.ascontiguousarray(columns.T), np.empty((len(kernels), count), np.float32)
    blocks = backend.pieces(len(kernels) // gemv.ROWS)

    def multiply_rows(number: int) -> None:
        some = slice(blocks[number].start * gemv.ROWS, blocks[number].stop * gemv.ROWS)
        rows, target = kernels[some], y[some]
        stride = kernels.strides[0] // FLOAT_BYTES
        multiply_some(target.ctypes.data, rows.ctypes.data, stride, x.ctypes.data, rows.shape[1], len(rows))
        out[some] = target
        finish(out[some], some)

    backend.share(multiply_rows, len(blocks))


def _rows_at_once(geometry: Geometry, pictures: int, columns_bytes: int = _COLUMNS_BYTES) -> int:
    row_bytes = geometry.taps * geometry.out_width * pictures * FLOAT_BYTES
    return max(1, min(geometry.out_height, columns_bytes // max(row_bytes, 1)))


def needs_no_unfolding(geometry: Geometry) -> bool:
    """Tell whether the input's own layout is the unfolded one: 1x1 kernels, or one place only."""
    if geometry.padding:
        return False
    pointwise = geometry.kernel_height == geometry.kernel_width == geometry.stride == 1
    whole = (geometry.kernel_height, geometry.kernel_width) == (geometry.height, geometry.width)
    return pointwise or whole


def _unfold(x: FloatArray, geometry: Geometry, top: int, bottom: int, backend: Backend) -> Array:
    """Copy the patches of output rows `top` to `bottom` side by side: (C*kh*kw, columns)."""
    pictures = x.shape[-1]
    if needs_no_unfolding(geometry):
        flat = x.reshape(geometry.taps, -1)
        return flat[:, top * geometry.out_width * pictures : bottom * geometry.out_width * pictures]
    stride, padding = geometry.stride, geometry.padding
    shape = (geometry.kernel_height, geometry.kernel_width, bottom - top, geometry.out_width)
    columns = backend.scratch("patches", (geometry.channels, *shape, pictures), "float32")
    if backend.batched and not padding:
        # One copy in place of one for each place of the kernel.
        step = stride * x.strides[1], stride * x.strides[2]
        strides = (*x.strides[:3], *step, x.strides[3])
        columns[...] = backend.xp.lib.stride_tricks.as_strided(x[:, top * stride :], columns.shape, strides)
        whole: Array = columns.reshape(geometry.taps, -1)
        return whole

    def unfold_channels(share: int) -> None:
        some = shares[share]
        target, source = columns[some], x[some]
        for i in range(geometry.kernel_height):
            first_row, rows = inside(i - padding + top * stride, stride, bottom - top, geometry.height)
            for j in range(geometry.kernel_width):
                first_col, cols = inside(j - padding, stride, geometry.out_width, geometry.width)
                patch = target[:, i, j]
                if (rows.stop - rows.start, cols.stop - cols.start) != shape[2:]:
                    patch[...] = 0.0  # the part in the padding
                patch[:, rows, cols] = source[
                    :,
                    first_row : first_row + stride * (rows.stop - rows.start) : stride,
                    first_col : first_col + stride * (cols.stop - cols.start) : stride,
                ]

    shares = backend.pieces(geometry.channels)
    backend.share(unfold_channels, len(shares))
    unfolded: Array = columns.reshape(geometry.taps, -1)
    return unfolded
