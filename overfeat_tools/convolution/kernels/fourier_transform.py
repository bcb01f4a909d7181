"""Tiles into Fourier spectra and back, for tiles of T x T places, T a power of two or three times one.

Maps are real, so of the T * T bins of a tile a half is enough.  The rows are transformed first, T real
numbers into T/2 + 1 bins; then the columns: those of bins 0 and T/2 are real again, the T/2 - 1 between
them complex.  The spectrum is T * T / 2 pairs of numbers, each pair real and imaginary part of one bin:

    column k = 1 .. T/2 - 1    bin i is pair (k - 1) * T + i
    columns 0 and T/2          bins 1 .. T/2 - 1 of both follow; the two last pairs hold bins 0 and T/2, both real

In `spectra` (pairs, tiles, 2 * C) the C first numbers of all channels stand before their second ones.

The transforms are the fast ones, in halves down to pairs or threes, written out for one row or column; loops go over
rows and columns, and what is between them stands on the stack, in the first-level cache.

Source: Cooley & Tukey's algorithm, with Sorensen, Jones, Heideman & Burrus's savings for real numbers.
"""

import cmath
from collections.abc import Sequence
from functools import partial

from overfeat_tools.backend import Compiled, Compiler
from overfeat_tools.convolution.kernels.matrix_transform import (
    EVALUATE,
    INTERPOLATE,
    Targets,
    locate,
    places,
    square_maximum,
)
from overfeat_tools.convolution.kernels.routine import Routine, Value, compiled

_THREE = 3

Number = tuple[Value, Value | None]
"""Vectors of real and imaginary parts; None where they are zero."""


def forward_kernel(compiler: Compiler, size: int) -> Compiled:
    """Give the function that turns tiles into spectra, compiled; it takes what `tiles.evaluator`'s takes."""
    return compiled(compiler, f"fourier_{size}", EVALUATE, partial(_write_evaluator, size=size))


def inverse_kernel(compiler: Compiler, size: int, outputs: int, squares: int) -> Compiled:
    """Give the function that turns spectra into outputs, compiled; it takes what `tiles.interpolator`'s takes.

    Parameters
    ----------
    compiler : Compiler
    size : int
        T.
    outputs : int
        The outputs a side that are wanted: those without wrap-around.
    squares : int
        Take the maximum of squares of so many outputs a side.
    """
    write = partial(_write_interpolator, size=size, outputs=outputs, squares=squares)
    return compiled(compiler, f"fourier_back_{size}_{outputs}_{squares}", INTERPOLATE, write)


def _write_evaluator(compiler: Compiler, module: Value, name: str, size: int) -> None:
    routine = Routine(compiler, module, name, EVALUATE)
    code, at, times, integer = routine.code, routine.at, routine.times, routine.integer
    spectra, x, zeros, stride, tile_stride, height, width, channels, *rest = routine.arguments
    *steps, padding, columns, rows, origin, first, last, first_channel, last_channel = rest
    pointers = routine.array(zeros.type, size * size)
    between = routine.array(routine.vector_type, size * size)
    half = size // 2
    with routine.loop(first, last) as tile:
        picture, row, column = locate(routine, tile, rows, columns)
        source = Targets(x, picture, (height, width), channels, zeros)
        top, left = (code.sub(times(*place), padding) for place in zip((row, column), steps, strict=True))
        for i, line in enumerate(places(routine, source, (top, left), (size, size))):
            for j, pointer in enumerate(line):
                code.store(pointer, at(pointers, i * size + j))
        target = at(spectra, times(code.sub(tile, origin), tile_stride))
        with routine.loop(first_channel, last_channel, routine.lanes) as channel:
            with routine.loop(integer(0), integer(size)) as i:
                line = [at(pointers, times(i, size), j) for j in range(size)]
                values = [routine.load(at(code.load(pointer), channel)) for pointer in line]
                for plane, value in enumerate(_planes(_forward_real(routine, values))):
                    code.store(value, at(between, i, plane * size))
            here = at(target, channel)

            def put(pair: Value, numbers: Number, here: Value = here) -> None:
                for position, value in enumerate(numbers):
                    routine.store(value, at(here, code.mul(stride, pair), times(channels, position)))

            for number, plane in enumerate((0, size - 1)):
                values = [code.load(at(between, plane * size + i)) for i in range(size)]
                pairs = _folded(_forward_real(routine, values))
                for i, pair in enumerate(pairs):
                    put(integer(_pair(size, number, i)), pair)
            with routine.loop(integer(1), integer(half)) as k:
                plane = at(between, times(code.sub(times(k, 2), integer(1)), size))
                complex_values = [
                    (code.load(at(plane, i)), code.load(at(plane, size + i))) for i in range(size)
                ]  # fmt: skip
                for i, pair in enumerate(_forward(routine, complex_values)):
                    put(routine.plus(times(code.sub(k, integer(1)), size), i), pair)
    routine.end()


def _write_interpolator(
    compiler: Compiler, module: Value, name: str, size: int, outputs: int, squares: int
) -> None:  # fmt: skip
    routine = Routine(compiler, module, name, INTERPOLATE)
    code, at, times, integer = routine.code, routine.at, routine.times, routine.integer
    y, spectra, biases, nowhere, stride, tile_stride, height, width, kernels, *rest = routine.arguments
    imaginary, columns, rows, origin, first, last, first_kernel, last_kernel, threshold, otherwise = rest
    ending = routine.ending(biases, threshold, otherwise)
    side, half = outputs // squares, size // 2
    pointers = routine.array(nowhere.type, side * side)
    between = routine.array(routine.vector_type, size * size)
    with routine.loop(first, last) as tile:
        picture, row, column = locate(routine, tile, rows, columns)
        target = Targets(y, picture, (height, width), kernels, nowhere)
        for i, line in enumerate(places(routine, target, (times(row, side), times(column, side)), (side, side))):
            for j, pointer in enumerate(line):
                code.store(pointer, at(pointers, i * side + j))
        source = at(spectra, times(code.sub(tile, origin), tile_stride))
        with routine.loop(first_kernel, last_kernel, routine.lanes) as kernel:
            here = at(source, kernel)

            def get(pair: Value, here: Value = here) -> tuple[Value, Value]:
                place = at(here, code.mul(stride, pair))
                return routine.load(place), routine.load(at(place, imaginary))

            for number, plane in enumerate((0, size - 1)):
                pairs = [get(integer(_pair(size, number, i))) for i in range(half)]
                for i, value in enumerate(_backward_real(routine, _unfolded(pairs), size)):
                    code.store(value, at(between, plane * size + i))
            with routine.loop(integer(1), integer(half)) as k:
                pairs = [get(routine.plus(times(code.sub(k, integer(1)), size), i)) for i in range(size)]
                plane = at(between, times(code.sub(times(k, 2), integer(1)), size))
                for i, value in enumerate(_backward(routine, pairs)):
                    for position, part in enumerate(value):
                        code.store(part, at(plane, position * size + i))
            with routine.loop(integer(0), integer(side)) as i:
                lines = []
                for inner in range(squares):
                    line = routine.plus(times(i, squares), inner)
                    planes = [code.load(at(between, line, plane * size)) for plane in range(size)]
                    lines.append(_backward_real(routine, _bins(planes), size))
                for j in range(side):
                    most = square_maximum(routine, lines, j, squares)
                    place = code.load(at(pointers, times(i, side), j))
                    routine.store(ending(most, kernel), at(place, kernel))
    routine.end()


def _pair(size: int, number: int, row: int) -> int:
    """Give the pair of a bin of column 0 or T/2, by the column's number among the two."""
    half = size // 2
    return half * size - 2 + number if row == 0 else (half - 1) * (size + number) + row - 1


# T/2 + 1 bins of real numbers as T numbers: the real ones first and last, the others between them.


def _planes(bins: Sequence[Number]) -> list[Value]:
    return [bins[0][0], *(part for pair in bins[1:-1] for part in pair), bins[-1][0]]


def _bins(planes: Sequence[Value]) -> list[Number]:
    inner = list(zip(planes[1:-1:2], planes[2:-1:2], strict=True))
    return [(planes[0], None), *inner, (planes[-1], None)]


# The same as T/2 pairs: the real ones together.


def _folded(bins: Sequence[Number]) -> list[Number]:
    return [(bins[0][0], bins[-1][0]), *bins[1:-1]]


def _unfolded(pairs: Sequence[tuple[Value, Value]]) -> list[Number]:
    return [(pairs[0][0], None), *pairs[1:], (pairs[0][1], None)]


# The transforms: forward with exp(-2 pi i k / n), backward with exp(+2 pi i k / n), neither divided by n.


def _forward(routine: Routine, x: Sequence[Number]) -> list[Number]:
    if len(x) == 1:
        return list(x)
    if len(x) == _THREE:
        return _forward_three(routine, x)
    even, odd = _forward(routine, x[::2]), _forward(routine, x[1::2])
    turned = [_turn(routine, value, -k / len(x)) for k, value in enumerate(odd)]
    pairs = list(zip(even, turned, strict=True))
    return [_add(routine, a, b) for a, b in pairs] + [_subtract(routine, a, b) for a, b in pairs]


def _forward_three(routine: Routine, x: Sequence[Number]) -> list[Number]:
    a, b, c = x
    both, (real, imaginary) = _add(routine, b, c), _subtract(routine, b, c)
    middle = tuple(
        routine.multiply_add(routine.same(-0.5), part, first) for part, first in zip(both, a, strict=True)
    )  # fmt: skip
    sine = cmath.sqrt(3).real / 2
    turned = routine.code.fmul(routine.same(sine), imaginary), routine.code.fmul(routine.same(-sine), real)
    return [_add(routine, a, both), _add(routine, middle, turned), _subtract(routine, middle, turned)]


def _backward(routine: Routine, x: Sequence[Number]) -> list[Number]:
    """Real and imaginary parts exchanged before and after: i * conj."""
    return [(b, a) for a, b in _forward(routine, [(b, a) for a, b in x])]


def _forward_real(routine: Routine, x: Sequence[Value]) -> list[Number]:
    """Give bins 0 to n/2 of n real numbers."""
    size = len(x)
    if size == 1:
        return [(x[0], None)]
    if size == _THREE:
        both, across = routine.code.fadd(x[1], x[2]), routine.code.fsub(x[2], x[1])
        sine = routine.same(cmath.sqrt(3).real / 2)
        real = routine.multiply_add(routine.same(-0.5), both, x[0])
        return [(routine.code.fadd(x[0], both), None), (real, routine.code.fmul(sine, across))]
    even, odd = _forward_real(routine, x[::2]), _forward_real(routine, x[1::2])

    def mirrored(half: list[Number], k: int) -> Number:
        return half[k] if k < len(half) else _conjugate(routine, half[size // 2 - k])

    return [
        _add(routine, mirrored(even, k), _turn(routine, mirrored(odd, k), -k / size)) for k in range(size // 2)
    ] + [_subtract(routine, even[0], odd[0])]


def _backward_real(routine: Routine, bins: Sequence[Number], size: int) -> list[Value]:
    """Give the n real numbers of bins 0 to n/2, by n."""
    if size == 1:
        return [bins[0][0]]
    if size == _THREE:
        return _backward_three(routine, bins)
    half = size // 2
    even, odd = [_add(routine, bins[0], bins[half])], [_subtract(routine, bins[0], bins[half])]
    for k in range(1, (half + 1) // 2):
        other = _conjugate(routine, bins[half - k])
        even.append(_add(routine, bins[k], other))
        odd.append(_turn(routine, _subtract(routine, bins[k], other), k / size))
    if half % 2 == 0:
        real, imaginary = bins[half // 2]
        even.append((routine.code.fadd(real, real), None))
        odd.append((routine.code.fmul(routine.same(-2.0), imaginary), None))
    halves = _backward_real(routine, even, half), _backward_real(routine, odd, half)
    return [value for pair in zip(*halves, strict=True) for value in pair]


def _backward_three(routine: Routine, bins: Sequence[Number]) -> list[Value]:
    (first, _), (real, imaginary) = bins
    rest = routine.code.fsub(first, real)
    sine = cmath.sqrt(3).real
    return [
        routine.multiply_add(routine.same(2.0), real, first),
        routine.multiply_add(routine.same(-sine), imaginary, rest),
        routine.multiply_add(routine.same(sine), imaginary, rest),
    ]


def _turn(routine: Routine, value: Number, turns: float) -> Number:
    """Multiply by exp(2 pi i turns)."""
    code = routine.code
    real, imaginary = value
    if turns == 0.0:
        return value
    if turns in (-0.25, 0.25):
        negative = code.fneg(real if turns < 0 else imaginary) if imaginary is not None else code.fneg(real)
        if imaginary is None:
            # Only a real bin in the middle comes here.
            return routine.zero, negative if turns < 0 else real
        return (imaginary, negative) if turns < 0 else (negative, real)
    factor = cmath.exp(2j * cmath.pi * turns)
    c, s = routine.same(factor.real), routine.same(factor.imag)
    if imaginary is None:
        return code.fmul(real, c), code.fmul(real, s)
    minus_s = routine.same(-factor.imag)
    return (
        routine.multiply_add(imaginary, minus_s, code.fmul(real, c)),
        routine.multiply_add(imaginary, c, code.fmul(real, s)),
    )


def _add(routine: Routine, a: Number, b: Number) -> Number:
    imaginary = a[1] if b[1] is None else b[1] if a[1] is None else routine.code.fadd(a[1], b[1])
    return routine.code.fadd(a[0], b[0]), imaginary


def _subtract(routine: Routine, a: Number, b: Number) -> Number:
    code = routine.code
    real = code.fsub(a[0], b[0])
    if b[1] is None:
        return real, a[1]
    return real, code.fneg(b[1]) if a[1] is None else code.fsub(a[1], b[1])


def _conjugate(routine: Routine, value: Number) -> Number:
    return value[0], None if value[1] is None else routine.code.fneg(value[1])
