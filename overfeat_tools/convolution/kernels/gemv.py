"""A matrix times one to four vectors, read once from memory and nothing else: the classifier of a few pictures.

    out[row, column] = sum over t of matrix[row, t] * x[column, t]

A vector holds neighbouring terms.  Four rows are read side by side, so that several streams keep the memory busy, and
asked for a page ahead.
"""

from functools import partial

from overfeat_tools.backend import Compiled, Compiler
from overfeat_tools.convolution.kernels.routine import Routine, Value, compiled

ROWS = 4
"""Rows come in groups of so many."""

_AHEAD_FLOATS = 1024

# Terms added up before they are added to the rest: of 32 sums side by side each has 128.
_TERMS = 4096

_PARAMETERS = ("pointer", "pointer", "integer", "pointer", "integer", "integer")


def max_columns(compiler: Compiler) -> int:
    """Give the most columns whose sums fit in half the registers."""
    return compiler.registers // 2 // ROWS


def terms_multiple(compiler: Compiler) -> int:
    """Give what the number of terms must be a multiple of."""
    return 2 * compiler.lanes


def gemv_kernel(compiler: Compiler, columns: int) -> Compiled:
    """Give the product, compiled, for a number of columns.

    It takes `out` (rows, columns); the matrix, and the floats from one row of it to the next; `x` (columns, terms);
    the terms and the rows.
    """
    return compiled(compiler, f"gemv_{columns}", _PARAMETERS, partial(_write, columns=columns))


def _write(compiler: Compiler, module: Value, name: str, columns: int) -> None:
    routine = Routine(compiler, module, name, _PARAMETERS)
    code, at, integer = routine.code, routine.at, routine.integer
    out, matrix, stride, x, terms, rows = routine.arguments
    # Two sums of each, of the even and the odd vectors: else one would wait for the other.
    sums = [[routine.vector_variables(2) for _ in range(columns)] for _ in range(ROWS)]
    totals = [routine.vector_variables(columns) for _ in range(ROWS)]
    with routine.loop(integer(0), rows, ROWS) as first:
        routine.clear(total for row_totals in totals for total in row_totals)
        lines = [at(matrix, routine.times(routine.plus(first, row), stride)) for row in range(ROWS)]
        with routine.loop(integer(0), terms, _TERMS) as start:
            routine.clear(half for row_sums in sums for halves in row_sums for half in halves)
            end = routine.plus(start, _TERMS)
            stop = code.select(code.icmp_signed("<", end, terms), end, terms)
            with routine.loop(start, stop, 2 * routine.lanes) as term:
                for half in range(2):
                    here = routine.plus(term, half * routine.lanes)
                    values = [routine.load(at(x, routine.times(terms, column), here)) for column in range(columns)]
                    _add_products(routine, [at(line, here) for line in lines], values, half, sums)
            for row_sums, row_totals in zip(sums, totals, strict=True):
                for halves, total in zip(row_sums, row_totals, strict=True):
                    both = code.fadd(*[code.load(half) for half in halves])
                    code.store(code.fadd(code.load(total), both), total)
        for row, row_totals in enumerate(totals):
            for column, total in enumerate(row_totals):
                place = at(out, routine.times(routine.plus(first, row), columns), column)
                code.store(routine.total(code.load(total)), place)
    routine.end()


def _add_products(
    routine: Routine, places: list[Value], values: list[Value], half: int, sums: list[list[list[Value]]]
) -> None:
    """Write the addition of a vector of products to the sum of each row and column."""
    code = routine.code
    for place, row_sums in zip(places, sums, strict=True):
        routine.prefetch(routine.at(place, _AHEAD_FLOATS))
        weights = routine.load(place)
        for value, halves in zip(values, row_sums, strict=True):
            code.store(routine.multiply_add(weights, value, code.load(halves[half])), halves[half])
