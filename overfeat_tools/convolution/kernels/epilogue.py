"""The end of a convolution, for sums that another kernel has stored: max pooling, bias and rectifier.

One kernel is for sums with the channels last, the other for those of a product whose rows are channels.
"""

from collections.abc import Callable
from functools import partial

from overfeat_tools.backend import Compiled, Compiler, FunctionBuilder, Value
from overfeat_tools.convolution.kernels.kernel import compiled

EPILOGUE = {
    "y": "pointer",                   # the output (H, W, K); may be `sums` itself where nothing is pooled
    "sums": "pointer",                # (H * pool_size, W * pool_size, K) or more
    "bias": "pointer",                # (K,)
    "y_row_stride": "integer",        # floats from one row of `y` to the next,
    "y_column_stride": "integer",     # and from one pixel to the next
    "sums_row_stride": "integer",     # the same of `sums`
    "sums_column_stride": "integer",
    "height": "integer",              # H, W, K: any number of channels
    "width": "integer",
    "channels": "integer",
    "threshold": "float",             # values that are not above it are cleared,
    "keep_mask": "integer",           # unless this is -1, not 0
}  # fmt: skip

TRANSPOSED = {
    "y": "pointer",            # the output (positions, K or more)
    "sums": "pointer",         # (K, positions or more)
    "bias": "pointer",         # (K,)
    "y_stride": "integer",     # floats from one position of `y` to the next,
    "sums_stride": "integer",  # and from one channel of `sums` to the next
    "positions": "integer",
    "channels": "integer",     # K: any number
    "threshold": "float",      # as above
    "keep_mask": "integer",
}  # fmt: skip


def epilogue_kernel(compiler: Compiler, pool_size: int) -> Compiled:
    """Return the kernel for windows of `pool_size` x `pool_size`; its parameters are `EPILOGUE`'s."""
    return compiled(compiler, f"epilogue_{pool_size}", EPILOGUE, partial(_write, pool_size=pool_size))


def _write(builder: FunctionBuilder, pool_size: int) -> None:
    a, emit, integer, offset, times = (
        builder.arguments, builder.emit, builder.integer, builder.offset, builder.times
    )  # fmt: skip
    epilogue, rectify = builder.epilogue(a.bias, a.threshold, a.keep_mask), _rectifier(builder)
    whole = emit.and_(a.channels, integer(-builder.lanes))
    with builder.loop(integer(0), a.height) as row, builder.loop(integer(0), a.width) as column:
        target = offset(a.y, times(row, a.y_row_stride), times(column, a.y_column_stride))
        first_row = times(times(row, a.sums_row_stride), pool_size)
        first = offset(a.sums, first_row, times(times(column, a.sums_column_stride), pool_size))
        window = [
            offset(first, times(a.sums_row_stride, i), times(a.sums_column_stride, j))
            for i in range(pool_size)
            for j in range(pool_size)
        ]
        with builder.loop(integer(0), whole, builder.lanes) as channel:
            largest = builder.maximum(builder.load(offset(pixel, channel)) for pixel in window)
            builder.store(epilogue(largest, channel), offset(target, channel))
        with builder.loop(whole, a.channels) as channel:
            largest = builder.maximum(emit.load(offset(pixel, channel)) for pixel in window)
            emit.store(rectify(largest, channel), offset(target, channel))


def _rectifier(builder: FunctionBuilder) -> Callable[[Value, Value], Value]:
    """Return what `FunctionBuilder.epilogue` does, for a single sum."""
    a, emit = builder.arguments, builder.emit
    zero = builder.ir.Constant(builder.float_type, 0.0)
    keeps_all = emit.icmp_signed("!=", a.keep_mask, builder.integer(0))

    def apply(total: Value, channel: Value) -> Value:
        total = emit.fadd(total, emit.load(builder.offset(a.bias, channel)))
        is_kept = emit.or_(emit.fcmp_ordered(">", total, a.threshold), keeps_all)
        return emit.select(is_kept, total, zero)

    return apply


def transposed_epilogue_kernel(compiler: Compiler) -> Compiled:
    """Return the kernel for sums whose rows are channels; its parameters are `TRANSPOSED`'s."""
    return compiled(compiler, "transposed_epilogue", TRANSPOSED, _write_transposed)


def _write_transposed(builder: FunctionBuilder) -> None:
    a, emit, offset, times = builder.arguments, builder.emit, builder.offset, builder.times
    rectify = _rectifier(builder)
    with builder.loop(builder.integer(0), a.positions) as position:
        y, sums = offset(a.y, times(position, a.y_stride)), offset(a.sums, position)
        with builder.loop(builder.integer(0), a.channels) as channel:
            total = emit.load(offset(sums, times(channel, a.sums_stride)))
            emit.store(rectify(total, channel), offset(y, channel))
