"""The classes that a network tells apart."""

from dataclasses import dataclass
from functools import cache
from importlib import resources

from overfeat_tools.errors import OverfeatError


@dataclass(frozen=True)
class Class:
    """One class: its place in the last layer, its WordNet id and its name.

    Names are not unique: `crane` is a bird and a machine.  The ids are.
    """

    index: int
    wnid: str
    name: str


@cache
def read_classes(file: str) -> tuple[Class, ...]:
    """Read a list of classes that came with the package, in the order of the network's output."""
    text = (resources.files("overfeat_tools.networks") / "data" / file).read_text("utf-8")
    rows = [line.split("\t") for line in text.splitlines()]
    classes = tuple(Class(int(index), wnid, name) for index, wnid, name in rows)
    if [item.index for item in classes] != list(range(len(classes))):
        raise OverfeatError(f"{file}: the classes are not numbered 0, 1, 2, ...")
    return classes
