"""Weight files out of a tar, tgz or zip archive of unknown origin.

Nothing is extracted to a path, or as a kind of file, that the archive names: a member is recognised by the last
component of its name and by its size, which must be that of a weight file, and only its content is used.
"""

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from overfeat_tools.download.folder import NEW
from overfeat_tools.download.sources import WeightFile, file_of_size
from overfeat_tools.errors import WeightsError, reason

_CHUNK_BYTES = 1 << 20
_MOST_HEADER_BYTES = 1 << 20  # of all headers of a tar together, or of the directory of a zip
_MARKS = {"gzip": (0, b"\x1f\x8b"), "zip": (0, b"PK"), "tar": (257, b"ustar")}
_BOUNDED_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # others may take any amount of memory in zipfile
_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, struct.error, EOFError, ValueError,
    ArithmeticError, LookupError, RuntimeError,
)  # fmt: skip
_Members = Iterator[tuple[WeightFile, IO[bytes]]]


def kind_of(head: bytes) -> str:
    """Tell from a few hundred bytes whether a file is a gzip, zip or tar archive; an empty string if it is none."""
    return next((kind for kind, (at, mark) in _MARKS.items() if head[at : at + len(mark)] == mark), "")


def bare_file(content: io.BufferedReader, files: Sequence[WeightFile]) -> WeightFile | None:
    """Tell which weight file this is by itself, if it is one."""
    file = file_of_size(os.fstat(content.fileno()).st_size, files)
    # One with a header has no exact size: an archive of it may have the same.
    return None if file and file.names and kind_of(content.peek()) else file


def unpack(path: Path, files: Sequence[WeightFile], folder: Path, advance: Callable[[int], None]) -> dict[str, Path]:
    """Unpack weight files from an archive, or copy a bare one, which is known by its size.

    Parameters
    ----------
    path : Path
        The archive.
    files : sequence of WeightFile
        Those that are wanted.
    folder : Path
        Where to unpack them; they get the suffix `.new`.
    advance : callable
        Called with the number of bytes just written.

    Returns
    -------
    dict
        What was found, by name; it is intact as far as the archive's own checksums can tell.

    Raises
    ------
    WeightsError
        It is broken, or neither an archive nor a weight file.
    """
    unpacked = {}
    try:
        with path.open("rb") as content:
            for file, member in _members(content, {file.name: file for file in files}):
                unpacked[file.name] = folder / f"{file.name}{NEW}"
                with unpacked[file.name].open("wb") as out:
                    while chunk := member.read(_CHUNK_BYTES):
                        out.write(chunk)
                        advance(len(chunk))
    except _BROKEN as error:
        raise WeightsError(f"broken archive: {reason(error)}") from error
    return unpacked


def _members(content: io.BufferedReader, wanted: dict[str, WeightFile]) -> _Members:
    size, kind, files = os.fstat(content.fileno()).st_size, kind_of(content.peek()), list(wanted.values())
    if file := bare_file(content, files):
        yield file, content
    elif kind == "zip":
        yield from _zip_members(content, size, wanted)
    elif kind:
        tar = content if kind == "tar" else cast("IO[bytes]", gzip.GzipFile(fileobj=content))
        yield from _tar_members(tar, wanted)
    else:
        names = " or ".join(map(str, files))
        raise WeightsError(f"neither a tar, tgz or zip archive nor a weight file: {names} expected, {size} bytes found")


def _tar_members(content: IO[bytes], wanted: dict[str, WeightFile]) -> _Members:
    stream = _Bounded(content)
    tar = tarfile.TarFile(fileobj=cast("IO[bytes]", stream))
    for member in tar:
        if member.isreg() and not member.issparse() and (file := _take(wanted, member.name, member.size)):
            stream.budget += member.size
            yield file, cast("IO[bytes]", tar.extractfile(member))
    while content.read(_CHUNK_BYTES):  # gzip's checksum is at the end
        pass


def _zip_members(content: IO[bytes], size: int, wanted: dict[str, WeightFile]) -> _Members:
    stream = _Bounded(content)
    with zipfile.ZipFile(stream) as archive:
        stream.budget = size + _MOST_HEADER_BYTES
        for member in archive.infolist():
            if member.compress_type in _BOUNDED_METHODS and (file := _take(wanted, member.filename, member.file_size)):
                yield file, archive.open(member)


def _take(wanted: dict[str, WeightFile], name: str, size: int) -> WeightFile | None:
    """Take the file that a member is out of those wanted: where there are two of a name, the first counts."""
    file = wanted.pop(name.replace("\\", "/").rpartition("/")[2], None)
    if file and not file.may_have(size):
        raise WeightsError(f"{file} expected, one of {size} bytes found in it")
    return file


class _Bounded:
    """A stream that gives only so much: tarfile and zipfile read whatever size a header claims into memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._read, self.budget = stream.read, _MOST_HEADER_BYTES
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable

    def read(self, size: int = -1) -> bytes:
        most = self.budget + 1
        data = self._read(most if size < 0 else min(size, most))
        self.budget -= len(data)
        if self.budget < 0:
            raise ValueError("its headers are too large")
        return data
