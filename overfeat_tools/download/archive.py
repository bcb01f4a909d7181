"""Weight files out of a tar, tgz or zip of unknown origin, as a stream.

Nothing in an archive is believed.  A member counts by the last part of its name alone and is
written under a name of our own, so where it wants to go doesn't matter; links, devices and sparse
files don't count; a member must have exactly the size of a weight file, so it can't grow; what is
decompressed in all, and read at a time, is limited, so neither can the rest of the archive.
"""

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from overfeat_tools.download.inspection import WeightFile
from overfeat_tools.errors import OverfeatError, WeightsError

HEAD_BYTES = 512  # enough to know an archive by
_CHUNK = 1 << 20
_COMPRESSED_CHUNK = 1 << 18
_MOST_MEMBERS = 10_000
_MOST_GZIP_MEMBERS = 100_000  # programs that compress in parallel make one of every 64 kB
_MOST_HEADER_BYTES = 1 << 17
_MOST_LAYERS = 2  # of gzip: a server may have put one around a tgz
_ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_LEAST_GZIP_BYTES = 18
_TEXT_BYTES = b"\t\n\f\r" + bytes(range(32, 256))
_CUT = "it is cut short"
_BY_HAND = "unpack it, and name the folder with --from"

Release = Callable[[int], None]


def guess(head: bytes) -> str:
    """Guess from its first `HEAD_BYTES` what a file is: gzip, zip, tar, page, other archive or nothing known."""
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if head[257:262] == b"ustar":
        return "tar"
    if (
        head[:3] == b"BZh"
        or head[:6] in (b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c")
        or head[:4] in (b"Rar!", b"\x28\xb5\x2f\xfd")
    ):
        return "other archive"
    # A number of a weight file may begin with any byte: a page is text all through.
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return "page" if text[:1] == b"<" and not text.translate(None, _TEXT_BYTES) else ""


def unpack(
    path: Path, files: Sequence[WeightFile], where: str, release: Release | None = None
) -> Iterator[tuple[WeightFile, bytes]]:
    """Give the weight files in an archive, or the one that a bare file is, chunk by chunk.

    That the iterator ends means that all it gave was whole, as far as the archive can tell; a
    file that isn't in there is simply not given.

    Parameters
    ----------
    path : Path
        The archive.
    files : sequence of WeightFile
        What is wanted.
    where : str
        What to call the archive in messages.
    release : callable, optional
        Told up to which offset the archive is not needed any more.

    Raises
    ------
    WeightsError
        The archive is broken, or not what it should be.
    OverfeatError
        It can't be read.
    """
    with _reading(where), path.open("rb") as file:
        size = path.stat().st_size
        chunks = _released(file, release)
        for layers in range(_MOST_LAYERS + 1):
            head, chunks = _peek(chunks)
            match guess(head):
                case "gzip" if layers < _MOST_LAYERS:
                    if layers == 0:
                        if size < _LEAST_GZIP_BYTES:
                            raise EOFError(_CUT)
                        file.seek(size - 4)
                        size = struct.unpack("<I", file.read(4))[0]  # how gzip tells what it holds
                        file.seek(0)
                        chunks = _released(file, release)
                    chunks = _gunzip(chunks)
                case "tar":
                    return (yield from _untar(chunks, files))
                case "zip" if layers == 0:
                    return (yield from _unzip(file, files, release))
                case kind:
                    bare = next((file for file in files if file.size == size and not kind), None)
                    if bare is None:
                        raise WeightsError(_unknown(where, kind, size, files))
                    return (yield from ((bare, chunk) for chunk in chunks))


def _unknown(where: str, kind: str, size: int, files: Sequence[WeightFile]) -> str:
    if kind == "page":
        return f"{where}: a web page, not an archive of the weights"
    if kind:
        return f"{where}: not a kind of archive known here; {_BY_HAND}"
    sizes = " or ".join(f"{file.size} bytes ({file.name})" for file in files)
    return f"{where}: neither a tar, tgz or zip archive nor a weight file: that is {sizes}, this {size}"


@contextmanager
def _reading(where: str) -> Iterator[None]:
    """Turn all that a broken archive may cause into one error."""
    try:
        yield
    except (
        tarfile.TarError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, ArithmeticError,
        LookupError, RuntimeError,
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"{where}: broken archive: {reason[:1].lower()}{reason[1:]}"
        raise WeightsError(message) from error
    except OSError as error:
        message = f"{where}: {error.strerror or error}"
        raise OverfeatError(message) from error


def _released(file: IO[bytes], release: Release | None) -> Iterator[bytes]:
    while chunk := file.read(_COMPRESSED_CHUNK):
        if release is not None:
            release(file.tell() - len(chunk))
        yield chunk


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Look at the head; give the chunks again."""
    first = b""
    while len(first) < HEAD_BYTES and (chunk := next(chunks, b"")):
        first += chunk

    def again() -> Iterator[bytes]:
        if first:
            yield first
        yield from chunks

    return first[:HEAD_BYTES], again()


def _gunzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress gzip, member after member; its checksum is verified by zlib."""
    inflate = zlib.decompressobj(wbits=31)
    members = 0
    for chunk in chunks:
        rest = chunk
        while rest:
            if inflate.eof:
                if not rest.lstrip(b"\0"):
                    break  # padding, as on tapes
                inflate = zlib.decompressobj(wbits=31)
                members += 1
                _bounded(members, _MOST_GZIP_MEMBERS)
            if out := inflate.decompress(rest, _CHUNK):
                yield out
            rest = inflate.unconsumed_tail or inflate.unused_data
    while not inflate.eof and (out := inflate.decompress(inflate.unconsumed_tail, _CHUNK)):
        yield out
    if not inflate.eof:
        raise EOFError(_CUT)


def _base(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


class _Forward(io.RawIOBase):
    """A stream that tarfile can read and skip in, but never in large steps nor for ever.

    It goes back by one byte at most: tarfile looks at the last byte before a header.
    """

    def __init__(self, chunks: Iterator[bytes], limit: int) -> None:
        self._chunks = chunks
        self._data, self._at = b"", 0  # what is there, and how far it is read
        self._before = 0  # position of `_data` in the stream
        self._limit = limit
        self.allow_header()

    def _more(self) -> bool:
        chunk = next(self._chunks, b"")
        kept = max(self._at - 1, 0)
        self._before += kept
        self._data, self._at = self._data[kept:] + chunk, self._at - kept
        if self.tell() > self._limit:
            message = f"more than {self._limit} bytes come out of it"
            raise ValueError(message)
        return bool(chunk)

    def allow_header(self) -> None:
        """Let tarfile read another header: it would believe any size."""
        self._allowed = _MOST_HEADER_BYTES

    def read(self, size: int = -1) -> bytes:
        self._allowed -= size
        if size < 0 or self._allowed < 0:
            message = f"a header of more than {_MOST_HEADER_BYTES} bytes"
            raise ValueError(message)
        return self.take(size)

    def take(self, size: int) -> bytes:
        """Read the content of a member."""
        while len(self._data) - self._at < size and self._more():
            pass
        out = self._data[self._at : self._at + size]
        self._at += len(out)
        return out

    def tell(self) -> int:
        return self._before + self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._before or offset < self.tell() - 1:
            message = "its headers contradict each other"
            raise ValueError(message)
        while offset > self._before + len(self._data):
            self._at = len(self._data)
            if not self._more():
                return self.tell()
        self._at = offset - self._before
        return offset

    def drain(self) -> None:
        """Read to the end, so that the checksum there is verified."""
        self._at = len(self._data)
        while self._more():
            self._at = len(self._data)


def _untar(chunks: Iterator[bytes], files: Sequence[WeightFile]) -> Iterator[tuple[WeightFile, bytes]]:
    wanted = {file.name: file for file in files}
    stream = _Forward(chunks, _limit(files))
    tar = tarfile.TarFile(fileobj=stream)
    given: set[str] = set()
    for count in range(_MOST_MEMBERS + 1):
        stream.allow_header()
        member = tar.next()
        if member is None:
            break
        tar.members.clear()  # type: ignore[attr-defined] # it would remember them all
        name = _base(member.name)
        if name in wanted and member.isreg() and not member.issparse():
            _admit(wanted[name], member.size, given)
            stream.seek(member.offset_data)
            yield from ((wanted[name], chunk) for chunk in _exactly(stream.take, member.size))
        _bounded(count)
    stream.drain()


def _unzip(file: IO[bytes], files: Sequence[WeightFile], release: Release | None) -> Iterator[tuple[WeightFile, bytes]]:
    wanted = {file.name: file for file in files}
    given: set[str] = set()
    with zipfile.ZipFile(_SmallSteps(file)) as archive:
        members = [member for member in archive.infolist() if _base(member.filename) in wanted]
        _bounded(len(archive.filelist))
        for member in sorted(members, key=lambda member: member.header_offset):
            kind = member.external_attr >> 28 if member.create_system == 3 else 0  # noqa: PLR2004 -- 3 is Unix
            if member.is_dir() or kind not in (0, 0o10):
                continue  # a folder, a link, a device
            wanted_file = wanted[_base(member.filename)]
            _admit(wanted_file, member.file_size, given)
            if member.flag_bits & 1 or member.compress_type not in _ZIP_METHODS:
                message = (
                    "it is encrypted or compressed in a way not known here; unpack it, and name the folder with --from"
                )
                raise ValueError(message)
            with archive.open(member) as content:
                for chunk in _exactly(content.read, member.file_size):
                    yield wanted_file, chunk
                    if release is not None:
                        release(max(file.tell() - _CHUNK, 0))
                if content.read(1):
                    message = f"{wanted_file.name} is longer than it says"
                    raise ValueError(message)


class _SmallSteps(io.RawIOBase):
    """A file that zipfile can read, but not in large steps: its table of contents is read at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            start = self._file.tell()
            size = self._file.seek(0, io.SEEK_END) - start
            self._file.seek(start)
        if size > _CHUNK:
            message = "its table of contents is too large"
            raise ValueError(message)
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


def _limit(files: Sequence[WeightFile]) -> int:
    """Give the most bytes that may come out of an archive: it may hold more than is wanted."""
    return 4 * sum(file.size for file in files) + (64 << 20)


def _admit(file: WeightFile, size: int, given: set[str]) -> None:
    if file.name in given:
        message = f"it holds {file.name} twice"
        raise ValueError(message)
    given.add(file.name)
    if size != file.size:
        message = f"{file.name} in it has {size} bytes, {file.size} expected"
        raise ValueError(message)


def _bounded(count: int, most: int = _MOST_MEMBERS) -> None:
    if count >= most:
        message = f"it has more than {most} members"
        raise ValueError(message)


def _exactly(read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
    while size:
        chunk = read(min(size, _CHUNK))
        if not chunk:
            raise EOFError(_CUT)
        size -= len(chunk)
        yield chunk
