"""How the options `--size`, `--views`, `--scales` and `-L` are read."""

from functools import partial
from typing import TYPE_CHECKING

from overfeat_tools import cli
from overfeat_tools.errors import UsageError
from overfeat_tools.networks.preparation import check_map, check_one_answer
from overfeat_tools.networks.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from overfeat_tools.networks.network import Network
    from overfeat_tools.networks.views import Looks, Views


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
    if side is not None:
        check_one_answer(topology, side, "--size")
    return side


def side_of_a_map(topology: Topology, size: str | None, last: int) -> int | None:
    """Read the option `--size` where a map of any size is wanted.

    Raises
    ------
    UsageError
        It is no size, or gives no map or a picture that is too large.
    """
    side = chosen_side(topology, size)
    if side is not None:
        check_map(topology, side, last, "--size")
    return side


def chosen_views(
    kind: str, scales: str | None, stride: str | None
) -> "Callable[[Network], Views[Looks] | None]":
    """Read the options `--views`, `--scales` and `--stride`: what makes a network's views, if it is more than one.

    Raises
    ------
    UsageError
        The scales are something else than numbers with commas between them.
    """
    if kind == "centre":
        return lambda _: None
    from overfeat_tools.networks.dense import SCALES, SIZES
    from overfeat_tools.networks.views import open_views

    known = {str(scale): scale for scale in SIZES}
    words = [str(scale) for scale in SCALES] if scales is None else scales.split(",")
    if len(set(words)) < len(words) or not set(words) <= set(known):
        raise UsageError(f"--scales {scales}: different numbers from 1 to {max(SIZES)}, with commas, expected")
    return partial(open_views, kind=kind, scales=[known[word] for word in words], fine=stride != "coarse")


def chosen_layers(topology: Topology, layers: str | None) -> tuple[int, ...]:
    """Read the option `-L` where it may name several layers, with commas between them; by default the features.

    Raises
    ------
    UsageError
        There is no such layer, or it is named twice.
    """
    from overfeat_tools.library.arguments import layer_number

    words = (layers or "features").split(",")
    try:
        numbers = tuple(layer_number(topology, int(word) if word.isdecimal() else word) for word in words)  # type: ignore[arg-type]
    except UsageError as error:
        raise UsageError(f"-L {layers}: {error}") from None
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"-L {layers}: each layer once")
    return numbers
