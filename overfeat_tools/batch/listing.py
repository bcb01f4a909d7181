"""Which files there are: from folders, lists and patterns, here and elsewhere, one after the other.

A `Found` has a file's name, as results will have it, and a stamp, which changes when the file does.  An `Index` keeps
sixteen bytes of each.
"""

import hashlib
import math
import os
import re
import stat
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import numpy.typing as npt

from overfeat_tools.batch.output import OWN
from overfeat_tools.batch.storage import is_folder, is_remote, listed, matching, stamp_from, stamp_of
from overfeat_tools.errors import OverfeatError, UsageError, reason
from overfeat_tools.pictures import find_sources

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
_MOST_EXPANDED = 10_000_000
_ARCHIVE = re.compile(r"\.(?:tar|tar\.gz|tgz)\Z", re.IGNORECASE)

Numbers = npt.NDArray[np.uint64]


def is_archive(name: str) -> bool:
    """Tell whether a name is that of an archive."""
    return bool(_ARCHIVE.search(name))


def digest(*parts: object) -> int:
    """Give 64 bits that stand for something."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


@dataclass(frozen=True)
class Naming:
    """What names of files mean: those of a mirrored folder, or as given, some of them below folders."""

    root: str | None = None
    folders: tuple[str, ...] = ()

    def place_of(self, name: str) -> str:
        """Tell where a file lies."""
        return name if self.root is None else f"{self.root.rstrip('/')}/{name}"

    def is_given(self, name: str) -> bool:
        """Tell a file that was named from one that was found in a folder."""
        return self.root is None and not any(name.startswith(f"{folder}/") for folder in self.folders)


@dataclass
class Sources:
    """Where pictures come from.

    `places` are folders, files, patterns and addresses; `names_from` is a file that lists them.  Files that end with
    `own_suffix` are left out: they are results.  A single folder is mirrored: names are relative to it; all others are
    as given.
    """

    places: Sequence[str]
    names_from: str | None = None
    recursive: bool = False
    own_suffix: str = ""
    remarks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.places = [place for given in self.places for place in _expanded(given)]
        folders = [place.rstrip("/") or "/" for place in self.places if _is_folder(place)]
        alone = len(self.places) == 1 and folders
        self.naming = Naming(folders[0]) if alone else Naming(None, tuple(folders))

    @property
    def are_given(self) -> bool:
        """Whether there are any."""
        return bool(self.places) or self.names_from is not None

    @property
    def are_remote(self) -> bool:
        """Whether some of them are elsewhere."""
        return self.names_from is not None or any(map(is_remote, self.places))

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Give the name of each file, and its stamp; a file that can't be looked at has the stamp 0."""
        if self.names_from is None:
            for place in self.places:
                yield from self._in(place)
            return
        for source in find_sources([], self.names_from):
            if source.error or source.file is None:
                raise OverfeatError(f"{source.file or '-'}: {source.error or 'standard input has the names'}")
            yield from self._in(source.file)

    def _in(self, place: str) -> Iterator[tuple[str, int]]:
        if not _is_folder(place):
            yield place, _stamp(place)
            return
        prefix = "" if self.naming.root is not None else f"{place.rstrip('/')}/"
        if is_remote(place):
            found: Iterator[tuple[str, object]] = listed(place, recursive=self.recursive)
            stamped = ((name, digest(told)) for name, told in found)
        else:
            start = len(place.rstrip("/")) + 1
            stamped = ((path[start:], stamp) for path, stamp in self._files(place.rstrip("/") or "/"))
        for name, stamp in stamped:
            if not self._is_own(name):
                yield prefix + name, stamp

    def _is_own(self, name: str) -> bool:
        return f"/{OWN}/" in f"/{name}" or bool(self.own_suffix and name.endswith(self.own_suffix))

    def _files(self, folder: str) -> Iterator[tuple[str, int]]:
        if self.recursive:
            for source in find_sources([folder], recursive=True):
                if source.error:
                    self.remarks.append(f"{source.file}: {source.error}")
                else:
                    yield str(source.file), _stamp(str(source.file))
            return
        try:
            with os.scandir(folder) as entries:
                names = [(entry.name, entry.is_dir()) for entry in entries]
        except OSError as error:
            raise UsageError(f"-i {folder}: {reason(error)}") from error
        if passed := sum(is_dir for name, is_dir in names if name != OWN):
            self.remarks.append(f"{folder}: {passed} folder(s) in it passed over; --recursive reads them, too")
        for name in sorted((name for name, is_dir in names if not is_dir), key=os.fsencode):
            try:
                status = os.stat(f"{folder}/{name}")  # noqa: PTH116 -- a path of any bytes
            except OSError:
                yield f"{folder}/{name}", 0  # whose fault will be told
            else:
                if stat.S_ISREG(status.st_mode):
                    yield f"{folder}/{name}", digest(stamp_from(status))


def _is_folder(place: str) -> bool:
    return not is_archive(place) and is_folder(place)


def _stamp(place: str) -> int:
    try:
        return digest(stamp_of(place))
    except OSError:
        return 0


def _expanded(given: str) -> list[str]:
    """Expand braces, as in {000..999} and {a,b}; and, elsewhere, * and ?."""
    parts = _BRACES.split(given)
    if not is_remote(given) and (os.path.lexists(given) or len(parts) == 1):
        if not os.path.lexists(given):  # which a list of names may have, but nobody means
            raise UsageError(f"-i {given}: no such file or folder")
        return [given]
    choices = [_choices(part) if number % 2 else (part,) for number, part in enumerate(parts)]
    if math.prod(map(len, choices)) > _MOST_EXPANDED:
        raise UsageError(f"-i {given}: more than {_MOST_EXPANDED} files")
    names = ["".join(each) for each in product(*choices)]
    if not is_remote(given) or not re.search(r"[*?\[]", given):
        return names
    if not (found := [name for pattern in names for name in matching(pattern)]):
        raise UsageError(f"-i {given}: nothing there has such a name")
    return found


class _Numbers(Sequence[str]):
    """Numbers from one to another, as wide as they are if they begin with zeros."""

    def __init__(self, first: str, last: str) -> None:
        self._width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 0
        self._numbers = range(int(first), int(last) + 1)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, at: int) -> str:  # type: ignore[override]
        return f"{self._numbers[at]:0{self._width}d}"


def _choices(inside: str) -> Sequence[str]:
    if found := _RANGE.fullmatch(inside):
        return _Numbers(found[1], found[2])
    return inside.split(",") if "," in inside else [f"{{{inside}}}"]


class Index:
    """The stamps of many files by their names, sixteen bytes each."""

    def __init__(self) -> None:
        self._names, self._stamps = array("Q"), array("Q")
        self._sorted: tuple[Numbers, Numbers] | None = None

    def add(self, key: int, stamp: int) -> None:
        """Add a file, by the digest of its name."""
        self._names.append(key)
        self._stamps.append(stamp)

    def __len__(self) -> int:
        return len(self._names)

    def _arrays(self) -> tuple[Numbers, Numbers]:
        if self._sorted is None:
            names, stamps = (np.frombuffer(each, np.uint64) for each in (self._names, self._stamps))
            order = np.argsort(names, kind="stable")
            self._sorted = names[order], stamps[order]
        return self._sorted

    def find(self, keys: Iterable[int]) -> list[int | None]:
        """Give the stamp of each file, None for one that isn't there."""
        wanted = np.fromiter(keys, np.uint64)
        names, stamps = self._arrays()
        if not len(names):
            return [None] * len(wanted)
        places = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
        there = names[places] == wanted
        return [int(stamp) if known else None for stamp, known in zip(stamps[places], there, strict=True)]
