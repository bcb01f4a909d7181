"""Incremental parser of concatenated PNM pictures: fed bytes, gives pictures, does no I/O.

Understands P4, P5, P6 and P7 (netpbm's binary formats), one after the other with white space and
NUL bytes between them.  Nothing is allocated for a picture before its header has been checked.

Source: the format descriptions of netpbm, pbm(5) to pam(5).
"""

import re
from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError, StreamError

MAX_PIXELS = 1 << 27
"""Most pixels of a picture; 16384 x 8192."""

_MAX_HEADER_BYTES = 1 << 20
_MAX_NUMBER = (1 << 31) - 1
_MAX_SAMPLE = 65535
_BYTE = 255

_BLANK = b" \t\n\v\f\r"
_BETWEEN = re.compile(rb"[ \t\n\v\f\r\0]*")

# What is often sent by mistake, by its first two bytes.
_STRANGERS = {
    b"P1": "plain (text) PBM",
    b"P2": "plain (text) PGM",
    b"P3": "plain (text) PPM",
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

# PAM tuple types by their first word, with the number of channels before alpha.
_TUPLE_CHANNELS = {"BLACKANDWHITE": 1, "GRAYSCALE": 1, "RGB": 3}


@dataclass(frozen=True)
class Picture:
    """A picture: `pixels` (H, W, 3), red, green, blue, 0..255, uint8, or float32 where bytes don't suffice."""

    pixels: Array

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass
class _Header:
    magic: bytes
    width: int = 0
    height: int = 0
    maxval: int = 1
    depth: int = 1
    tuple_type: list[str] = field(default_factory=list)

    @property
    def row_bytes(self) -> int:
        if self.magic == b"P4":
            return -(-self.width // 8)
        return self.width * self.depth * (1 if self.maxval <= _BYTE else 2)


_Needs = Generator["Picture | ImageError | None", None, None]


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

    def _parse(self) -> _Needs:
        while (yield from self._skip_blank()):
            header = yield from self._header()
            self._check(header)
            try:
                raster = np.empty(header.row_bytes * header.height, np.uint8)
                yield from self._fill(raster)
                yield _unusable(header) or Picture(_pixels(header, raster))
            except MemoryError:
                self._fail(f"not enough memory for {header.width}x{header.height}")
            del raster

    def _check(self, header: _Header) -> None:
        if header.width * header.height > MAX_PIXELS:
            self._fail(f"{header.width}x{header.height} is more than {MAX_PIXELS} pixels")
        if not 1 <= header.maxval <= _MAX_SAMPLE:
            self._fail(f"maxval {header.maxval} is not in 1..{_MAX_SAMPLE}")
        if not 1 <= header.depth <= 2 * len("RGBA"):
            self._fail(f"depth {header.depth} is not in 1..8")

    def _check_length(self, start: int) -> None:
        if self.offset - start > _MAX_HEADER_BYTES:
            self._fail(f"the header is longer than {_MAX_HEADER_BYTES} bytes")

    def _fail(self, what: str) -> None:
        raise StreamError(f"byte {self.offset}: {what}")

    # Each of these yields None while it needs bytes that have not come.

    def _skip_blank(self) -> Generator[None, None, bool]:
        """Skip what may stand between pictures; tell whether anything follows."""
        while True:
            blank = _BETWEEN.match(self._pending, self._start)
            self._start = blank.end() if blank else self._start
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

    def _fill(self, raster: Array) -> Generator[None, None, None]:
        filled = 0
        while filled < len(raster):
            count = min(len(self._pending) - self._start, len(raster) - filled)
            raster[filled : filled + count] = np.frombuffer(self._pending, np.uint8, count, self._start)
            self._start += count
            filled += count
            if filled < len(raster):
                if self._ended:
                    self._fail(f"the stream ends {len(raster) - filled} bytes before the picture does")
                yield None

    def _header(self) -> Generator[None, None, _Header]:
        start = self.offset
        magic = bytes(((yield from self._byte()), (yield from self._byte())))
        if magic not in (b"P4", b"P5", b"P6", b"P7"):
            stranger = _STRANGERS.get(magic, repr(magic)[1:])
            self._start -= 2
            self._fail(f"a binary PNM picture (P4 to P7) expected, {stranger} found")
        header = _Header(magic)
        if magic == b"P7":
            yield from self._pam_lines(header, start)
            return header
        header.width = yield from self._number(start)
        header.height = yield from self._number(start)
        header.maxval = 1 if magic == b"P4" else (yield from self._number(start))
        header.depth = 3 if magic == b"P6" else 1
        return header

    def _number(self, start: int) -> Generator[None, None, int]:
        """Read blanks, digits and the one blank behind them; comments may stand anywhere among them."""
        number, digits = 0, 0
        while True:
            byte = yield from self._byte()
            self._check_length(start)
            if byte == ord("#"):
                yield from self._comment(start)
            elif ord("0") <= byte <= ord("9"):
                number, digits = 10 * number + byte - ord("0"), digits + 1
                if number > _MAX_NUMBER:
                    self._fail(f"a number in the header is above {_MAX_NUMBER}")
            elif byte not in _BLANK:
                self._fail(f"a number expected in the header, {chr(byte)!r} found")
            elif digits:
                return number

    def _comment(self, start: int) -> Generator[None, None, None]:
        while (yield from self._byte()) not in b"\r\n":
            # The rest of the comment that is here, at once; long ones are common in converted JPEGs.
            ends = [i for i in (self._pending.find(end, self._start) for end in b"\r\n") if i >= 0]
            self._start = min(ends, default=len(self._pending))
            self._check_length(start)

    def _pam_lines(self, header: _Header, start: int) -> Generator[None, None, None]:
        """Read the lines of a P7 header behind its magic."""
        seen: set[str] = set()
        while True:
            line = bytearray()
            self._check_length(start)
            while (byte := (yield from self._byte())) != ord("\n"):
                line.append(byte)
                self._check_length(start)
            words = line.decode("latin-1").split()
            if not words or words[0].startswith("#"):
                continue
            name, values = words[0], words[1:]
            if name == "ENDHDR":
                break
            seen.add(name)
            if name == "TUPLTYPE":
                header.tuple_type += values
            elif name in ("WIDTH", "HEIGHT", "DEPTH", "MAXVAL"):
                value = values[0] if len(values) == 1 else ""
                if not (value.isascii() and value.isdigit() and len(value) <= len(str(_MAX_NUMBER))):
                    self._fail(f"a number expected behind {name} in the header")
                setattr(header, name.lower(), int(value))
            else:
                self._fail(f"{name[:20]!r} is no header line of P7")
        missing = {"WIDTH", "HEIGHT", "DEPTH", "MAXVAL"} - seen
        if missing:
            self._fail(f"the P7 header lacks {min(missing)}")


def _channels(header: _Header) -> int | None:
    """Count the channels before alpha; None for a tuple type that is no picture of gray or RGB."""
    if header.magic != b"P7":
        return header.depth
    if not header.tuple_type:
        return {1: 1, 2: 1, 3: 3, 4: 3}.get(header.depth)
    kind, alpha = header.tuple_type[0], 0
    if kind.endswith("_ALPHA"):
        kind, alpha = kind.removesuffix("_ALPHA"), 1
    channels = _TUPLE_CHANNELS.get(kind)
    return channels if channels is not None and header.depth >= channels + alpha else None


def _unusable(header: _Header) -> ImageError | None:
    if _channels(header) is not None:
        return None
    kind = " ".join(header.tuple_type)[:40]
    return ImageError(f"tuple type {kind!r} with depth {header.depth} is neither gray nor RGB")


def _pixels(header: _Header, raster: Array) -> Array:
    """Turn a raster into (H, W, 3), 0..255."""
    if header.magic == b"P4":
        bits = np.unpackbits(raster.reshape(header.height, header.row_bytes), axis=1, count=header.width)
        samples = ((1 - bits) * np.uint8(_BYTE))[..., None]  # a set bit is black
    else:
        wide = raster if header.maxval <= _BYTE else raster.view(">u2")
        samples = _scaled(wide.reshape(header.height, header.width, header.depth), header.maxval)
    channels = _channels(header)
    if channels == 1:
        return np.repeat(samples[..., :1], 3, axis=2)
    return np.ascontiguousarray(samples[..., :3])


def _scaled(samples: Array, maxval: int) -> Array:
    """Scale 0..maxval to 0..255: in bytes where that is exact, else in float32."""
    if maxval == _BYTE:
        return samples
    samples = np.minimum(samples, maxval)
    if _BYTE % maxval == 0:
        return samples.astype(np.uint8) * np.uint8(_BYTE // maxval)
    # 65535 * 255 is below 2**24: the division is the only rounding.
    return samples.astype(np.float32) * np.float32(_BYTE) / np.float32(maxval)
