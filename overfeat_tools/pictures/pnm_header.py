"""What the headers of PNM pictures say, and how their samples become red, green, blue.

Source: the format descriptions of netpbm, pbm(5) to pam(5).
"""

import re
from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError
from overfeat_tools.pictures.cursor import Cursor
from overfeat_tools.pictures.samples import BYTE, Colour, rgb, scaled

MAX_PIXELS = 1 << 27
"""Most pixels of a picture; 16384 x 8192."""

_MAX_NUMBER = (1 << 31) - 1
_MAGICS = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7")
PLAIN = (b"P1", b"P2", b"P3")
_BLANK = b" \t\n\v\f\r"
_MAX_SAMPLE = 65535
_MAX_DEPTH = 8

# A header without comments, at once: a generator that looks at each byte takes 90 microseconds a picture.
_COMMON = re.compile(rb"(?:P4|(P[56]))\s{1,9}(\d{1,9})\s{1,9}(\d{1,9})(?(1)\s{1,9}(\d{1,9}))\s")

_PAM_NUMBERS = {"WIDTH", "HEIGHT", "DEPTH", "MAXVAL"}
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

# PAM tuple types by their first word, with the number of channels before alpha.
_TUPLE_CHANNELS = {"BLACKANDWHITE": 1, "GRAYSCALE": 1, "RGB": 3}


@dataclass
class Header:
    """A PNM header; bitmaps (P1, P4) have a maxval of 1."""

    magic: bytes
    width: int = 0
    height: int = 0
    maxval: int = 1
    depth: int = 1
    tuple_type: list[str] = field(default_factory=list)
    lines: set[str] = field(default_factory=set)

    @property
    def row_bytes(self) -> int:
        """Bytes of a binary row."""
        if self.magic == b"P4":
            return -(-self.width // 8)
        return self.width * self.depth * (1 if self.maxval <= BYTE else 2)

    @property
    def samples(self) -> int:
        """Samples of the picture."""
        return self.width * self.height * self.depth

    def fault(self) -> str | None:
        """Say what is impossible or too large, if anything is."""
        if self.width * self.height > MAX_PIXELS:
            return f"{self.width}x{self.height} is more than {MAX_PIXELS} pixels"
        if not 1 <= self.maxval <= _MAX_SAMPLE:
            return f"maxval {self.maxval} is not in 1..{_MAX_SAMPLE}"
        if not 1 <= self.depth <= _MAX_DEPTH:
            return f"depth {self.depth} is not in 1..{_MAX_DEPTH}"
        return None

    def take_line(self, line: bytes) -> None:
        """Take a line of a P7 header; a ValueError says what is wrong with it."""
        name, *values = line.decode("latin-1").split() or ["#"]
        if name.startswith("#"):
            return
        self.lines.add(name)
        if name == "TUPLTYPE":
            self.tuple_type += values
        elif name in _PAM_NUMBERS:
            value = values[0] if len(values) == 1 else ""
            if not (value.isascii() and value.isdigit() and len(value) <= len(str(_MAX_NUMBER))):
                raise ValueError(f"a number expected behind {name} in the header")
            setattr(self, name.lower(), int(value))
        elif name != "ENDHDR":
            raise ValueError(f"{name[:20]!r} is no header line of P7")
        elif missing := _PAM_NUMBERS - self.lines:
            raise ValueError(f"the P7 header lacks {min(missing)}")


def _common_header(cursor: Cursor) -> Header | None:
    """Read a binary header that is there as a whole, without comments."""
    found = _COMMON.match(cursor.data, cursor.start)
    if not found:
        return None
    cursor.start = found.end()
    magic, width, height, maxval = found.groups()
    depth = 3 if magic == b"P6" else 1
    return Header(bytes(magic or b"P4"), int(width), int(height), int(maxval or 1), depth)


def read_header(cursor: Cursor) -> Generator[None, None, Header]:
    """Read a header from its magic on."""
    if common := _common_header(cursor):
        return common
    start = cursor.offset
    magic = bytes(((yield from cursor.byte()), (yield from cursor.byte())))
    if magic not in _MAGICS:
        stranger = _STRANGERS.get(magic, repr(magic)[1:])
        cursor.start -= 2
        cursor.fail(f"a PNM picture (P1 to P7) expected, {stranger} found")
    header = Header(magic)
    if magic == b"P7":
        yield from _pam_lines(cursor, header, start)
        return header
    header.width = yield from _number(cursor, start)
    header.height = yield from _number(cursor, start)
    header.maxval = 1 if magic in (b"P1", b"P4") else (yield from _number(cursor, start))
    header.depth = 3 if magic in (b"P3", b"P6") else 1
    return header


def _number(cursor: Cursor, start: int) -> Generator[None, None, int]:
    """Read blanks, digits and the one blank behind them, which may be the end of a comment."""
    number, digits = 0, 0
    while True:
        byte = yield from cursor.byte()
        cursor.check_length(start)
        if byte == ord("#"):
            yield from cursor.comment()
        if ord("0") <= byte <= ord("9"):
            number, digits = 10 * number + byte - ord("0"), digits + 1
            if number > _MAX_NUMBER:
                cursor.fail(f"a number in the header is above {_MAX_NUMBER}")
        elif byte not in _BLANK and byte != ord("#"):
            cursor.fail(f"a number expected in the header, {chr(byte)!r} found")
        elif digits:
            return number


def _pam_lines(cursor: Cursor, header: Header, start: int) -> Generator[None, None, None]:
    """Read the lines of a P7 header behind its magic."""
    while "ENDHDR" not in header.lines:
        line = yield from cursor.line(start)
        try:
            header.take_line(line)
        except ValueError as error:
            cursor.fail(str(error))


def _channels(header: Header) -> int | None:
    """Count the channels before alpha; None for a tuple type that is neither gray nor RGB."""
    if header.magic != b"P7":
        return header.depth
    if not header.tuple_type:
        return {1: 1, 2: 1, 3: 3, 4: 3}.get(header.depth)
    kind, alpha = header.tuple_type[0], 0
    if kind.endswith("_ALPHA"):
        kind, alpha = kind.removesuffix("_ALPHA"), 1
    channels = _TUPLE_CHANNELS.get(kind)
    return channels if channels is not None and header.depth >= channels + alpha else None


def pixels(header: Header, raster: Array, background: Colour | None = None) -> Array | ImageError:
    """Turn a raster, bytes or (of a plain picture) samples, into (H, W, 3), 0..255."""
    channels = _channels(header)
    if channels is None:
        kind = " ".join(header.tuple_type)[:40]
        return ImageError(f"tuple type {kind!r} with depth {header.depth} is neither gray nor RGB")
    if header.magic == b"P4":
        raster = np.unpackbits(raster.reshape(header.height, header.row_bytes), axis=1, count=header.width)
    elif header.magic not in PLAIN and header.maxval > BYTE:
        raster = raster.view(">u2")
    if header.magic in (b"P1", b"P4"):
        raster = 1 - raster  # a set bit is black
    if background and header.depth > channels and (not header.tuple_type or header.tuple_type[0].endswith("_ALPHA")):
        channels += 1
    samples = raster.reshape(header.height, header.width, header.depth)[..., :channels]
    return rgb(scaled(samples, header.maxval), background)
