"""The classes that a network tells apart."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from overfeat_tools.errors import OverfeatError, UsageError
from overfeat_tools.networks.topology import Topology
from overfeat_tools.networks.weights import PACKAGED


@dataclass(frozen=True)
class Class:
    """One class: its place in the last layer, its WordNet id and its name.

    Names are not unique: `crane` is a bird and a machine.  The ids are.
    """

    index: int
    wnid: str
    name: str


Labelled = Mapping[str, Sequence[Class]]
"""Classes by what they may be called; `crane` stands for two."""


@cache
def read_classes(topology: Topology) -> tuple[Class, ...]:
    """Read the classes of a network, from a list that came with the package, in the order of the network's output."""
    file = topology.class_file
    rows = [line.split("\t") for line in (PACKAGED / file).read_text("utf-8").splitlines()]
    if [int(index) for index, _, _ in rows] != list(range(len(rows))):
        raise OverfeatError(f"{file}: the classes are not numbered 0, 1, 2, ...")
    ordered = sorted(rows, key=lambda row: row[1]) if topology.has_sorted_classes else rows
    return tuple(Class(index, wnid, name) for index, (_, wnid, name) in enumerate(ordered))


def by_label(classes: Sequence[Class]) -> Labelled:
    """Give the classes by what they may be called: names as they are printed, and WordNet ids."""
    known = defaultdict(list)
    for each in classes:
        known[each.name].append(each)
        if each.wnid != "-":
            known[each.wnid].append(each)
    return known


def class_labelled(label: str, known: Labelled, place: str) -> Class:
    """Give the class that a label stands for.

    Raises
    ------
    UsageError
        There is none, or there are several; `place` is where the label stands.
    """
    found = known.get(label, ())
    if not found:
        raise UsageError(f'{place}: "{label}" is no class; a WordNet id or a name as it is printed expected')
    if len(found) > 1:
        ids = " and ".join(each.wnid for each in found)
        raise UsageError(f'{place}: "{label}" stands for several classes; give one of the ids {ids}')
    return found[0]
