"""How pictures are brought to what a network takes, or refused."""

from collections.abc import Callable
from dataclasses import dataclass

from overfeat_tools import cli
from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError, UsageError
from overfeat_tools.networks.topology import Topology
from overfeat_tools.pictures import centre_square, fit


@dataclass(frozen=True)
class Preparation:
    """How pictures are brought to what a network takes.

    `apply` turns pixels (H, W, 3) into such, or raises ImageError; `decode_side` is the side that it scales to, where
    large files may be decoded at a reduced size.
    """

    apply: Callable[[Array], Array]
    decode_side: int | None = None


def as_they_are(least_side: int) -> Preparation:
    """Take pictures as they are, if they are large enough."""

    def check(pixels: Array) -> Array:
        height, width = pixels.shape[:2]
        if min(height, width) < least_side:
            raise ImageError(f"{width}x{height} is smaller than {least_side}x{least_side}")
        return pixels

    return Preparation(check)


def to_one_answer(topology: Topology, size: str | None, *, exact: bool) -> Preparation:
    """Bring pictures to a size that gives one place in the last map.

    Parameters
    ----------
    topology : Topology
        The network.
    size : str, optional
        `none` or a number, as the option `--size` has it.
    exact : bool
        Decode files whole, however large.

    Raises
    ------
    UsageError
        The size is no number, or gives more or less than one place.
    """
    if size == "none":
        return Preparation(lambda pixels: _cut(pixels, topology))
    side = topology.input_size if size is None else cli.whole_number(size, f"--size {size}: a number of pixels or none")
    if reason := _not_one_answer(topology, side):
        raise UsageError(f"--size {side}: {side}x{side} {reason}")

    def scale(pixels: Array) -> Array:
        if not pixels.size:
            raise ImageError("{1}x{0} has no pixels".format(*pixels.shape))
        return fit(pixels, side)

    return Preparation(scale, None if exact else side)


def _cut(pixels: Array, topology: Topology) -> Array:
    square = centre_square(pixels)
    if reason := _not_one_answer(topology, len(square)):
        height, width = pixels.shape[:2]
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
