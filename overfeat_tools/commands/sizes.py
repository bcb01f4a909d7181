"""How the options `--size`, `--scales` and `-L` are read."""

from overfeat_tools import cli
from overfeat_tools.errors import UsageError
from overfeat_tools.library.arguments import layer_number
from overfeat_tools.networks.dense import SCALES, SIZES
from overfeat_tools.networks.preparation import check_map, check_one_answer
from overfeat_tools.networks.topology import Topology


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


def chosen_scales(scales: str | None) -> list[int]:
    """Read the option `--scales`: numbers with commas between them.

    Raises
    ------
    UsageError
        They are something else.
    """
    if scales is None:
        return list(SCALES)
    words = scales.split(",")
    known = {str(scale): scale for scale in SIZES}
    if len(set(words)) < len(words) or not set(words) <= set(known):
        raise UsageError(f"--scales {scales}: different numbers from 1 to {max(SIZES)}, with commas, expected")
    return [known[word] for word in words]


def chosen_layers(topology: Topology, layers: str | None) -> tuple[int, ...]:
    """Read the option `-L` where it may name several layers, with commas between them; by default the features.

    Raises
    ------
    UsageError
        There is no such layer, or it is named twice.
    """
    words = (layers or "features").split(",")
    try:
        numbers = tuple(layer_number(topology, int(word) if word.isdecimal() else word) for word in words)  # type: ignore[arg-type]
    except UsageError as error:
        raise UsageError(f"-L {layers}: {error}") from None
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"-L {layers}: each layer once")
    return numbers
