"""The end of a convolution, for sums that another kernel has stored: max pooling, bias and rectifier."""

from functools import partial

from overfeat_tools.backend import Compiled, Compiler
from overfeat_tools.convolution.kernels.builder import FunctionBuilder, compiled

EPILOGUE = {
    "y": "pointer",                   # the output (H, W, K); may be `sums` itself where nothing is pooled
    "sums": "pointer",                # (H * pool_size, W * pool_size, K) or more
    "bias": "pointer",                # (K,)
    "y_row_stride": "integer",        # floats from one row of `y` to the next,
    "y_column_stride": "integer",     # and from one pixel to the next
    "sums_row_stride": "integer",     # the same of `sums`
    "sums_column_stride": "integer",
    "height": "integer",              # H, W, K; whole vectors of the channels are written
    "width": "integer",
    "channels": "integer",
    "threshold": "float",             # values that are not above it are cleared,
    "keep_mask": "integer",           # unless this is -1, not 0
}  # fmt: skip


def epilogue_kernel(compiler: Compiler, pool_size: int) -> Compiled:
    """Return the kernel for windows of `pool_size` x `pool_size`; its parameters are `EPILOGUE`'s."""
    return compiled(compiler, f"epilogue_{pool_size}", EPILOGUE, partial(_write, pool_size=pool_size))


def _write(builder: FunctionBuilder, pool_size: int) -> None:
    a, integer, offset, times = builder.arguments, builder.integer, builder.offset, builder.times
    epilogue = builder.epilogue(a.bias, a.threshold, a.keep_mask)
    with builder.loop(integer(0), a.height) as row, builder.loop(integer(0), a.width) as column:
        target = offset(a.y, times(row, a.y_row_stride), times(column, a.y_column_stride))
        first_row = times(times(row, a.sums_row_stride), pool_size)
        first = offset(a.sums, first_row, times(times(column, a.sums_column_stride), pool_size))
        window = [
            offset(first, times(a.sums_row_stride, i), times(a.sums_column_stride, j))
            for i in range(pool_size)
            for j in range(pool_size)
        ]
        with builder.loop(integer(0), a.channels, builder.lanes) as channel:
            largest = builder.maximum(builder.load(offset(pixel, channel)) for pixel in window)
            builder.store(epilogue(largest, channel), offset(target, channel))
