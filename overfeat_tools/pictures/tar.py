"""Members of a tar archive, as they come: no seeking, nothing kept, nothing written.

The headers are read by `tarfile`; its own way through a stream would keep a list of all members, read a header of any
length into memory, and take an archive that is cut off, or junk in it, for its end.

Source: POSIX, pax interchange format; the GNU tar manual, "Basic Tar Format".
"""

import re
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from overfeat_tools.errors import StreamError
from overfeat_tools.pictures.supply import Supply

_BLOCK = tarfile.BLOCKSIZE
_MOST_HEADER_BYTES = 1 << 20
_MOST_END_BYTES = 1 << 24
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE)
_RECORD = re.compile(rb"(\d{1,7}) ([^=]+)=")
_LONG_NAMES = {tarfile.GNUTYPE_LONGNAME: b"path", tarfile.GNUTYPE_LONGLINK: b"linkpath"}
_MORE_MAP_IN_HEADER, _MORE_MAP = 482, 504  # where a sparse file's blocks say that its map goes on
_ENCODING = sys.getfilesystemencoding()  # so that a name's bytes can be had again


@dataclass(frozen=True)
class Member:
    """A member: its name, how many bytes of it are next in the supply, and what it is."""

    name: str
    size: int
    is_file: bool
    is_sparse: bool
    is_folder: bool


def members(supply: Supply) -> Iterator[Member]:
    """Give the members of an archive, or of several one after the other; what is not taken of one is passed over.

    Raises
    ------
    StreamError
        The archive is damaged, or cut off.
    """
    records: dict[bytes, bytes] = {}
    end_bytes = 0
    while block := supply.read(_BLOCK):
        if not block.strip(b"\0"):
            end_bytes += len(block)
            if end_bytes > _MOST_END_BYTES:
                return
            continue
        try:
            header = tarfile.TarInfo.frombuf(block, _ENCODING, "surrogateescape")
        except tarfile.HeaderError:
            if end_bytes:
                return  # what stands behind the end is no part of an archive
            _fail(supply, "the archive is cut off" if len(block) < _BLOCK else "damaged: no header of a tar archive")
        if header.size < 0:
            _fail(supply, "damaged: a size below 0")
        if header.type in (*_PAX, *_LONG_NAMES):
            records |= _more_records(supply, header)
        else:
            yield from _member(supply, header, block, records)
            records = {}
        end_bytes = 0


def _member(supply: Supply, header: tarfile.TarInfo, block: bytes, records: dict[bytes, bytes]) -> Iterator[Member]:
    """Give a member, and pass over what has not been taken of it."""
    is_sparse = header.type == tarfile.GNUTYPE_SPARSE
    goes_on = is_sparse and block[_MORE_MAP_IN_HEADER]
    while goes_on:
        goes_on = supply.read(_BLOCK)[_MORE_MAP : _MORE_MAP + 1] > b"\0"
    is_sparse = is_sparse or any(key.startswith(b"GNU.sparse.") for key in records)
    # Links, devices and folders have no data, whatever they say; what is unknown has.
    is_file = is_sparse or header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
    try:
        size = int(records.get(b"size", header.size)) if is_file else 0
    except ValueError:
        size = -1
    if not 0 <= size < 1 << 63:
        _fail(supply, "damaged: an impossible size")
    name = records[b"path"].decode(_ENCODING, "surrogateescape") if b"path" in records else header.name
    rest = supply.offset + size + -size % _BLOCK
    yield Member(name, size, is_file, is_sparse, header.isdir())
    for _ in supply.part(rest - supply.offset):
        pass
    if supply.offset < rest:
        _fail(supply, "the archive is cut off")


def _more_records(supply: Supply, header: tarfile.TarInfo) -> dict[bytes, bytes]:
    """Read what a header before a member's says of it."""
    if header.size > _MOST_HEADER_BYTES:
        _fail(supply, f"a header is longer than {_MOST_HEADER_BYTES} bytes")
    data = supply.read(header.size + -header.size % _BLOCK)[: header.size]
    if header.type in _LONG_NAMES:
        return {_LONG_NAMES[header.type]: data.partition(b"\0")[0]}
    found: dict[bytes, bytes] = {}
    place = 0
    while header.type != tarfile.XGLTYPE and (record := _RECORD.match(data, place)):
        length = int(record[1])
        found[record[2]] = data[record.end() : place + length - 1]
        place += max(length, len(record[0]))
    return found


def _fail(supply: Supply, what: str) -> NoReturn:
    raise StreamError(f"byte {supply.offset}: {what}")
