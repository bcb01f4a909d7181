"""Numbers as `%g` writes them, many at a time.

A float32 has 24 bits, and 10**9 is a product of 21 bits and a power of two: so a double holds x * 10**k exactly, and
rounding that to a whole number gives the six digits that `%g` does, ties included.  They are looked up three at a time,
with the point among them, and stand in sixteen bytes for each number; those that aren't used are zero, and go at last.
"""

from functools import cache

import numpy as np

from overfeat_tools.backend import Array, FloatArray

_LEAST_EXPONENT, _MOST_EXPONENT = -4, 5  # which %g writes without an exponent
_POWERS = 10.0 ** np.arange(_MOST_EXPONENT - _LEAST_EXPONENT, -1, -1)
_BOUNDS = 10.0 ** np.arange(_LEAST_EXPONENT + 1, _MOST_EXPONENT + 1)
_ZERO = len(_POWERS)
_FEW = 16  # one in so many is written by itself


def decimals(values: FloatArray) -> bytes:
    """Write float32 numbers (N,), each as `%g` does, with a space before it."""
    beginnings, first_digits, last_digits = _tables()
    with np.errstate(invalid="ignore"):
        sizes = np.abs(values).astype(np.float64)
        kinds = np.searchsorted(_BOUNDS, sizes, "right")
        digits = np.rint(sizes * _POWERS[kinds])
        is_other = ~(digits < 1e6) | ((sizes < 10.0**_LEAST_EXPONENT) & (sizes > 0))  # noqa: PLR2004 -- six digits
    others = np.flatnonzero(is_other)
    if _FEW * len(others) > len(values):
        return (" %g" * len(values) % tuple(values.tolist())).encode()
    digits[others] = 0
    first, last = np.divmod(digits.astype(np.int32), np.int32(1000))
    text = np.empty((len(values), 2), np.uint64)
    text[:, 0] = beginnings[2 * np.where(sizes > 0, kinds, _ZERO) + np.signbit(values)]
    words = text.view(np.uint32)
    words[:, 2] = first_digits[(2 * kinds + (last > 0)) * 1000 + first]
    words[:, 3] = last_digits[kinds * 1000 + last]
    for at in others:
        text[at : at + 1].view("S16")[0] = b" %g" % values[at]
    return text.tobytes().translate(None, b"\0")


@cache
def _tables() -> tuple[Array, Array, Array]:
    """Give what numbers begin with, by exponent and sign; and what of them three digits are.

    The first three digits are looked up by exponent, whether any other follows, and their value; the last three by
    exponent and value.
    """
    beginnings, first, last = [], [], []
    for exponent in range(_LEAST_EXPONENT, _MOST_EXPONENT + 1):
        lead = b"0." + b"0" * (-exponent - 1) if exponent < 0 else b""
        beginnings += [b" " + lead, b" -" + lead]
        first += [_three(exponent + 1, ends=True), _three(exponent + 1, ends=False)]
        last.append(_three(exponent - 2, ends=True))
    beginnings += [b" 0", b" -0"]
    return np.array(beginnings, "S8").view(np.uint64), np.concatenate(first), np.concatenate(last)


def _three(whole: int, *, ends: bool) -> Array:
    """Write the numbers 000 to 999 in four bytes each, with a point behind so many digits, if it is among them.

    If the number `ends` there, zeros behind the point are left out, and the point if nothing is behind it.
    """
    number = np.arange(1000)[:, None]
    text = (number // (100, 10, 1) % 10 + ord("0")).astype(np.uint8)
    if ends:
        is_needed = number % (1000, 100, 10) > 0
        text[~is_needed & (np.arange(3) >= whole)] = 0
    if not 0 < whole <= 3:  # noqa: PLR2004 -- digits
        return _words(np.pad(text, ((0, 0), (0, 1))))
    is_last = text[:, whole] == 0 if whole < 3 else np.True_  # noqa: PLR2004
    return _words(np.insert(text, whole, np.where(ends & is_last, 0, ord(".")), axis=1))


def _words(text: Array) -> Array:
    return np.ascontiguousarray(text).view(np.uint32)[:, 0]
