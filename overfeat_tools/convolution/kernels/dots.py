"""A matrix times a vector, read once from memory and nothing else: the classifier of a single picture.

    out[row] = sum over t of matrix[row, t] * x[t]

Four rows are read side by side, so that several streams keep the memory busy, and asked for a page ahead.
"""

from overfeat_tools.backend import Compiled, Compiler
from overfeat_tools.convolution.kernels.routine import Routine, Value, compiled

ROWS = 4
"""Rows come in groups of so many."""

_SUMS = 2
_AHEAD_FLOATS = 1024

_PARAMETERS = ("pointer", "pointer", "integer", "pointer", "integer", "integer")


def step(compiler: Compiler) -> int:
    """Give what the number of terms must be a multiple of."""
    return _SUMS * compiler.lanes


def dotter(compiler: Compiler) -> Compiled:
    """Give the product, compiled.

    It takes `out`; the matrix, and the floats from one row of it to the next; `x`; the terms and the rows.
    """
    return compiled(compiler, "dots", _PARAMETERS, _write)


def _write(compiler: Compiler, module: Value, name: str) -> None:
    routine = Routine(compiler, module, name, _PARAMETERS)
    code, at, integer = routine.code, routine.at, routine.integer
    out, matrix, stride, x, terms, rows = routine.arguments
    sums = [routine.vector_variables(_SUMS) for _ in range(ROWS)]
    with routine.loop(integer(0), rows, ROWS) as first:
        for total in (total for row_sums in sums for total in row_sums):
            code.store(routine.zero, total)
        lines = [at(matrix, routine.times(routine.plus(first, row), stride)) for row in range(ROWS)]
        with routine.loop(integer(0), terms, _SUMS * routine.lanes) as term:
            for number in range(_SUMS):
                values = routine.load(at(x, term, number * routine.lanes))
                for line, row_sums in zip(lines, sums, strict=True):
                    place, total = at(line, term, number * routine.lanes), row_sums[number]
                    routine.prefetch(at(place, _AHEAD_FLOATS))
                    code.store(routine.multiply_add(routine.load(place), values, code.load(total)), total)
        for row, row_sums in enumerate(sums):
            halves = [code.load(total) for total in row_sums]
            code.store(routine.total(code.fadd(*halves)), at(out, first, row))
    routine.end()
