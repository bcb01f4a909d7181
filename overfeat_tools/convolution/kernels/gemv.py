"""A matrix times one to four columns, bound by reading the matrix from memory: the classifier of a few pictures.

    out[row, column] = sum over t of matrix[row, t] * x[column, t]

A vector holds neighbouring terms.  Four rows are read side by side, which keeps several streams of the memory busy,
and each is prefetched a page ahead.
"""

from functools import partial

from overfeat_tools.backend import Compiled, Compiler, FunctionBuilder, Value
from overfeat_tools.convolution.kernels.kernel import LINE_FLOATS, compiled

ROWS = 4
"""Rows read side by side; the number of rows must be a multiple of it."""

_PREFETCH_FLOATS = 1024

# Each lane adds up so many terms before the sum is added to others, for accuracy.
_TERMS_OF_LANE = 128

GEMV = {
    "out": "pointer",         # (rows, columns)
    "matrix": "pointer",      # (rows, terms)
    "row_stride": "integer",  # floats from one row of the matrix to the next
    "x": "pointer",           # (columns, terms)
    "terms": "integer",       # a multiple of `terms_multiple`
    "rows": "integer",        # a multiple of `ROWS`
}  # fmt: skip


def max_columns(compiler: Compiler) -> int:
    """Return the largest number of columns whose sums fit into half the registers."""
    return compiler.registers // 2 // ROWS


def terms_multiple(compiler: Compiler) -> int:
    """Return what the number of terms must be a multiple of: two vectors."""
    return 2 * compiler.lanes


def gemv_kernel(compiler: Compiler, columns: int) -> Compiled:
    """Return the kernel for a number of columns; its parameters are `GEMV`'s."""
    return compiled(compiler, f"gemv_{columns}", GEMV, partial(_write, columns=columns))


def _write(builder: FunctionBuilder, columns: int) -> None:
    a, emit, offset, integer = builder.arguments, builder.emit, builder.offset, builder.integer
    # Even and odd vectors have sums of their own: with one sum, each addition would wait for the last.
    sums = [[builder.vector_variables(2) for _ in range(columns)] for _ in range(ROWS)]
    totals = [builder.vector_variables(columns) for _ in range(ROWS)]
    partial_terms = _TERMS_OF_LANE * terms_multiple(builder.compiler)
    with builder.loop(integer(0), a.rows, ROWS) as first:
        builder.clear(total for row_totals in totals for total in row_totals)
        rows = [offset(a.matrix, builder.times(builder.plus(first, row), a.row_stride)) for row in range(ROWS)]
        with builder.loop(integer(0), a.terms, partial_terms) as start:
            builder.clear(half for row_sums in sums for halves in row_sums for half in halves)
            end = builder.plus(start, partial_terms)
            stop = emit.select(emit.icmp_signed("<", end, a.terms), end, a.terms)
            with builder.loop(start, stop, terms_multiple(builder.compiler)) as term:
                for half in range(2):
                    position = builder.plus(term, half * builder.lanes)
                    x = [builder.load(offset(a.x, builder.times(a.terms, i), position)) for i in range(columns)]
                    _add_products(builder, [offset(row, position) for row in rows], x, half, sums)
            for row_sums, row_totals in zip(sums, totals, strict=True):
                for halves, total in zip(row_sums, row_totals, strict=True):
                    both = emit.fadd(*[emit.load(half) for half in halves])
                    emit.store(emit.fadd(emit.load(total), both), total)
        for row, row_totals in enumerate(totals):
            for column, total in enumerate(row_totals):
                target = offset(a.out, builder.times(builder.plus(first, row), columns), column)
                emit.store(builder.horizontal_sum(emit.load(total)), target)


def _add_products(
    builder: FunctionBuilder, rows: list[Value], x: list[Value], half: int, sums: list[list[list[Value]]]
) -> None:
    """Add the products of a vector of each row and one of each column to their sums."""
    emit = builder.emit
    for row, row_sums in zip(rows, sums, strict=True):
        if half * builder.lanes % LINE_FLOATS == 0:
            builder.prefetch(builder.offset(row, _PREFETCH_FLOATS))
        weights = builder.load(row)
        for value, halves in zip(x, row_sums, strict=True):
            emit.store(builder.multiply_add(weights, value, emit.load(halves[half])), halves[half])
