"""The process that decodes pictures: whatever a picture does to it, the one that computes goes on.

It is started by `readers`, which sends it a `Reading` and then tasks, one after the other, and gets for each the
pictures that it found.  A picture that takes too long is ended by an alarm.
"""

import hashlib
import os
import pickle
import re
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from overfeat_tools.backend import Array
from overfeat_tools.batch.rows import DAMAGED, NO_MEMORY, NO_PICTURE, UNREADABLE, WRONG_SIZE, Row, Shown
from overfeat_tools.errors import ImageError, reason
from overfeat_tools.pictures import Item, read_items
from overfeat_tools.pictures.kinds import NoPictureError
from overfeat_tools.pictures.picture import Wanted
from overfeat_tools.pictures.sources import Source

if TYPE_CHECKING:
    from overfeat_tools.batch.computing import Looking

MOST_SECONDS = 300
"""The longest that reading one file may take."""

_MOST_BYTES = 1 << 30  # of pixels of one file
_PICTURE_NAME = re.compile(
    r"\.(?:avif|bmp|dds|dib|gif|hei[cf]|icns|ico|j2k|jfif|jp2|jpe?g?|jxl|p[abgnp]m|pcx|png|psd|qoi|sgi|tga|tiff?|webp)\Z",
    re.IGNORECASE,
)

Seen = tuple[Row, Shown | None]
Found = list[Seen]
"""The pictures of a file: each has a row, and pixels if it can be used."""


@dataclass(frozen=True)
class Reading:
    """How to read: what is wanted of files, what brings pixels (H, W, 3) to a size or refuses them, and views."""

    wanted: Wanted
    prepare: Callable[[Array], Array]
    looking: "Looking | None" = None


class _Preparation:
    """What is wanted of files and made of pixels, with the views opened."""

    def __init__(self, reading: Reading) -> None:
        self._reading, self.wanted = reading, reading.wanted
        self._views = reading.looking.open() if reading.looking else None
        if self._views and self.wanted.side is not None:
            self.wanted = replace(self.wanted, side=max(self.wanted.side, self._views.side))

    def __call__(self, pixels: Array) -> Shown:
        """Make what is computed of a picture."""
        views = self._views.prepare(pixels) if self._views else ()
        return self._reading.prepare(pixels), *views


@dataclass(frozen=True)
class Task:
    """A file to read: by its place, or by its bytes.  One that was `named` is a failure if it is no picture."""

    name: str
    place: str | None
    data: bytes | None
    named: bool


def main() -> None:
    """Answer tasks on standard output as they come on standard input, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    tasks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):  # which libraries may print to
        os.dup2(null, descriptor)
    with suppress(BrokenPipeError, EOFError):
        reading = _Preparation(pickle.load(tasks))  # noqa: S301 -- from the process that started this one
        while True:
            task: Task = pickle.load(tasks)  # noqa: S301 -- as above
            signal.alarm(MOST_SECONDS)
            found = _read(task, reading)
            signal.alarm(0)
            pickle.dump(found, answers, protocol=5)
            answers.flush()
    os._exit(0)  # nothing is left to tidy up, or to say


def _read(task: Task, reading: _Preparation) -> Found:
    try:
        source, sha256 = _opened(task)
    except OSError as error:
        return [(Row(task.name, UNREADABLE, reason(error)), None)]
    return [(replace(row, sha256=sha256), shown) for row, shown in _pictures(task, source, reading)]


def _opened(task: Task) -> tuple[Source, str | None]:
    """Give what to read, with its SHA-256: its bytes, if there is an end to them and they can be held."""
    data = task.data
    if data is None:
        place = str(task.place)
        with open(place, "rb", buffering=0) as file:  # noqa: PTH123 -- a path of any bytes
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return Source(place), None
            if status.st_size > _MOST_BYTES:
                return Source(place), hashlib.file_digest(file, "sha256").hexdigest()
            data = file.readall()
    return Source("picture", data=data), hashlib.sha256(data).hexdigest()


def _pictures(task: Task, source: Source, reading: _Preparation) -> Iterator[Seen]:
    wanted, total = reading.wanted, 0
    items = read_items([source], {}, wanted.side, frames=wanted.frames, background=wanted.background)
    first = next(items, None)
    second = next(items, None)
    several = second is not None
    for count, item in enumerate((one for group in ([first, second], items) for one in group if one), start=1):
        error, shown = item.error, None
        if item.file != source.file:
            error = ImageError("an archive; the name of one must end in .tar, .tar.gz or .tgz")
        elif total > _MOST_BYTES:
            error = ImageError("more pictures in one file than can be held")
        if isinstance(error, NoPictureError) and not task.named and not _PICTURE_NAME.search(task.name):
            return
        status = None if error is None else _kind_of_failure(error)
        if error is None and item.pixels is not None:
            try:
                shown = reading(item.pixels)
            except (ImageError, MemoryError) as fault:
                error = fault if isinstance(fault, ImageError) else ImageError("not enough memory to fit it")
                status = WRONG_SIZE if isinstance(fault, ImageError) else NO_MEMORY
        frame = item.frame or (count if several else None)
        yield _row(replace(item, error=error, frame=frame), task.name, status), shown
        total += bytes_of(shown)
        if total > 2 * _MOST_BYTES or item.file != source.file:
            return


def bytes_of(shown: Shown | None) -> int:
    """Give the size of what a picture shows."""
    return sum(pixels.nbytes for pixels in shown or ())


def _row(item: Item, name: str, status: str | None) -> Row:
    width, height = item.size or (None, None)
    if status is None:
        return Row(name, warning=item.warning, width=width, height=height, frame=item.frame)
    return Row(name, status, str(item.error), width=width, height=height, frame=item.frame)


def _kind_of_failure(error: ImageError) -> str:
    if isinstance(error, NoPictureError):
        return NO_PICTURE
    return NO_MEMORY if "not enough memory" in str(error) else DAMAGED
