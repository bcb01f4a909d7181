"""How pictures are brought to what a network takes, or refused."""

import math

from overfeat_tools import cli
from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError, UsageError
from overfeat_tools.networks.topology import Topology
from overfeat_tools.pictures import MAX_PIXELS, centre_square, fit

# The side of the largest square that is accepted as a picture.
_MOST_SIDE = math.isqrt(MAX_PIXELS)


def chosen_side(topology: Topology, size: str | None) -> int | None:
    """Read the option `--size`: the side that pictures are scaled to, or None if they are not scaled.

    Raises
    ------
    UsageError
        It is neither a number nor a word that is known.
    """
    if size in (None, "none"):
        return None
    if size == "input":
        return topology.input_size
    return cli.whole_number(size, f"--size {size}: a number of pixels, input or none")


def side_of_one_answer(topology: Topology, size: str | None) -> int | None:
    """Read the option `--size` where the last map must have one place; by default the network's input.

    Raises
    ------
    UsageError
        It is no size, or gives more or less than one place.
    """
    side = chosen_side(topology, "input" if size is None else size)
    if side is not None and (reason := _not_one_answer(topology, side)):
        raise UsageError(f"--size {side}: {side}x{side} {reason}")
    return side


def side_of_a_map(topology: Topology, size: str | None, last: int) -> int | None:
    """Read the option `--size` where a map of any size is wanted.

    Raises
    ------
    UsageError
        It is no size, or gives no map or a picture that is too large.
    """
    side, least = chosen_side(topology, size), topology.least_side(last)
    if side is not None and not least <= side <= _MOST_SIDE:
        raise UsageError(f"--size {side}: {least} to {_MOST_SIDE} expected for this layer")
    return side


def to_a_map(pixels: Array, size: str | None, side: int | None, least_side: int) -> Array:
    """Bring a picture to a size that gives a map: as it is without a `size`, else fitted; it must be large enough."""
    fitted = pixels if size is None else _fitted(pixels, side)
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
    if side < least:
        return f"is smaller than {least}x{least}"
    _, rows, columns = topology.shapes(side, side)[-1]
    if (rows, columns) == (1, 1):
        return None
    most = next(more for more in range(least, side) if topology.shapes(more + 1, more + 1)[-1][1] > 1)
    return f"gives {rows}x{columns} answers, not one; the side must be {least} to {most}"
