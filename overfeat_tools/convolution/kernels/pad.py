"""Maps surrounded with zeros."""

from overfeat_tools.backend import Compiled, Compiler, FunctionBuilder, Value
from overfeat_tools.convolution.kernels.kernel import compiled

PAD = {
    "y": "pointer",            # the padded map, rows of `row_floats`
    "x": "pointer",            # the map, rows of `x_row_floats`
    "row_floats": "integer",
    "x_row_floats": "integer",
    "x_rows": "integer",
    "top": "integer",          # rows above the map
    "left": "integer",         # floats before each of its rows
    "row_start": "integer",    # the rows of `y` to write: start <= row < stop
    "row_stop": "integer",
}  # fmt: skip


def pad_kernel(compiler: Compiler) -> Compiled:
    """Return the kernel; its parameters are `PAD`'s."""
    return compiled(compiler, "pad", PAD, _write)


def _write(builder: FunctionBuilder) -> None:
    a, emit, offset, times, integer = (
        builder.arguments, builder.emit, builder.offset, builder.times, builder.integer
    )  # fmt: skip
    right = emit.add(a.left, a.x_row_floats)
    with builder.loop(a.row_start, a.row_stop) as row:
        y, x_row = offset(a.y, times(row, a.row_floats)), emit.sub(row, a.top)
        is_inside = emit.icmp_unsigned("<", x_row, a.x_rows)  # a negative one is large
        with emit.if_else(is_inside) as (inside, outside):
            with inside:
                _clear(builder, y, integer(0), a.left)
                x = offset(a.x, times(x_row, a.x_row_floats))
                _copy(builder, x, offset(y, a.left), a.x_row_floats)
                _clear(builder, y, right, a.row_floats)
            with outside:
                _clear(builder, y, integer(0), a.row_floats)


def _copy(builder: FunctionBuilder, x: Value, y: Value, count: Value) -> None:
    emit, offset = builder.emit, builder.offset
    whole = emit.and_(count, builder.integer(-builder.lanes))
    with builder.loop(builder.integer(0), whole, builder.lanes) as place:
        builder.store(builder.load(offset(x, place)), offset(y, place))
    with builder.loop(whole, count) as place:
        emit.store(emit.load(offset(x, place)), offset(y, place))


def _clear(builder: FunctionBuilder, y: Value, start: Value, stop: Value) -> None:
    with builder.loop(start, stop) as place:
        builder.emit.store(builder.ir.Constant(builder.float_type, 0.0), builder.offset(y, place))
