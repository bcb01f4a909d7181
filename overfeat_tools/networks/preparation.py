"""How pictures are brought to what a network takes, or refused."""

import math

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError, UsageError
from overfeat_tools.networks.topology import Topology
from overfeat_tools.pictures import MAX_PIXELS, centre_square, fit

# The side of the largest square that is accepted as a picture.
_MOST_SIDE = math.isqrt(MAX_PIXELS)


def check_one_answer(topology: Topology, side: int, name: str) -> None:
    """Check that a side, the value of the option or parameter `name`, gives one place in the last map.

    Raises
    ------
    UsageError
        It gives more or less than one place.
    """
    if reason := _not_one_answer(topology, side):
        raise UsageError(f"{name} {side}: {side}x{side} {reason}")


def check_map(topology: Topology, side: int, last: int, name: str) -> None:
    """Check that a side, the value of the option or parameter `name`, gives a map of a layer.

    Raises
    ------
    UsageError
        It gives no map, or is that of a picture that is too large.
    """
    least = topology.least_side(last)
    if not least <= side <= _MOST_SIDE:
        raise UsageError(f"{name} {side}: {least} to {_MOST_SIDE} expected for this layer")


def to_a_map(pixels: Array, least_side: int, side: int | None = None, *, cut: bool) -> Array:
    """Bring a picture to a size that gives a map; it must be large enough.

    With `cut`, its shorter side is scaled to `side`, if there is one, and its centre square is cut.
    """
    fitted = _fitted(pixels, side) if cut else pixels
    if min(fitted.shape[:2]) < least_side:
        height, width = pixels.shape[:2]
        raise ImageError(f"{width}x{height} is smaller than {least_side}x{least_side}")
    return fitted


def to_one_answer(pixels: Array, topology: Topology, side: int | None) -> Array:
    """Bring a picture to a size that gives one place in the last map: scale its shorter side and cut, or only cut."""
    square = _fitted(pixels, side)
    if reason := _not_one_answer(topology, len(square)):
        height, width = pixels.shape[:2]
        raise ImageError(f"{width}x{height} {reason}")
    return square


def _fitted(pixels: Array, side: int | None) -> Array:
    if side is None:
        return centre_square(pixels)
    if not pixels.size:
        height, width = pixels.shape[:2]
        raise ImageError(f"{width}x{height} has no pixels")
    return fit(pixels, side)


def _not_one_answer(topology: Topology, side: int) -> str | None:
    """Say why a square does not give one answer, if it does not."""
    least = topology.input_size
    if side == least:
        return None
    if side < least:
        return f"is smaller than {least}x{least}"
    _, rows, columns = topology.shapes(side, side)[-1]
    if (rows, columns) == (1, 1):
        return None
    most = next(more for more in range(least, side) if topology.shapes(more + 1, more + 1)[-1][1] > 1)
    return f"gives {rows}x{columns} answers, not one; the side must be {least} to {most}"
