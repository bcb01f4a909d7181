"""Values found through two tables, side by side: the patches of a few positions, as columns or in panels.

    out[t * term_step + column * column_step] = x[columns[column] + terms[t]]

What stands between the last column and `width` is set to zero.
"""

from overfeat_tools.backend import Compiled, Compiler, FunctionBuilder
from overfeat_tools.convolution.kernels.kernel import compiled

GATHER = {
    "out": "pointer",
    "term_step": "integer",
    "column_step": "integer",
    "width": "integer",
    "x": "pointer",
    "columns": "table",
    "column_count": "integer",
    "terms": "table",
    "term_start": "integer",  # the terms to copy: start <= t < stop
    "term_stop": "integer",
}  # fmt: skip


def gather_kernel(compiler: Compiler) -> Compiled:
    """Return the kernel; its parameters are `GATHER`'s."""
    return compiled(compiler, "gather", GATHER, _write)


def _write(builder: FunctionBuilder) -> None:
    a, emit, offset, times = builder.arguments, builder.emit, builder.offset, builder.times
    zero = builder.ir.Constant(builder.float_type, 0.0)
    with builder.loop(a.term_start, a.term_stop) as term:
        x, out = offset(a.x, emit.load(offset(a.terms, term))), offset(a.out, times(term, a.term_step))
        with builder.loop(builder.integer(0), a.column_count) as column:
            value = emit.load(offset(x, emit.load(offset(a.columns, column))))
            emit.store(value, offset(out, times(column, a.column_step)))
        with builder.loop(a.column_count, a.width) as column:
            emit.store(zero, offset(out, times(column, a.column_step)))
