"""Tiles into spectra and spectra into outputs, for a basis given by its matrices (`cooktoom.py`).

Both transforms are separable: a matrix for the columns of a tile, then the same for its rows,

    spectrum = A tile A',        outputs = B spectrum B',

written out as multiplications by constants; where a tile is no square, another A and B act on its rows.  What a
vector holds is neighbouring channels of one place, so nothing is moved between lanes, and each float of a tile is
loaded and each of a spectrum stored once.

Rows of A for points p and -p differ in the signs of their odd columns only, and so do columns of B.
Their even and odd parts are computed once for both, which saves half of the work.

Tiles are numbered through all pictures, row by row.  What a tile reads outside the map is zero: its
pointers stand on a row of zeros there.  What it writes outside the output goes to a row nobody reads.
Nothing branches, and no map is copied to surround it with zeros.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend import Compiled, Compiler
from overfeat_tools.convolution.kernels.routine import Routine, Value, compiled

Matrix = npt.NDArray[np.float64]

Matrices = tuple[Matrix, Matrix]
"""What acts on the columns of a tile, and what on its rows."""

EVALUATE = (*["pointer"] * 3, *["integer"] * 15)
INTERPOLATE = (*["pointer"] * 4, *["integer"] * 13, "float", "integer")

# Entries of matrices that are no more than the rounding of their derivation.
_NOTHING = 1e-12


def forward_kernel(compiler: Compiler, matrices: Matrices) -> Compiled:
    """Give the function that turns tiles into spectra, compiled.

    It takes `spectra` (elements, tiles, C); the map `x` (N, H, W, C); C zeros; the floats from one element to the
    next and from one tile to the next; H, W, C; the steps from a tile to the one below and to the one beside it; the
    padding; the tiles in a row and in a column of a map; the number of the first tile in `spectra`; the tiles to do
    (first, last); the channels to do (first, last), in whole vectors.

    Parameters
    ----------
    compiler : Compiler
    matrices : two arrays (n, n)
        A.
    """
    write = partial(_write_evaluator, matrices=matrices)
    sizes = "_".join(str(len(matrix)) for matrix in matrices)
    return compiled(compiler, f"evaluate_{sizes}", EVALUATE, write, _bytes(matrices))


def inverse_kernel(compiler: Compiler, matrices: Matrices, squares: int) -> Compiled:
    """Give the function that turns spectra into outputs, compiled.

    It takes the output `y` (N, H, W, K), where `squares` have been taken; `spectra` (elements, tiles, kernels); K
    biases; room for K floats that nobody reads; the floats from one element to the next and from one tile to
    the next; H, W, K; the floats from the first numbers of pairs to the second ones (`fourier.py`); the
    tiles in a row and in a column of a map; the number of the first tile in `spectra`; the tiles to do
    (first, last); the kernels to do (first, last), in whole vectors; the threshold up to which outputs
    are cleared, and -1 for not clearing them, else 0.

    Parameters
    ----------
    compiler : Compiler
    matrices : two arrays (m, n)
        B.
    squares : int
        Take the maximum of squares of so many outputs a side; m must be a multiple.
    """
    write = partial(_write_interpolator, matrices=matrices, squares=squares)
    sizes = "_".join(f"{size}_{outputs}" for outputs, size in (matrix.shape for matrix in matrices))
    return compiled(compiler, f"interpolate_{sizes}_{squares}", INTERPOLATE, write, _bytes(matrices))


def _bytes(matrices: Matrices) -> bytes:
    return b"".join(matrix.tobytes() for matrix in matrices)


def _write_evaluator(compiler: Compiler, module: Value, name: str, matrices: Matrices) -> None:
    down, right = matrices
    rows_of_tile, columns_of_tile = len(down), len(right)
    routine = Routine(compiler, module, name, EVALUATE)
    code, at, times = routine.code, routine.at, routine.times
    spectra, x, zeros, stride, tile_stride, height, width, channels, *rest = routine.arguments
    *steps, padding, columns, rows, origin, first, last, first_channel, last_channel = rest
    with routine.loop(first, last) as tile:
        picture, row, column = locate(routine, tile, rows, columns)
        source = Targets(x, picture, (height, width), channels, zeros)
        top, left = (code.sub(times(*place), padding) for place in zip((row, column), steps, strict=True))
        pointers = places(routine, source, (top, left), (rows_of_tile, columns_of_tile))
        target = at(spectra, times(code.sub(tile, origin), tile_stride))
        with routine.loop(first_channel, last_channel, routine.lanes) as channel:
            here = [[routine.load(at(pointer, channel)) for pointer in line] for line in pointers]
            by_column = [_apply(routine, down, [line[j] for line in here]) for j in range(columns_of_tile)]
            for i in range(rows_of_tile):
                for j, vector in enumerate(_apply(routine, right, [column[i] for column in by_column])):
                    routine.store(vector, at(target, times(stride, i * columns_of_tile + j), channel))
    routine.end()


def _write_interpolator(compiler: Compiler, module: Value, name: str, matrices: Matrices, squares: int) -> None:
    down, right = matrices
    (out_rows, height_of_tile), (out_columns, width_of_tile) = down.shape, right.shape
    routine = Routine(compiler, module, name, INTERPOLATE)
    code, at, times = routine.code, routine.at, routine.times
    y, spectra, biases, nowhere, stride, tile_stride, height, width, kernels, *rest = routine.arguments
    _, columns, rows, origin, first, last, first_kernel, last_kernel, threshold, otherwise = rest
    ending = routine.ending(biases, threshold, otherwise)
    sides = out_rows // squares, out_columns // squares
    with routine.loop(first, last) as tile:
        picture, row, column = locate(routine, tile, rows, columns)
        target = Targets(y, picture, (height, width), kernels, nowhere)
        pointers = places(routine, target, (times(row, sides[0]), times(column, sides[1])), sides)
        source = at(spectra, times(code.sub(tile, origin), tile_stride))
        with routine.loop(first_kernel, last_kernel, routine.lanes) as kernel:
            here = [
                [routine.load(at(source, times(stride, i * width_of_tile + j), kernel)) for j in range(width_of_tile)]
                for i in range(height_of_tile)
            ]
            by_column = [_apply(routine, down, [line[j] for line in here]) for j in range(width_of_tile)]
            lines = [_apply(routine, right, [column[i] for column in by_column]) for i in range(out_rows)]
            for i in range(sides[0]):
                for j in range(sides[1]):
                    most = square_maximum(routine, lines[i * squares : (i + 1) * squares], j, squares)
                    routine.store(ending(most, kernel), at(pointers[i][j], kernel))
    routine.end()


@dataclass(frozen=True)
class Targets:
    """A picture's map (height, width, channels) among those at `maps`, and what stands for places outside it."""

    maps: Value
    picture: Value
    size: tuple[Value, Value]
    channels: Value
    outside: Value


def locate(routine: Routine, tile: Value, rows: Value, columns: Value) -> tuple[Value, Value, Value]:
    """Give a tile's picture, and its row and column in the map."""
    code = routine.code
    line = code.sdiv(tile, columns)
    return code.sdiv(line, rows), code.srem(line, rows), code.srem(tile, columns)


def places(
    routine: Routine, targets: Targets, first: tuple[Value, Value], sides: tuple[int, int]
) -> list[list[Value]]:
    """Give pointers to a rectangle of places, `first` the row and column of the first, `sides` its height and width."""
    code, plus, times = routine.code, routine.plus, routine.times
    height, width = targets.size
    map_ = routine.at(targets.maps, times(times(times(targets.picture, height), width), targets.channels))

    def pointer(row: Value, column: Value) -> Value:
        on_it = code.and_(routine.inside(row, height), routine.inside(column, width))
        offset = times(plus(times(row, width), column), targets.channels)
        return code.select(on_it, routine.at(map_, offset), targets.outside)

    tops, lefts = ([plus(start, i) for i in range(side)] for start, side in zip(first, sides, strict=True))
    return [[pointer(top, left) for left in lefts] for top in tops]


def square_maximum(routine: Routine, lines: Sequence[Sequence[Value]], number: int, squares: int) -> Value:
    """Give the maximum of a square of outputs, by its number among those side by side in some lines."""
    return routine.maximum(value for line in lines for value in line[number * squares : (number + 1) * squares])


def _apply(routine: Routine, matrix: Matrix, vectors: Sequence[Value]) -> list[Value]:
    """Write the product of a constant matrix and some vectors."""
    inputs: list[tuple[Value, Matrix]] = []
    left = list(range(len(vectors)))
    code = routine.code
    # Columns that differ in some signs only: their sum and their difference serve for both.
    while left:
        column = left.pop(0)
        twin = next((other for other in left if _twins(matrix[:, column], matrix[:, other])), None)
        if twin is None:
            inputs.append((vectors[column], matrix[:, column]))
            continue
        left.remove(twin)
        same = np.isclose(matrix[:, column], matrix[:, twin])
        inputs.append((code.fadd(vectors[column], vectors[twin]), np.where(same, matrix[:, column], 0.0)))
        inputs.append((code.fsub(vectors[column], vectors[twin]), np.where(same, 0.0, matrix[:, column])))
    return _rows(routine, np.stack([weights for _, weights in inputs], axis=1), [vector for vector, _ in inputs])


def _rows(routine: Routine, matrix: Matrix, vectors: Sequence[Value]) -> list[Value]:
    """Write the product; rows that differ in some signs only share the parts that have the same sign."""
    results: list[Value] = [None] * len(matrix)
    code = routine.code
    for row, weights in enumerate(matrix):
        if results[row] is not None:
            continue
        twin = next((other for other in range(row + 1, len(matrix)) if _twins(weights, matrix[other])), None)
        if twin is None:
            results[row] = _sum(routine, weights, vectors)
            continue
        same = np.isclose(weights, matrix[twin])
        even = _sum(routine, np.where(same, weights, 0.0), vectors)
        odd = _sum(routine, np.where(same, 0.0, weights), vectors)
        results[row], results[twin] = code.fadd(even, odd), code.fsub(even, odd)
    return results


def _twins(a: Matrix, b: Matrix) -> bool:
    """Tell whether two rows of numbers differ in some signs, and have some in common."""
    same, opposite = np.isclose(a, b), np.isclose(a, -b)
    return bool((same | opposite).all() and not same.all() and (np.abs(a[same]) > _NOTHING).any())


def _sum(routine: Routine, weights: Matrix, vectors: Sequence[Value]) -> Value:
    """Write the sum of weights * vectors."""
    total = None
    for weight, vector in zip(weights, vectors, strict=True):
        if abs(weight) <= _NOTHING:
            continue
        if total is None:
            total = vector if weight == 1.0 else routine.code.fmul(routine.same(weight), vector)
        elif weight == 1.0:
            total = routine.code.fadd(total, vector)
        else:
            total = routine.multiply_add(routine.same(weight), vector, total)
    return routine.zero if total is None else total
