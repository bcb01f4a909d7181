"""How pictures are brought to what a network takes, or refused."""

from overfeat_tools import cli
from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError, UsageError
from overfeat_tools.networks.topology import Topology
from overfeat_tools.pictures import centre_square, fit


def as_it_is(pixels: Array, least_side: int) -> Array:
    """Take a picture as it is, if it is large enough."""
    height, width = pixels.shape[:2]
    if min(height, width) < least_side:
        raise ImageError(f"{width}x{height} is smaller than {least_side}x{least_side}")
    return pixels


def chosen_side(topology: Topology, size: str | None) -> int | None:
    """Read the option `--size`: the side that pictures are scaled to, or None if they are only cut.

    Raises
    ------
    UsageError
        It is no number, or gives more or less than one place in the last map.
    """
    if size == "none":
        return None
    side = topology.input_size if size is None else cli.whole_number(size, f"--size {size}: a number of pixels or none")
    if reason := _not_one_answer(topology, side):
        raise UsageError(f"--size {side}: {side}x{side} {reason}")
    return side


def to_one_answer(pixels: Array, topology: Topology, side: int | None) -> Array:
    """Bring a picture to a size that gives one place in the last map: scale its shorter side and cut, or only cut."""
    height, width = pixels.shape[:2]
    if side is not None:
        if not pixels.size:
            raise ImageError(f"{width}x{height} has no pixels")
        return fit(pixels, side)
    square = centre_square(pixels)
    if reason := _not_one_answer(topology, len(square)):
        raise ImageError(f"{width}x{height} {reason}")
    return square


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
