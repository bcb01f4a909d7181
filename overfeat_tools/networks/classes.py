"""The classes that a network tells apart."""

from dataclasses import dataclass
from functools import cache
from importlib import resources

from overfeat_tools.errors import OverfeatError
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
