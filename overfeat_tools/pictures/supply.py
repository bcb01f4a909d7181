"""Bytes that come piece by piece: from a descriptor, out of gzip, or a part of others."""

import contextlib
import fcntl
import os
import select
import zlib
from collections.abc import Callable, Iterator

from overfeat_tools.errors import ImageError

_PIECE_BYTES = 1 << 20


class Supply:
    """What comes from somewhere, in pieces, and can be looked at ahead."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.offset = 0
        self._pieces = pieces
        self._ahead = b""

    def peek(self, enough: Callable[[bytes], bool]) -> bytes:
        """Look at what comes, until it is enough or the end; a pipe may give as little as a byte at a time."""
        while not enough(self._ahead) and (more := next(self._pieces, b"")):
            self._ahead += more
        return self._ahead

    def next(self) -> bytes:
        """Take the next piece, of at least a byte except at the end."""
        piece, self._ahead = self._ahead or next(self._pieces, b""), b""
        self.offset += len(piece)
        return piece

    def part(self, count: int) -> Iterator[bytes]:
        """Take so many bytes, or as many as there are, in pieces."""
        while count > 0 and (piece := self.next()):
            if len(piece) > count:
                self._ahead = piece[count:]
                self.offset -= len(self._ahead)
                piece = piece[:count]
            count -= len(piece)
            yield piece

    def read(self, count: int) -> bytes:
        """Take so many bytes at once, or as many as there are."""
        return b"".join(self.part(count))


def from_descriptor(descriptor: int) -> Iterator[bytes]:
    """Give what is read from a descriptor, as soon as it is there; also where a pipe has been set not to block."""
    with contextlib.suppress(OSError, AttributeError):  # no pipe, or no Linux
        # A pipe holds 64 KiB: its two ends would take turns several times a picture.
        if fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ) < _PIECE_BYTES:
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIECE_BYTES)
    while True:
        try:
            piece = os.read(descriptor, _PIECE_BYTES)
        except BlockingIOError:
            select.select([descriptor], [], [])
            continue
        if not piece:
            return
        yield piece


def unpacked(supply: Supply) -> Iterator[bytes]:
    """Unpack gzip: one stream of it, or several one after the other.

    Raises
    ------
    ImageError
        It is damaged, or cut off.
    """
    decoder, packed = zlib.decompressobj(wbits=31), b""
    while True:
        try:
            piece = decoder.decompress(packed, _PIECE_BYTES)
        except zlib.error as error:
            raise ImageError("the gzip data are damaged") from error
        if piece:
            yield piece
        packed = decoder.unconsumed_tail
        if decoder.eof:
            packed = decoder.unused_data or supply.next()
            if packed[:1] != b"\x1f":
                return  # what else may follow belongs to nobody
            decoder = zlib.decompressobj(wbits=31)
        elif not packed and len(piece) < _PIECE_BYTES:
            packed = supply.next()
            if not packed:
                raise ImageError("the gzip data are cut off")
