"""The classes that a network tells apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from overfeat_tools.errors import OverfeatError, UsageError
from overfeat_tools.networks.topology import Topology


@dataclass(frozen=True)
class Class:
    """One class: its place in the last layer, its WordNet id and its name.

    Names are not unique: `crane` is a bird and a machine.  The ids are.
    """

    index: int
    wnid: str
    name: str


@cache
def read_classes(topology: Topology) -> tuple[Class, ...]:
    """Read the classes of a network, from a list that came with the package, in the order of the network's output."""
    file = topology.class_file
    text = (resources.files("overfeat_tools.networks") / "data" / file).read_text("utf-8")
    rows = [line.split("\t") for line in text.splitlines()]
    if [int(index) for index, _, _ in rows] != list(range(len(rows))):
        raise OverfeatError(f"{file}: the classes are not numbered 0, 1, 2, ...")
    ordered = sorted(rows, key=lambda row: row[1]) if topology.has_sorted_classes else rows
    return tuple(Class(index, wnid, name) for index, (_, wnid, name) in enumerate(ordered))


def class_named(text: str, classes: Sequence[Class], option: str) -> Class:
    """Give the class with a WordNet id, or with a name exactly as it is printed.

    Raises
    ------
    UsageError
        There is none, or there are several: the value of `option` is wrong.
    """
    found = [each for each in classes if text in (each.wnid, each.name)]
    if not found:
        raise UsageError(f'{option}: "{text}" is no class; a WordNet id or a name as it is printed expected')
    if len(found) > 1:
        ids = " and ".join(each.wnid for each in found)
        raise UsageError(f'{option}: "{text}" stands for several classes; give one of the ids {ids}')
    return found[0]
