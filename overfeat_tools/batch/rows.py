"""What is told of each picture besides its values, and of all of them together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from overfeat_tools.backend import Array

OK = "ok"
UNREADABLE, NO_PICTURE, DAMAGED = "unreadable", "no picture", "damaged"
WRONG_SIZE, NO_MEMORY, KILLER = "wrong size", "no memory", "killed its reader"

Shown = tuple[Array, ...]
"""A picture (H, W, 3) that layers are computed of, and the views of it, if there are any."""


@dataclass(frozen=True)
class Row:
    """One picture: the `path` of its file, `ok` or what kind of failure, and what it was made of.

    `frame` is its number where the file has several.  `stamp` changes when the file does; `sha256` is its content's.
    `sizes` are those of the files that were made of it.
    """

    path: str
    status: str = OK
    error: str | None = None
    warning: str | None = None
    width: int | None = None
    height: int | None = None
    frame: int | None = None
    stamp: str | None = None
    sha256: str | None = None
    sizes: Sequence[int] | None = None

    @property
    def told(self) -> dict[str, Any]:
        """What there is to tell."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Record:
    """What a shard that is there says of itself: what it was made with, and its rows; results of which are `gone`."""

    made_with: dict[str, Any]
    rows: Sequence[Row]
    gone: frozenset[str] = frozenset()


@dataclass
class Tally:
    """What became of pictures: how many were answered now and before, and which failed."""

    answered: int = 0
    kept: int = 0
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, row: Row, *, kept: bool = False) -> None:
        """Count a picture."""
        if row.status != OK:
            self.failures.append((row.path, row.status, row.error or ""))
        elif kept:
            self.kept += 1
        else:
            self.answered += 1

    def join(self, other: "Tally") -> None:
        """Count another's pictures, too."""
        self.answered += other.answered
        self.kept += other.kept
        self.failures += other.failures

    @property
    def kinds(self) -> Counter[str]:
        """How many failed in each way."""
        return Counter(status for _, status, _ in self.failures)
