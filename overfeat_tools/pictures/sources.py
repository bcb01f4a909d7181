"""Where pictures are to be looked for: names from the command line, from a list, from folders.

Everything here is given one after the other, when it is asked for: a list may come from a program that is still
searching, and a folder may have millions of files.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from overfeat_tools.errors import ImageError, OverfeatError, reason
from overfeat_tools.pictures.supply import Supply, from_descriptor

STANDARD_INPUT = "-"
_MOST_NAME_BYTES = 1 << 16


@dataclass(frozen=True)
class Source:
    """A file to read, or why there is none.

    `file` is its name, or None for standard input.  One that was `found` in a folder, and not named, may be something
    else than a picture.  `data` are its bytes, where they are here already.
    """

    file: str | None
    error: ImageError | None = None
    found: bool = False
    data: bytes | None = None


def find_sources(files: Iterable[str], names_from: str | None = None, *, recursive: bool = False) -> Iterator[Source]:
    """Give the files to read, in order.

    Parameters
    ----------
    files : iterable of str
        Names; `-` is standard input.
    names_from : str, optional
        A file with more names, each ended by a NUL byte; `-` is standard input.
    recursive : bool
        Whether to give the files in folders.

    Raises
    ------
    OverfeatError
        The list of names can't be read.
    """
    named = (Source(None if name == STANDARD_INPUT else name) for name in files)
    for source in named if names_from is None else _listed(names_from):
        if recursive and source.file is not None and not source.error and os.path.isdir(source.file):  # noqa: PTH112
            yield from _walked(source.file)
        else:
            yield source


def _listed(names_from: str) -> Iterator[Source]:
    """Give the names in a list; the last needs no NUL behind it."""
    descriptor = None
    try:
        descriptor = 0 if names_from == STANDARD_INPUT else os.open(names_from, os.O_RDONLY)
        for number, name in enumerate(_names(Supply(from_descriptor(descriptor))), start=1):
            place = f"{names_from}: name {number}"
            if not name:
                yield Source(place, ImageError("an empty name"))
            elif name == b"-" and names_from == STANDARD_INPUT:
                yield Source(place, ImageError("standard input has the names; it can't be read for pictures, too"))
            else:
                yield Source(None if name == b"-" else os.fsdecode(name))
    except OSError as error:
        raise OverfeatError(f"--files0-from {names_from}: {reason(error)}") from error
    except ImageError as error:
        raise OverfeatError(f"--files0-from {names_from}: {error}") from error
    finally:
        if descriptor:
            os.close(descriptor)


def _names(supply: Supply) -> Iterator[bytes]:
    name = b""
    while piece := supply.next():
        *names, name = (name + piece).split(b"\0")
        yield from names
        if len(name) > _MOST_NAME_BYTES:
            raise ImageError(f"a name of more than {_MOST_NAME_BYTES} bytes; each must be ended by a NUL byte")
    if name:
        yield name


def _walked(folder: str) -> Iterator[Source]:
    """Give the files below a folder, those of each folder in the order of the bytes of their names.

    Links to files are followed, and links to folders are not.  What is neither is left out.
    """
    # Names, not paths: there may be millions in one folder.  Those of folders end with a slash.
    waiting = [("", [f"{folder}/"])]
    while waiting:
        place, names = waiting[-1]
        if not names:
            waiting.pop()
            continue
        path = os.path.join(place, names.pop())  # noqa: PTH118 -- a Path would take "./" away from what was named
        if not path.endswith("/"):
            yield Source(path, found=True)
            continue
        path = path[:-1]
        try:
            with os.scandir(path) as entries:
                kinds = ((entry.name, _kind(entry)) for entry in entries)
                names = [f"{name}/" if kind == "folder" else name for name, kind in kinds if kind]
        except OSError as error:
            yield Source(path, ImageError(reason(error)))
            continue
        names.sort(key=lambda name: os.fsencode(name.removesuffix("/")), reverse=True)
        waiting.append((path, names))


def _kind(entry: os.DirEntry[str]) -> str | None:
    """Tell a folder from a file; what can't be looked at is a file, whose fault will be told."""
    try:
        if entry.is_dir(follow_symlinks=False):
            return "folder"
        mode = entry.stat().st_mode
        return "file" if stat.S_ISREG(mode) else None
    except OSError:
        return "file"
