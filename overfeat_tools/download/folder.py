"""The folder of the weights: changed by one process at a time, and never showing half a file.

What is unfinished lies in `.download` inside it, on the same file system: a finished file gets its name in one step.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from overfeat_tools.download.sources import WeightFile, file_of_size
from overfeat_tools.errors import OverfeatError, reason

NEW = ".new"  # the suffix of files that are being written
_SLACK_BYTES = 16 << 20  # free space that is left alone
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def locked(folder: Path, log: Callable[[str], None]) -> Iterator[Path]:
    """Give a folder for unfinished files inside a folder, when no other process works there; create both.

    Raises
    ------
    OverfeatError
        In place of the file system's own errors, those of the block, too.
    """
    unfinished = folder / ".download"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            _lock(descriptor, lambda line: log(f"{folder}: {line}"))
            unfinished.mkdir(exist_ok=True)
            _tidy(unfinished)
            yield unfinished
            shutil.rmtree(unfinished)
        finally:
            _tidy(unfinished)
            with suppress(OSError):
                unfinished.rmdir()  # unless there is a download to resume
            os.close(descriptor)
    except OSError as error:
        advice = "make room and run this again" if error.errno in _FULL else "another folder can be named with -d"
        raise OverfeatError(f"{error.filename or folder}: {reason(error)}; {advice}") from error


def _lock(descriptor: int, log: Callable[[str], None]) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log("another of-download is at work here; waiting for it")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # some network file systems can't lock folders
        log("can't be locked; don't run of-download twice at a time here")


def _tidy(unfinished: Path) -> None:
    for path in unfinished.glob(f"*{NEW}"):
        path.unlink()


def install(path: Path, place: Path) -> None:
    """Give a finished file its name, in one step, once it is safe on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.replace(place)


def require_space(folder: Path, files: Sequence[WeightFile], total: int | None = None, here: int = 0) -> None:
    """Check that there is room for the rest of a download, `here` of `total` bytes, and for what is unpacked from it.

    Raises
    ------
    OverfeatError
        There is not.
    """
    weights = sum(file.size for file in files)
    rest = max(weights - here, 0) if total is None else total - here + (0 if file_of_size(total, files) else weights)
    free = shutil.disk_usage(folder).free
    if free < rest + _SLACK_BYTES:
        needed = f"{free / 1e6:.0f} MB free, {(rest + _SLACK_BYTES) / 1e6:.0f} MB needed"
        raise OverfeatError(f"{folder}: {needed}; make room, or name another folder with -d")
