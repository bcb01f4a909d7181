"""Where results go: a folder here or elsewhere, in which every file is whole or not there.

What belongs to the program and not to the results lies in the folder `.of-batch` inside it.
"""

import ctypes
import errno
import fcntl
import itertools
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from overfeat_tools.batch.storage import file_system, is_remote, retried
from overfeat_tools.errors import OverfeatError, UsageError, reason

OWN = ".of-batch"
_TEMPORARY = "unfinished-"
_UPLOADS = 16  # at a time
_BUFFER_BYTES = 1 << 16  # the features of a picture at once


def open_output(place: str) -> "Output":
    """Open a folder for results, which is made if it isn't there."""
    return Bucket(place) if is_remote(place) else Folder(place)


class Output(ABC):
    """A folder for results; names are relative to it."""

    place: str
    unknown_size = -1

    @abstractmethod
    def local_name(self) -> str:
        """Give the name of a new file here, which can be moved to its place."""

    @abstractmethod
    def move(self, file: str, name: str, *, safely: bool = True, replacing: bool = True) -> bool:
        """Move a finished file to its place, in one step; tell whether it was done, as there may be one already."""

    @abstractmethod
    def open(self, name: str) -> IO[bytes] | None:
        """Open a file, if it is there."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Give the size of a file, if it is there; `unknown_size` where asking takes long."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Give the names of the files in a folder."""

    @abstractmethod
    def secure(self) -> None:
        """Flush all files that weren't moved safely to disk."""

    @abstractmethod
    def close(self) -> None:
        """Remove what is unfinished."""

    def read(self, name: str) -> bytes | None:
        """Read a file, if it is there."""
        file = self.open(name)
        if file is None:
            return None
        with file:
            return file.read()

    def write(self, name: str, pieces: Iterable[bytes | memoryview], *, safely: bool = True) -> int:
        """Write a file; give its size."""
        path = self.local_name()
        with self.told(name):
            with open(path, "wb", _BUFFER_BYTES) as file:  # noqa: PTH123 -- one of very many
                file.writelines(pieces)
                size = file.tell()
            self.move(path, name, safely=safely)
        return size

    @contextmanager
    def told(self, name: str) -> Iterator[None]:
        """Say of which file an error is."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise
            raise OverfeatError(f"{self.place}/{name}: {reason(error)}; run it again when that is mended") from error


class Folder(Output):
    """A folder here.

    What is unfinished lies in a folder of each process's own, which it locks: others know by that whether it is alive.
    """

    def __init__(self, place: str) -> None:
        self.place, self._root = place, Path(place)
        self._numbers, self._made = itertools.count(), set[str]()
        try:
            (self._root / OWN).mkdir(parents=True, exist_ok=True)
            self._tidy()
            self._lock: int | None = None
            while self._lock is None:
                self._unfinished = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self._root / OWN))
                self._lock = _locked(self._unfinished)
        except OSError as error:
            raise UsageError(f"-o {place}: {reason(error)}") from error

    def _tidy(self) -> None:
        """Remove what processes left that are no more."""
        for path in (self._root / OWN).glob(f"{_TEMPORARY}*"):
            with suppress(OSError):
                lock = os.open(path, os.O_RDONLY)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
                finally:
                    os.close(lock)

    def local_name(self) -> str:
        """Give the name of a new file, on the same file system."""
        return f"{self._unfinished}/{next(self._numbers)}"

    def move(self, file: str, name: str, *, safely: bool = True, replacing: bool = True) -> bool:
        """Move a finished file to its place."""
        place, folder = f"{self._root}/{name}", name.rpartition("/")[0]
        if safely:
            _sync(file)
        if folder not in self._made:
            (self._root / folder).mkdir(parents=True, exist_ok=True)
            self._made.add(folder)
        if replacing:
            os.replace(file, place)  # noqa: PTH105 -- one of very many
            return True
        try:
            os.link(file, place)
        except FileExistsError:
            return False
        finally:
            Path(file).unlink()
        return True

    def open(self, name: str) -> IO[bytes] | None:
        """Open a file, if it is there."""
        try:
            return (self._root / name).open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OverfeatError(f"{self._root / name}: {reason(error)}") from error

    def size(self, name: str) -> int | None:
        """Give the size of a file, if it is there."""
        try:
            return (self._root / name).stat().st_size
        except OSError:
            return None

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self.told(name):
            (self._root / name).unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        """Give the names of the files in a folder."""
        place = self._root / folder
        return sorted(path.name for path in place.iterdir() if path.is_file()) if place.is_dir() else []

    def secure(self) -> None:
        """Flush all files to disk: at once, which takes a fraction of the time that it takes one by one."""
        with self.told(OWN):
            _sync(self._root, _sync_file_system)

    def close(self) -> None:
        """Remove what is unfinished."""
        if self._lock is not None:
            shutil.rmtree(self._unfinished, ignore_errors=True)
            os.close(self._lock)
            self._lock = None


def _locked(folder: Path) -> int | None:
    """Lock a new folder; None if another process, which took it for an old one, has removed it before."""
    try:
        lock = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with suppress(OSError):  # not every file system can
        fcntl.flock(lock, fcntl.LOCK_EX)
    if folder.exists():
        return lock
    os.close(lock)
    return None


def _sync(path: str | Path, sync: Callable[[int], None] = os.fsync) -> None:
    """Flush a file to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file_system(descriptor: int) -> None:
    """Flush the file system that a file is on to disk; all of them, where the system can't do one alone."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
    elif syncfs(descriptor):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Bucket(Output):
    """A folder elsewhere.  A file comes to be there by one upload, which is completed or counts for nothing."""

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/")
        self._fs, self._root = file_system(self.place)
        self._folder = tempfile.TemporaryDirectory(prefix="of-batch-")
        self._numbers = itertools.count()
        self._uploaders = ThreadPoolExecutor(_UPLOADS)
        self._uploads: deque[Future[None]] = deque()

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def local_name(self) -> str:
        """Give the name of a new file here."""
        return f"{self._folder.name}/{next(self._numbers)}"

    def move(self, file: str, name: str, *, safely: bool = True, replacing: bool = True) -> bool:
        """Upload a finished file."""
        place = f"{self.place}/{name}"
        if not replacing and retried(lambda: self._fs.exists(self._path(name)), place):
            return False
        upload = self._uploaders.submit(self._upload, file, name)
        if safely:
            upload.result()
        else:  # many small files: several at a time
            self._uploads.append(upload)
            self._finish_uploads(_UPLOADS)
        return True

    def _upload(self, file: str, name: str) -> None:
        retried(lambda: self._fs.put_file(file, self._path(name)), f"{self.place}/{name}")
        Path(file).unlink()

    def _finish_uploads(self, ahead: int) -> None:
        while len(self._uploads) > ahead:
            self._uploads.popleft().result()

    def secure(self) -> None:
        """Wait until all files are there."""
        self._finish_uploads(0)

    def open(self, name: str) -> IO[bytes] | None:
        """Open a file, if it is there."""
        try:
            opened: Any = retried(lambda: self._fs.open(self._path(name), "rb"), f"{self.place}/{name}")
        except FileNotFoundError:
            return None
        return opened  # type: ignore[no-any-return]

    def size(self, name: str) -> int | None:
        """Tell nothing: each answer would be a request."""
        del name
        return self.unknown_size

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            retried(lambda: self._fs.rm_file(self._path(name)), f"{self.place}/{name}")

    def names(self, folder: str) -> list[str]:
        """Give the names of the files in a folder."""
        try:
            self._fs.invalidate_cache()
            found = retried(lambda: self._fs.ls(self._path(folder), detail=False), f"{self.place}/{folder}")
        except FileNotFoundError:
            return []
        return sorted(name.rstrip("/").rpartition("/")[2] for name in found)

    def close(self) -> None:
        """Remove what is unfinished."""
        self._uploaders.shutdown(cancel_futures=True)
        self._folder.cleanup()
