"""Whether numbers can be the weights of a network, for weights whose checksum nobody knows.

Trained weights are finite and of a moderate spread, while text, another byte order or a shift by one byte gives
numbers like 1e30, and a hole in a file gives zeros.  Training also makes neighbours within a kernel alike, which shows
where kernels begin, and so a shift by whole numbers.  With such weights maps stay finite and in bounds, and depend on
the picture.

A unit may be dead, and a layer may be odd: the limits must hold for files never seen here.  What they let pass: weights
in another order that keeps kernels whole, and shifts within layers of 1x1.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from overfeat_tools.backend import FloatArray

Parameters = Sequence[tuple[FloatArray, FloatArray]]

# Root mean squares.  0.007 to 0.2 is usual for the kernels of a layer.
_LIMITS = {"kernels": (1e-6, 10.0), "biases": (0.0, 100.0)}
_BLOCK = 1 << 17  # numbers; so many zeros are a hole in the file
_TAIL = 4  # numbers; if there are biases at all, those of the last classes are not zero, but a filling is
# Standard errors.  The neighbours in random kernels give up to 4, those in trained ones 15 and more.
_STRUCTURED, _SHIFTED = 8.0, 3.0
# Standard deviations.  0.5 to 5 is usual for a map.
_MAP_LIMITS = (1e-3, 1e4)
_LEAST_DIFFERENCE = 1e-6


@dataclass(frozen=True)
class Finding:
    """What was found in one place, and what is wrong with it, if anything is; None where nobody can tell."""

    check: str
    convolution: int
    found: str
    problem: str | None = ""


def spread(parameters: Parameters) -> Iterator[Finding]:
    """Judge the size of the kernels and biases of each convolution, and look for stretches of zeros."""
    for number, pair in enumerate(parameters, 1):
        for (what, (least, most)), values in zip(_LIMITS.items(), pair, strict=True):
            flat = values.reshape(-1)
            blocks = [flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK)]
            with np.errstate(all="ignore"):
                size = math.sqrt(sum(float(np.dot(block, block)) for block in blocks) / flat.size)
                hole = any(len(block) == _BLOCK and not block.any() for block in blocks)
            found = f"root mean square of {size:.3g}{' and a long stretch of zeros' if hole else ''}"
            wrong = hole or not least <= size <= most  # nor if it is not a number
            problem = f"the {what} of convolution {number} have a {found}" if wrong else ""
            yield Finding(what, number, found, problem)


def ending(parameters: Parameters) -> Finding:
    """Look for zeros that a file was filled up with to its right size."""
    weight, bias = parameters[-1]
    tail = (bias if np.any(bias != 0) else weight.reshape(-1))[-_TAIL:]
    zeros = not np.any(tail != 0)
    found = "zeros" if zeros else "no zeros"
    return Finding("end", len(parameters), found, "the file ends with zeros" if zeros else "")


def structure(parameters: Parameters) -> Iterator[Finding]:
    """Look for the structure that training gives to kernels, where they are larger than 1x1."""
    told = False
    for number, (weight, _) in enumerate(parameters, 1):
        if weight.shape[2] > 1:
            shift, significance = _kernel_shift(weight)
            structured = significance > _STRUCTURED
            told |= structured
            if structured and shift:
                text = f"out of place by {shift:+} numbers"
                yield Finding("structure", number, text, f"the kernels of convolution {number} are {text}")
            else:
                yield Finding("structure", number, *(("in place", "") if structured else ("none", None)))
    if not told:
        yield Finding("training", 1, "no sign of it", "its kernels look like random numbers, not like trained ones")


def _kernel_shift(weight: FloatArray) -> tuple[int, float]:
    """Find where kernels begin, by the likeness of each number to the one a row below.

    There is none where the one lies in a kernel's last row and the other in the next kernel: these are the `columns`
    neighbours with the least likeness.

    Parameters
    ----------
    weight : array (K, C, kh, kw) float32

    Returns
    -------
    shift : int
        Of what is in the file against its place.
    significance : float
        Of the likeness, in standard errors.
    """
    rows, columns = weight.shape[2:]
    size = rows * columns
    kernels = weight.reshape(-1, size)
    within, across = kernels.T @ kernels, kernels[:-1].T @ kernels[1:]
    power = np.sqrt(np.diag(within))
    likeness = np.array([
        (within[one, one + columns] if one + columns < size else across[one, one + columns - size])
        / (power[one] * power[(one + columns) % size])
        for one in range(size)
    ])  # fmt: skip
    around = np.concatenate([likeness, likeness])
    last_rows = np.array([around[start : start + columns].mean() for start in range(size)])
    place, found = size - columns, int(last_rows.argmin())
    contrast = (likeness.sum() - columns * last_rows[found]) / place - last_rows[found]
    significance = contrast / math.sqrt((1 / columns + 1 / place) / len(kernels))
    shift = (found - place + size // 2) % size - size // 2
    moved = min(abs(shift), columns)
    # How much less alike those are that were taken in place of others: as much as the rest, if it is a shift.
    gain = (last_rows[place] - last_rows[found]) * columns / max(moved, 1)
    certain = gain > contrast / 2 and gain > _SHIFTED * math.sqrt(2 / moved / len(kernels)) if moved else False
    return shift if certain else 0, float(significance)


def of_map(values: FloatArray, convolution: int) -> Finding:
    """Judge the map of a convolution for several pictures.

    Parameters
    ----------
    values : array (N, H, W, C) float32
    convolution : int
    """
    with np.errstate(all="ignore"):
        deviation = float(values.std(dtype=np.float64))
        ranges = np.ptp(values.reshape(-1, values.shape[3]), axis=0)
        constant = int((ranges == 0).sum())
        differing = float(np.ptp(values, axis=0).max())
    problem = ""
    if not _MAP_LIMITS[0] <= deviation <= _MAP_LIMITS[1]:
        problem = f"a standard deviation of {deviation:.3g}"
    elif constant > len(ranges) // 2:
        problem = f"{constant} of {len(ranges)} channels that never change"
    elif differing < _LEAST_DIFFERENCE * deviation:
        problem = "the same values for every picture"
    found = f"standard deviation {deviation:.3g}, {constant} of {len(ranges)} channels constant"
    return Finding("map", convolution, found, f"the map of convolution {convolution} has {problem}" if problem else "")
