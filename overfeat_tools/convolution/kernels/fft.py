"""The fast Fourier transform of n vectors, lane by lane, written out without loops: n a power of two or 3 times one.

The names are numpy's.  `fft` and `rfft` multiply by exp(-2 pi i j k / n), `ifft` and `irfft` by
exp(+2 pi i j k / n), and neither divides by n.

Source: Cooley & Tukey's algorithm, with Sorensen, Jones, Heideman & Burrus's savings for real numbers.
"""

import cmath
from collections.abc import Sequence

from overfeat_tools.backend import FunctionBuilder, Value

Complex = tuple[Value, Value | None]
"""Vectors of real and of imaginary parts; None where these are zero."""

_THREE = 3
_SINE = cmath.sqrt(3).real / 2  # of a third of a turn


def fft(builder: FunctionBuilder, x: Sequence[Complex]) -> list[Complex]:
    """Return the n bins of n complex numbers."""
    if len(x) == 1:
        return list(x)
    if len(x) == _THREE:
        return _fft_of_three(builder, x)
    even, odd = fft(builder, x[::2]), fft(builder, x[1::2])
    turned = [_rotate(builder, value, -k / len(x)) for k, value in enumerate(odd)]
    pairs = list(zip(even, turned, strict=True))
    return [_add(builder, a, b) for a, b in pairs] + [_subtract(builder, a, b) for a, b in pairs]


def _fft_of_three(builder: FunctionBuilder, x: Sequence[Complex]) -> list[Complex]:
    a, b, c = x
    total, (real, imaginary) = _add(builder, b, c), _subtract(builder, b, c)
    middle = tuple(
        builder.multiply_add(builder.constant(-0.5), part, first) for part, first in zip(total, a, strict=True)
    )  # fmt: skip
    multiply, sine, minus_sine = builder.emit.fmul, builder.constant(_SINE), builder.constant(-_SINE)
    turned = multiply(sine, imaginary), multiply(minus_sine, real)
    return [_add(builder, a, total), _add(builder, middle, turned), _subtract(builder, middle, turned)]


def ifft(builder: FunctionBuilder, x: Sequence[Complex]) -> list[Complex]:
    """Return the n complex numbers of n bins: `fft` with real and imaginary parts exchanged before and after."""
    return [(b, a) for a, b in fft(builder, [(b, a) for a, b in x])]


def rfft(builder: FunctionBuilder, x: Sequence[Value]) -> list[Complex]:
    """Return bins 0 to n/2 of n real numbers."""
    size = len(x)
    if size == 1:
        return [(x[0], None)]
    if size == _THREE:
        total, difference = builder.emit.fadd(x[1], x[2]), builder.emit.fsub(x[2], x[1])
        real = builder.multiply_add(builder.constant(-0.5), total, x[0])
        first = builder.emit.fadd(x[0], total)
        return [(first, None), (real, builder.emit.fmul(builder.constant(_SINE), difference))]
    even, odd = rfft(builder, x[::2]), rfft(builder, x[1::2])

    def bin_of(half: list[Complex], k: int) -> Complex:
        return half[k] if k < len(half) else _conjugate(builder, half[size // 2 - k])

    return [
        _add(builder, bin_of(even, k), _rotate(builder, bin_of(odd, k), -k / size)) for k in range(size // 2)
    ] + [_subtract(builder, even[0], odd[0])]


def irfft(builder: FunctionBuilder, bins: Sequence[Complex], size: int) -> list[Value]:
    """Return the n = `size` real numbers of bins 0 to n/2."""
    if size == 1:
        return [bins[0][0]]
    if size == _THREE:
        (first, _), (real, imaginary) = bins
        rest = builder.emit.fsub(first, real)
        return [
            builder.multiply_add(builder.constant(2.0), real, first),
            builder.multiply_add(builder.constant(-2 * _SINE), imaginary, rest),
            builder.multiply_add(builder.constant(2 * _SINE), imaginary, rest),
        ]
    half = size // 2
    even, odd = [_add(builder, bins[0], bins[half])], [_subtract(builder, bins[0], bins[half])]
    for k in range(1, (half + 1) // 2):
        other = _conjugate(builder, bins[half - k])
        even.append(_add(builder, bins[k], other))
        odd.append(_rotate(builder, _subtract(builder, bins[k], other), k / size))
    if half % 2 == 0:
        real, imaginary = bins[half // 2]
        even.append((builder.emit.fadd(real, real), None))
        odd.append((builder.emit.fmul(builder.constant(-2.0), imaginary), None))
    halves = irfft(builder, even, half), irfft(builder, odd, half)
    return [value for pair in zip(*halves, strict=True) for value in pair]


def _rotate(builder: FunctionBuilder, value: Complex, turns: float) -> Complex:
    """Multiply by exp(2 pi i turns)."""
    emit = builder.emit
    real, imaginary = value
    if turns == 0.0:
        return value
    if turns in (-0.25, 0.25):
        negative = emit.fneg(real if turns < 0 or imaginary is None else imaginary)
        if imaginary is None:
            return builder.constant(0.0), negative if turns < 0 else real
        return (imaginary, negative) if turns < 0 else (negative, real)
    factor = cmath.exp(2j * cmath.pi * turns)
    cosine, sine = builder.constant(factor.real), builder.constant(factor.imag)
    if imaginary is None:
        return emit.fmul(real, cosine), emit.fmul(real, sine)
    return (
        builder.multiply_add(imaginary, builder.constant(-factor.imag), emit.fmul(real, cosine)),
        builder.multiply_add(imaginary, cosine, emit.fmul(real, sine)),
    )


def _add(builder: FunctionBuilder, a: Complex, b: Complex) -> Complex:
    imaginary = a[1] if b[1] is None else b[1] if a[1] is None else builder.emit.fadd(a[1], b[1])
    return builder.emit.fadd(a[0], b[0]), imaginary


def _subtract(builder: FunctionBuilder, a: Complex, b: Complex) -> Complex:
    emit = builder.emit
    real = emit.fsub(a[0], b[0])
    if b[1] is None:
        return real, a[1]
    return real, emit.fneg(b[1]) if a[1] is None else emit.fsub(a[1], b[1])


def _conjugate(builder: FunctionBuilder, value: Complex) -> Complex:
    return value[0], None if value[1] is None else builder.emit.fneg(value[1])
