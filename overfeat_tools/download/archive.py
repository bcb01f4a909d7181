"""Weight files out of a tar, tgz or zip archive of unknown origin.

Nothing is extracted to a path, or as a kind of file, that the archive names: a member is recognised by the last
component of its name and by its size, which must be that of a weight file, and only its content is used.
"""

import functools
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

from overfeat_tools.download.sources import WeightFile
from overfeat_tools.errors import WeightsError

_HEAD_BYTES = 512
_CHUNK_BYTES = 1 << 20
_MOST_HEADER_BYTES = 1 << 20  # of all headers of a tar together, or of the directory of a zip
_MARKS = {"gzip": (0, b"\x1f\x8b"), "zip": (0, b"PK"), "tar": (257, b"ustar")}
_BOUNDED_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # others may take any amount of memory in zipfile
_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, struct.error, EOFError, ValueError,
    ArithmeticError, LookupError, RuntimeError,
)  # fmt: skip
_Member = tuple[str, int, Callable[[], IO[bytes]]]  # its name, its size, and a function that opens it


def kind_of(head: bytes) -> str:
    """Tell from a few hundred bytes whether a file is a gzip, zip or tar archive; an empty string if it is none."""
    return next((kind for kind, (at, mark) in _MARKS.items() if head[at : at + len(mark)] == mark), "")


def file_of_size(size: int | None, files: Sequence[WeightFile]) -> WeightFile | None:
    """Give the weight file that has this size, if one has."""
    return next((file for file in files if file.size == size), None)


def read_archive(path: Path, files: Sequence[WeightFile]) -> Iterator[tuple[WeightFile, bytes]]:
    """Give the content of weight files, in chunks, from an archive or from a bare file, known by its size.

    When this ends, all that it gave was intact as far as the archive's own checksums can tell.

    Raises
    ------
    WeightsError
        It is broken, or neither of them.
    """
    wanted = {file.name: file for file in files}
    try:
        with path.open("rb") as content:
            for name, size, open_member in _members(content, files):
                file = wanted.pop(name.replace("\\", "/").rpartition("/")[2], None)
                if file and size != file.size:
                    raise WeightsError(f"{file.name} in it has {size} bytes, {file.size} expected")
                if file:
                    member = open_member()
                    yield from ((file, chunk) for chunk in iter(lambda: member.read(_CHUNK_BYTES), b""))  # noqa: B023
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(f"broken archive: {reason[:1].lower()}{reason[1:]}") from error


def _members(content: io.BufferedReader, files: Sequence[WeightFile]) -> Iterator[_Member]:
    size = os.fstat(content.fileno()).st_size
    kind = kind_of(content.peek(_HEAD_BYTES))
    if file := file_of_size(size, files):
        yield file.name, size, lambda: content
    elif kind == "zip":
        yield from _zip_members(content, size)
    elif kind:
        yield from _tar_members(content if kind == "tar" else cast("IO[bytes]", gzip.GzipFile(fileobj=content)))
    else:
        sizes = " or ".join(f"{file.size} bytes ({file.name})" for file in files)
        raise WeightsError(f"neither a tar, tgz or zip archive nor a weight file: that has {sizes}, this has {size}")


def _tar_members(content: IO[bytes]) -> Iterator[_Member]:
    stream = _Bounded(content)
    tar = tarfile.TarFile(fileobj=cast("IO[bytes]", stream))

    def open_member(member: tarfile.TarInfo) -> IO[bytes]:
        stream.budget += member.size
        return tar.extractfile(member) or content

    for member in tar:
        if member.isreg() and not member.issparse():
            yield member.name, member.size, functools.partial(open_member, member)
    while content.read(_CHUNK_BYTES):  # gzip's checksum is at the end
        pass


def _zip_members(content: IO[bytes], size: int) -> Iterator[_Member]:
    stream = _Bounded(content)
    with zipfile.ZipFile(stream) as archive:
        stream.budget = size + _MOST_HEADER_BYTES
        for member in archive.infolist():
            if member.compress_type in _BOUNDED_METHODS:
                yield member.filename, member.file_size, functools.partial(archive.open, member)


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
