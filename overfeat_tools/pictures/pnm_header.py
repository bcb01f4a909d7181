"""What the headers of PNM pictures say, and how their samples become red, green, blue.

Source: the format descriptions of netpbm, pbm(5) to pam(5).
"""

import re
from dataclasses import dataclass, field

import numpy as np

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError
from overfeat_tools.pictures.samples import BYTE, rgb, scaled

MAX_PIXELS = 1 << 27
"""Most pixels of a picture; 16384 x 8192."""

MAX_NUMBER = (1 << 31) - 1
MAGICS = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7")
PLAIN = (b"P1", b"P2", b"P3")
_MAX_SAMPLE = 65535
_MAX_DEPTH = 8

# A header without comments, at once: a generator that looks at each byte takes 90 microseconds a picture.
_COMMON = re.compile(rb"(?:P4|(P[56]))\s{1,9}(\d{1,9})\s{1,9}(\d{1,9})(?(1)\s{1,9}(\d{1,9}))\s")

_PAM_NUMBERS = {"WIDTH", "HEIGHT", "DEPTH", "MAXVAL"}
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
            if not (value.isascii() and value.isdigit() and len(value) <= len(str(MAX_NUMBER))):
                message = f"a number expected behind {name} in the header"
                raise ValueError(message)
            setattr(self, name.lower(), int(value))
        elif name != "ENDHDR":
            message = f"{name[:20]!r} is no header line of P7"
            raise ValueError(message)
        elif missing := _PAM_NUMBERS - self.lines:
            message = f"the P7 header lacks {min(missing)}"
            raise ValueError(message)


def common_header(data: bytearray, start: int) -> tuple[Header, int] | None:
    """Read a binary header that is there as a whole, without comments; give it and where it ends."""
    found = _COMMON.match(data, start)
    if not found:
        return None
    magic, width, height, maxval = found.groups()
    depth = 3 if magic == b"P6" else 1
    return Header(bytes(magic or b"P4"), int(width), int(height), int(maxval or 1), depth), found.end()


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


def pixels(header: Header, raster: Array) -> Array | ImageError:
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
    return rgb(scaled(raster.reshape(header.height, header.width, header.depth)[..., :channels], header.maxval))
