"""Incremental parser of concatenated PNM pictures: fed bytes, gives pictures, does no I/O.

Understands P1 to P7 (netpbm's formats, plain and binary), one after the other with white space and
NUL bytes between them.  Nothing is allocated for a picture before its header has been checked, and
whatever has no length of its own (headers, text, what stands between pictures) is bounded.
"""

import re
from collections.abc import Generator

import numpy as np

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError, StreamError
from overfeat_tools.pictures.cursor import Cursor
from overfeat_tools.pictures.picture import Encoded, Event, Picture, Remark
from overfeat_tools.pictures.pnm_header import PLAIN, Header, pixels, read_header
from overfeat_tools.pictures.pnm_text import read_text
from overfeat_tools.pictures.samples import Colour

MAX_BETWEEN_BYTES = 1 << 16
_BETWEEN = re.compile(rb"[\s\0]*")


class PnmParser:
    """Parse a stream piece by piece.

    Call `feed` with bytes as they come and `close` at their end; `next_picture` gives the pictures
    that are complete, laid over the background if there is one.
    """

    def __init__(self, background: Colour | None = None) -> None:
        self._background = background
        self._cursor = Cursor()
        self._events = self._parse()
        self._broken: StreamError | None = None

    @property
    def offset(self) -> int:
        """Bytes consumed so far."""
        return self._cursor.offset

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the stream."""
        self._cursor.feed(data)

    def close(self) -> None:
        """Note that the stream has ended."""
        self._cursor.ended = True

    def next_picture(self) -> Picture | Encoded | Remark | None:
        """Give the next picture, or None if more bytes are needed or, after `close`, none are left.

        Raises
        ------
        StreamError
            The stream is broken here, now and ever after.
        ImageError
            A well-formed picture that is of no use; the next call goes on behind it.
        """
        if self._broken:
            raise self._broken
        try:
            event = next(self._events, None)
        except StreamError as error:
            self._broken = error
            raise
        if isinstance(event, ImageError):
            raise event
        return event

    def _parse(self) -> Generator[Event | None, None, None]:
        while (yield from _skip_blank(self._cursor)):
            yield (yield from self._next())

    def _next(self) -> Generator[None, None, Event]:
        """Take the picture that begins here."""
        header = yield from read_header(self._cursor)
        if fault := header.fault():
            self._cursor.fail(fault)
        return (yield from self._picture(header))

    def _picture(self, header: Header) -> Generator[None, None, Picture | ImageError]:
        try:
            raster = yield from (read_text if header.magic in PLAIN else _bytes)(self._cursor, header)
            found = pixels(header, raster, self._background)
        except MemoryError:
            self._cursor.fail(f"not enough memory for {header.width}x{header.height}")
        return found if isinstance(found, ImageError) else Picture(found)


# Each of these yields None while it needs bytes that have not come.


def _skip_blank(cursor: Cursor) -> Generator[None, None, bool]:
    """Skip what may stand between pictures; tell whether anything follows."""
    start = cursor.offset
    while True:
        blank = _BETWEEN.match(cursor.data, cursor.start)
        cursor.start = blank.end() if blank else cursor.start
        if cursor.offset - start > MAX_BETWEEN_BYTES:
            cursor.start -= cursor.offset - start - MAX_BETWEEN_BYTES
            cursor.fail(f"no picture after {MAX_BETWEEN_BYTES} bytes of white space and NUL")
        if cursor.start < len(cursor.data):
            return True
        if cursor.ended:
            return False
        yield None


def _bytes(cursor: Cursor, header: Header) -> Generator[None, None, Array]:
    """Read a binary raster."""
    raster, filled = np.empty(header.row_bytes * header.height, np.uint8), 0
    while filled < len(raster):
        count = min(len(cursor.data) - cursor.start, len(raster) - filled)
        # Unlike numpy's copy, this one keeps the GIL: else the threads would take turns at every picture.
        raster.data[filled : filled + count] = memoryview(cursor.data)[cursor.start : cursor.start + count]
        cursor.start += count
        filled += count
        if filled < len(raster):
            if cursor.ended:
                cursor.fail(f"the stream ends {len(raster) - filled} bytes before the picture does")
            yield None
    return raster
