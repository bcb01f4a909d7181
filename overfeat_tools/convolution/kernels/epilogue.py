"""What is left to do to a convolution's sums: the maximum of squares, the bias, the rectifier."""

from functools import partial

from overfeat_tools.backend import Compiled, Compiler
from overfeat_tools.convolution.kernels.routine import Routine, Value, compiled

_PARAMETERS = (*["pointer"] * 3, *["integer"] * 7, "float", "integer")


def epilogue_kernel(compiler: Compiler, squares: int) -> Compiled:
    """Give the function that finishes a map, compiled.

    It takes the map `y` to write, (H, W, K); the sums, (H * squares, W * squares, K) or more; K biases; the floats
    from one row of `y` to the next and from one place to the next; the same of the sums; H, W, K, which is
    done in whole vectors; the threshold up to which outputs are cleared, and -1 for not
    clearing them, else 0.  `y` may be the sums themselves where there are no squares.
    """
    return compiled(compiler, f"finish_{squares}", _PARAMETERS, partial(_write, squares=squares))


def _write(compiler: Compiler, module: Value, name: str, squares: int) -> None:
    routine = Routine(compiler, module, name, _PARAMETERS)
    integer, at, times = routine.integer, routine.at, routine.times
    y, sums, biases, row_floats, place_floats, sums_row_floats, sums_place_floats, *rest = routine.arguments
    height, width, kernels, threshold, otherwise = rest
    ending = routine.ending(biases, threshold, otherwise)
    with routine.loop(integer(0), height) as row, routine.loop(integer(0), width) as column:
        target = at(y, times(row, row_floats), times(column, place_floats))
        first = at(sums, times(times(row, sums_row_floats), squares), times(times(column, sums_place_floats), squares))
        square = [
            at(first, times(sums_row_floats, i), times(sums_place_floats, j))
            for i in range(squares)
            for j in range(squares)
        ]
        with routine.loop(integer(0), kernels, routine.lanes) as kernel:
            most = routine.maximum(routine.load(at(place, kernel)) for place in square)
            routine.store(ending(most, kernel), at(target, kernel))
    routine.end()
