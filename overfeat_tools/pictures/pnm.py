"""Incremental parser of concatenated PNM pictures: fed bytes, gives pictures, does no I/O.

Understands P1 to P7 (netpbm's formats, plain and binary), one after the other with white space and
NUL bytes between them.  Nothing is allocated for a picture before its header has been checked, and
whatever has no length of its own (headers, text, what stands between pictures) is bounded.
"""

import re
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError, StreamError
from overfeat_tools.pictures import pnm_header, pnm_text
from overfeat_tools.pictures.pnm_header import MAGICS, MAX_NUMBER, PLAIN, Header
from overfeat_tools.pictures.samples import BYTE

MAX_BETWEEN_BYTES = 1 << 16
_MAX_HEADER_BYTES = 1 << 20
# Of text: for a sample with the white space before it, and for all comments.
_MAX_SAMPLE_BYTES, _MAX_COMMENTS_BYTES = 32, 1 << 16

_BLANK = b" \t\n\v\f\r"
_BETWEEN = re.compile(rb"[\s\0]*")

# What is often sent by mistake, by its first two bytes.
_STRANGERS = {
    b"Pf": "floating-point PFM",
    b"PF": "floating-point PFM",
    b"\xff\xd8": "a JPEG file",
    b"\x89P": "a PNG file",
    b"GI": "a GIF file",
    b"BM": "a BMP file",
    b"II": "a TIFF file",
    b"MM": "a TIFF file",
    b"RI": "a RIFF file",
}


@dataclass(frozen=True)
class Picture:
    """A picture: `pixels` (H, W, 3), red, green, blue, 0..255, uint8, or float32 where bytes don't suffice.

    `warning` says why some of it is missing, where it could be decoded only in part.
    """

    pixels: Array
    warning: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]


class PnmParser:
    """Parse a stream piece by piece.

    Call `feed` with bytes as they come and `close` at their end; `next_picture` gives the pictures
    that are complete.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._start = 0  # of what is not consumed yet, in `_pending`
        self._dropped = 0  # bytes of the stream before `_pending`
        self._ended = False
        self._events = self._parse()
        self._broken: StreamError | None = None

    @property
    def offset(self) -> int:
        """Bytes consumed so far."""
        return self._dropped + self._start

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the stream."""
        del self._pending[: self._start]
        self._dropped += self._start
        self._start = 0
        self._pending += data

    def close(self) -> None:
        """Note that the stream has ended."""
        self._ended = True

    def next_picture(self) -> Picture | None:
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

    def _parse(self) -> Generator[Picture | ImageError | None, None, None]:
        while (yield from self._skip_blank()):
            header = self._common_header() or (yield from self._header())
            if fault := header.fault():
                self._fail(fault)
            yield (yield from self._picture(header))

    def _picture(self, header: Header) -> Generator[None, None, Picture | ImageError]:
        try:
            raster = yield from (self._text(header) if header.magic in PLAIN else self._bytes(header))
            pixels = pnm_header.pixels(header, raster)
        except MemoryError:
            self._fail(f"not enough memory for {header.width}x{header.height}")
        return pixels if isinstance(pixels, ImageError) else Picture(pixels)

    def _common_header(self) -> Header | None:
        header, self._start = pnm_header.common_header(self._pending, self._start) or (None, self._start)
        return header

    def _check_length(self, start: int) -> None:
        if self.offset - start > _MAX_HEADER_BYTES:
            self._fail(f"the header is longer than {_MAX_HEADER_BYTES} bytes")

    def _fail(self, what: str) -> None:
        message = f"byte {self.offset}: {what}"
        raise StreamError(message)

    # Each of these yields None while it needs bytes that have not come.

    def _skip_blank(self) -> Generator[None, None, bool]:
        """Skip what may stand between pictures; tell whether anything follows."""
        start = self.offset
        while True:
            blank = _BETWEEN.match(self._pending, self._start)
            self._start = blank.end() if blank else self._start
            if self.offset - start > MAX_BETWEEN_BYTES:
                self._start = start + MAX_BETWEEN_BYTES - self._dropped
                self._fail(f"no picture after {MAX_BETWEEN_BYTES} bytes of white space and NUL")
            if self._start < len(self._pending):
                return True
            if self._ended:
                return False
            yield None

    def _byte(self) -> Generator[None, None, int]:
        while self._start == len(self._pending):
            if self._ended:
                self._fail("the stream ends inside a header")
            yield None
        self._start += 1
        return self._pending[self._start - 1]

    def _bytes(self, header: Header) -> Generator[None, None, Array]:
        """Read a binary raster."""
        raster, filled = np.empty(header.row_bytes * header.height, np.uint8), 0
        while filled < len(raster):
            count = min(len(self._pending) - self._start, len(raster) - filled)
            raster[filled : filled + count] = np.frombuffer(self._pending, np.uint8, count, self._start)
            self._start += count
            filled += count
            if filled < len(raster):
                if self._ended:
                    self._fail(f"the stream ends {len(raster) - filled} bytes before the picture does")
                yield None
        return raster

    def _text(self, header: Header) -> Generator[None, None, Array]:
        """Read a plain raster: samples as text, comments among them."""
        raster, filled = np.empty(header.samples, np.uint8 if header.maxval <= BYTE else np.uint16), 0
        start, most = self.offset, _MAX_COMMENTS_BYTES + _MAX_SAMPLE_BYTES * header.samples
        while filled < len(raster):
            values, length = pnm_text.samples(
                header.magic, self._pending, self._start, len(raster) - filled, ended=self._ended
            )
            raster[filled : filled + len(values)] = np.minimum(values, header.maxval)
            filled += len(values)
            self._start += length
            if self.offset - start > most:
                self._fail(f"the picture's text is longer than {most} bytes")
            if filled < len(raster):
                yield from self._between_samples(header.magic)
        return raster

    def _between_samples(self, magic: bytes) -> Generator[None, None, None]:
        """Skip a comment, or wait for more."""
        rest = self._pending[self._start : self._start + pnm_text.MOST_DIGITS]
        if rest.startswith(b"#"):
            yield from self._comment()
        elif rest.isdigit() and magic != b"P1" and len(rest) < pnm_text.MOST_DIGITS:
            yield None  # the number may go on
        elif rest:
            self._fail(f"a sample expected, {chr(rest[0])!r} found")
        elif self._ended:
            self._fail("the stream ends before the picture does")
        else:
            yield None

    def _header(self) -> Generator[None, None, Header]:
        start = self.offset
        magic = bytes(((yield from self._byte()), (yield from self._byte())))
        if magic not in MAGICS:
            stranger = _STRANGERS.get(magic, repr(magic)[1:])
            self._start -= 2
            self._fail(f"a PNM picture (P1 to P7) expected, {stranger} found")
        header = Header(magic)
        if magic == b"P7":
            yield from self._pam_lines(header, start)
            return header
        header.width = yield from self._number(start)
        header.height = yield from self._number(start)
        header.maxval = 1 if magic in (b"P1", b"P4") else (yield from self._number(start))
        header.depth = 3 if magic in (b"P3", b"P6") else 1
        return header

    def _number(self, start: int) -> Generator[None, None, int]:
        """Read blanks, digits and the one blank behind them, which may be the end of a comment."""
        number, digits = 0, 0
        while True:
            byte = yield from self._byte()
            self._check_length(start)
            if byte == ord("#"):
                yield from self._comment()
            if ord("0") <= byte <= ord("9"):
                number, digits = 10 * number + byte - ord("0"), digits + 1
                if number > MAX_NUMBER:
                    self._fail(f"a number in the header is above {MAX_NUMBER}")
            elif byte not in _BLANK and byte != ord("#"):
                self._fail(f"a number expected in the header, {chr(byte)!r} found")
            elif digits:
                return number

    def _comment(self) -> Generator[None, None, None]:
        start = self.offset
        while (yield from self._byte()) not in b"\r\n":
            # The rest of the comment that is here, at once; long ones are common in converted JPEGs.
            ends = [i for i in (self._pending.find(end, self._start) for end in b"\r\n") if i >= 0]
            self._start = min(ends, default=len(self._pending))
            if self.offset - start > _MAX_HEADER_BYTES:
                self._fail(f"a comment is longer than {_MAX_HEADER_BYTES} bytes")

    def _pam_lines(self, header: Header, start: int) -> Generator[None, None, None]:
        """Read the lines of a P7 header behind its magic."""
        while "ENDHDR" not in header.lines:
            line = yield from self._line(start)
            try:
                header.take_line(line)
            except ValueError as error:
                self._fail(str(error))

    def _line(self, start: int) -> Generator[None, None, bytes]:
        seen = 0
        while (end := self._pending.find(b"\n", self._start + seen)) < 0:
            seen = len(self._pending) - self._start
            self._check_length(start - seen)
            if self._ended:
                self._start += seen
                self._fail("the stream ends inside a header")
            yield None
        line = bytes(self._pending[self._start : end])
        self._start = end + 1
        self._check_length(start)
        return line
