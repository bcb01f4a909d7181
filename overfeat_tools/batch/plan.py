"""The work list: which files belong to which shard, settled once for each file and kept beside the results.

A plan is a file with a line for each shard, a JSON array of names.  Files that come later get shards of their own, in a
further plan; so nothing that is done is ever cut anew.  Any process that looks at the same files makes the same plan,
and of several that do so at a time one is first.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from overfeat_tools.batch.listing import Index, digest, is_archive
from overfeat_tools.batch.output import OWN, Output
from overfeat_tools.errors import OverfeatError

_CHUNK = 4096
_MOST_TRIES = 100

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Files whose results stay together, and their stamps; of a stream, how many members of it."""

    number: int
    names: Sequence[str]
    stamps: Sequence[int | None]

    @property
    def title(self) -> str:
        """What its files are called."""
        return f"shard-{self.number:05d}"


def cut(names: Iterable[str], size: int) -> Iterator[list[str]]:
    """Cut a list of files into shards: so many pictures, or one archive."""
    shard: list[str] = []
    for name in names:
        if is_archive(name):
            yield [name]
            continue
        shard.append(name)
        if len(shard) == size:
            yield shard
            shard = []
    if shard:
        yield shard


def unplanned(listing: Iterable[tuple[str, int]], size: int, number: int = 1, of: int = 1) -> Iterator[Shard]:
    """Give shards that nobody will ask for again, as they come, or each one in so many."""
    for at, names in enumerate(cut((name for name, _ in listing), size)):
        if at % of == number - 1:
            yield Shard(at, names, [None] * len(names))


class Plan:
    """The plans of an output, and the files that there are now."""

    def __init__(self, output: Output, size: int) -> None:
        self._output, self._size = output, size
        self.index, self.added = Index(), 0

    def update(self, listing: Callable[[], Iterable[tuple[str, int]]], *, once_each: bool) -> None:
        """Look at the files, and add to the plans those that are new.

        Parameters
        ----------
        listing : callable
            Gives names and stamps.
        once_each : bool
            Whether it gives no name twice.
        """
        for _ in range(_MOST_TRIES):
            parts = self._parts()
            self.index, self.added = Index(), 0
            known = Index()
            for name in (name for names in self._lines(parts) for name in names):
                known.add(digest(name), 0)
            if self._add(known, listing, f"{OWN}/plan-{len(parts):05d}", once_each=once_each):
                return
        raise OverfeatError(f"{self._output.place}: others keep changing its plan")

    def _add(
        self, known: Index, listing: Callable[[], Iterable[tuple[str, int]]], part: str, *, once_each: bool
    ) -> bool:
        """Write a further plan, if there are new files; tell whether nobody else has done so meanwhile."""
        path = Path(self._output.local_name())
        with self._output.told(part):
            with path.open("w", encoding="ascii") as file:
                for shard in cut(self._new(known, listing(), set[int]() if not once_each else None), self._size):
                    file.write(json.dumps(shard) + "\n")
                    self.added += len(shard)
            if self.added:
                return self._output.move(str(path), part, replacing=False)
            path.unlink()
        return True

    def _new(self, known: Index, listing: Iterable[tuple[str, int]], seen: set[int] | None) -> Iterator[str]:
        rest = iter(listing)
        while chunk := list(islice(rest, _CHUNK)):
            keys = [digest(name) for name, _ in chunk]
            for key, (name, stamp), planned in zip(keys, chunk, known.find(keys), strict=True):
                if seen is not None:
                    if key in seen:
                        continue
                    seen.add(key)
                self.index.add(key, stamp)
                if planned is None:
                    yield name

    def _parts(self) -> list[str]:
        return [f"{OWN}/{name}" for name in self._output.names(OWN) if name.startswith("plan-")]

    def _lines(self, parts: Iterable[str]) -> Iterator[list[str]]:
        for part in parts:
            file = self._output.open(part)
            if file is None:
                raise OverfeatError(f"{self._output.place}/{part}: gone")
            with file:
                yield from map(json.loads, file)

    def shards(self, number: int = 1, of: int = 1) -> Iterator[Shard]:
        """Give the shards, or each one in so many."""
        for at, names in enumerate(self._lines(self._parts())):
            if at % of == number - 1:
                yield Shard(at, names, self.index.find(map(digest, names)))

    def count(self, number: int = 1, of: int = 1) -> tuple[int, int]:
        """Count shards, and the files in those that are no archives."""
        shards = files = 0
        for at, names in enumerate(self._lines(self._parts())):
            if at % of == number - 1:
                shards += 1
                files += 0 if is_archive(names[0]) else len(names)
        return shards, files
