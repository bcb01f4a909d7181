"""The folder of the weights: locked while it is changed, and never showing half a file.

All that is unfinished lies in the folder `.download` inside it: the same file system, so that a
finished file gets its name in one step.
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from overfeat_tools.download import manifest
from overfeat_tools.download.manifest import Record
from overfeat_tools.errors import OverfeatError

SCRATCH = ".download"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PUNCH_HOLE_KEEP_SIZE = 3
_PUNCH_STEP = 32 << 20


@contextlib.contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn the file system's errors into ours."""
    try:
        yield
    except OSError as error:
        message = f"{path}: {(error.strerror or str(error)).lower()}"
        if error.errno in _FULL:
            message += "; make room and run this again: it goes on from where it stopped"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT):
            message += "; name a folder that you can write to with -d"
        raise OverfeatError(message) from error


class Part:
    """What is there of a download that isn't finished, with what is known of the whole.

    Parameters
    ----------
    path : Path
        Where it is kept; its state lies beside it.
    names : sequence of str
        The files that it is fetched for.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path = path
        self._names = list(names)
        self._state = path.with_suffix(".json")
        self.total: int | None = None
        self.validator: str | None = None
        self._complete = False
        with disk(path), contextlib.suppress(ValueError, FileNotFoundError, AttributeError):
            state: dict[str, Any] = json.loads(self._state.read_bytes())
            self.total, self.validator = state.get("total"), state.get("validator")
            self._complete = state.get("complete") is True
        if not isinstance(self.total, int | None) or not isinstance(self.validator, str | None) or not self._known():
            self.clear()

    def _known(self) -> bool:
        return self._state.exists() or not self.path.exists()

    @property
    def size(self) -> int:
        """How many bytes are there."""
        with disk(self.path):
            return self.path.stat().st_size if self.path.exists() else 0

    @property
    def complete(self) -> bool:
        """Whether it is all there."""
        return self._complete and self.size == self.total

    def begin(self, total: int | None, validator: str | None) -> None:
        """Start with nothing."""
        with disk(self.path):
            self.path.write_bytes(b"")
        self.total, self.validator, self._complete = total, validator, False
        self._save()

    @contextlib.contextmanager
    def appending(self) -> Iterator[Callable[[bytes], object]]:
        """Give a function that adds bytes."""
        with disk(self.path):
            file = self.path.open("ab", buffering=0)
        try:

            def append(chunk: bytes) -> None:
                with disk(self.path):
                    view = memoryview(chunk)
                    while view:
                        view = view[file.write(view) :]

            yield append
        finally:
            file.close()

    def tail(self, count: int) -> bytes:
        """Give the last bytes."""
        with disk(self.path), self.path.open("rb") as file:
            file.seek(-count, os.SEEK_END)
            return file.read()

    def finish(self) -> None:
        """Say that it is all there."""
        self.total, self._complete = self.size, True
        self._save()

    def keep(self) -> None:
        """See to it that it is on the disk, and not only in memory."""
        with disk(self.path), self.path.open("rb") as file:
            os.fsync(file.fileno())

    def give_up(self) -> None:
        """Say that it will not be whole any more: the next run won't take it for a part."""
        with disk(self.path):
            self._state.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove it."""
        with disk(self.path):
            self.path.unlink(missing_ok=True)
            self._state.unlink(missing_ok=True)
        self.total, self.validator, self._complete = None, None, False

    def _save(self) -> None:
        text = json.dumps(
            {"total": self.total, "validator": self.validator, "complete": self._complete, "for": self._names}
        )
        with disk(self._state):
            temporary = self._state.with_suffix(".new")
            temporary.write_text(text)
            temporary.replace(self._state)


class Store:
    """The folder, for one process at a time.  A context manager.

    Parameters
    ----------
    folder : Path
        Is made if it isn't there.
    tell : callable
        Prints a line.

    Raises
    ------
    OverfeatError
        It can't be made or written.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self.folder = folder
        self.scratch = folder / SCRATCH
        with disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._lock(tell)
            with disk(self.scratch):
                self.scratch.mkdir(exist_ok=True)
                for left in self.scratch.glob("*.new"):
                    left.unlink()
        except BaseException:
            os.close(self._descriptor)
            raise

    def _lock(self, tell: Callable[[str], None]) -> None:
        try:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell(f"{self.folder}: another of-download is at work here; waiting for it")
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except OSError:
            # Some network file systems lock no folders.
            tell(f"{self.folder}: can't be locked; don't run of-download twice at a time here")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            for left in self.scratch.glob("*.new"):
                left.unlink()
            self.scratch.rmdir()  # unless a part is in it
        os.close(self._descriptor)

    def part(self, url: str, names: Sequence[str]) -> Part:
        """Give what is there of a URL, which is to give the files named."""
        return Part(
            self.scratch / f"{hashlib.sha256(url.encode(errors='surrogateescape')).hexdigest()[:16]}.part", names
        )

    def sweep(self, wanted: Collection[str]) -> None:
        """Remove the parts whose files are all there: this was ended between installing and removing."""
        for state in self.scratch.glob("*.json"):
            with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
                names = json.loads(state.read_bytes()).get("for")
                if names and not any(name in wanted or not (self.folder / name).exists() for name in names):
                    state.with_suffix(".part").unlink(missing_ok=True)
                    state.unlink()

    def clear(self) -> None:
        """Remove all that is unfinished."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self.scratch)

    def free(self) -> int:
        """Give the free space in bytes."""
        with disk(self.folder):
            return shutil.disk_usage(self.folder).free

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[tuple[Path, Callable[[bytes], object]]]:
        """Give the path of a new file, and a function that adds bytes to it; it is on the disk when this ends."""
        path = self.scratch / f"{name}.new"
        with disk(path):
            file = path.open("wb", buffering=0)
        try:

            def write(chunk: bytes) -> None:
                with disk(path):
                    view = memoryview(chunk)
                    while view:
                        view = view[file.write(view) :]

            yield path, write
            with disk(path):
                os.fsync(file.fileno())
        finally:
            file.close()

    def install(self, path: Path, name: str) -> None:
        """Give a finished file its name, in one step."""
        with disk(self.folder / name):
            path.replace(self.folder / name)
            os.fsync(self._descriptor)

    def record(self, records: dict[str, Record]) -> None:
        """Write the manifest."""
        with self.writing(manifest.NAME) as (path, write):
            write(manifest.manifest_text(records))
        self.install(path, manifest.NAME)


def puncher(path: Path) -> Callable[[int], None] | None:
    """Make a function that gives the space of the first bytes of a file back; None where that can't be done."""
    library = ctypes.CDLL(None, use_errno=True)
    if sys.maxsize < 1 << 32 or not hasattr(library, "fallocate"):
        return None
    library.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]

    def punch(start: int, end: int) -> bool:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            return bool(library.fallocate(descriptor, _PUNCH_HOLE_KEEP_SIZE, start, end - start) == 0)
        finally:
            os.close(descriptor)

    size = path.stat().st_size
    if not punch(size, size + 4096):  # beyond the end: harmless
        return None
    done = 0

    def release(offset: int) -> None:
        nonlocal done
        if offset - done >= _PUNCH_STEP:
            punch(done, offset)
            done = offset

    return release
