"""Where files keep their metadata, and how to give a decoder a file without any.

Text, colour profiles (ICC), EXIF and XMP never decide whether pixels may be read: of JPEG, PNG,
WebP, AVIF and HEIF, decoders get only the parts that they need.  The one thing taken from metadata is the
orientation; colour profiles are ignored.
"""

import re
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

_MOST_CHUNKS = 1 << 20
_MOST_EXIF_BYTES = 1 << 20

_PNG_NEEDED = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_PNG_TEXT = {b"tEXt", b"zTXt", b"iTXt"}
_WEBP_NEEDED = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"}

_HEIF_METADATA = re.compile(rb"(infe(?:\x02.{7}|\x03.{9}))(?:Exif|mime)", re.DOTALL)

_JPEG_START_OF_SCAN = 0xDA
_JPEG_ADOBE = 0xEE  # says how the colours are stored
_JPEG_APP1 = 0xE1
_JPEG_DROPPED = {*range(0xE1, 0xF0), 0xFE} - {_JPEG_ADOBE}


@dataclass
class Parts:
    """A file taken apart: what a decoder needs of it, and its blocks of EXIF and XMP."""

    kept: list[memoryview | bytes] = field(default_factory=list)
    exif: bytes = b""
    xmp: bytes = b""

    @property
    def needed(self) -> bytes:
        """The file without metadata."""
        return b"".join(self.kept)


def jpeg_parts(data: bytes) -> Parts:
    """Take a JPEG file apart, as far as its first scan."""
    parts, view, place, start = Parts(), memoryview(data), 2, 0
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != _JPEG_START_OF_SCAN:  # noqa: PLR2004 -- every marker begins so
        marker = data[place + 1]
        if marker == 0xFF:  # noqa: PLR2004 -- bytes to fill up
            place += 1
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        payload = data[place + 4 : end]
        if marker == _JPEG_APP1 and payload[:6] == b"Exif\0\0":
            parts.exif = parts.exif or payload
        elif marker == _JPEG_APP1:
            parts.xmp = parts.xmp or payload
        if marker in _JPEG_DROPPED:
            parts.kept.append(view[start:place])
            start = end
        place = end
    parts.kept.append(view[start:])
    return parts


def png_parts(data: bytes, needed: Collection[bytes] = _PNG_NEEDED) -> Parts:
    """Take a PNG file apart; of an animation only the picture that everyone shows remains."""
    parts, profile = Parts([data[:8]]), b""
    for name, chunk in _chunks(data, 8, "big"):
        if name in needed:
            parts.kept.append(chunk)
        elif name == b"eXIf":
            parts.exif = bytes(chunk[8:-4])
        elif name in _PNG_TEXT and bytes(chunk[8:29]) == b"Raw profile type exif":
            profile = _raw_profile(bytes(chunk[30:-4]))
        elif name in _PNG_TEXT and bytes(chunk[8:25]) == b"XML:com.adobe.xmp":
            parts.xmp = bytes(chunk[8:])
    parts.exif = parts.exif or profile
    return parts


def animated_png_parts(data: bytes) -> Parts:
    """Take a PNG file apart, and keep its frames."""
    return png_parts(data, _PNG_NEEDED | {b"acTL", b"fcTL", b"fdAT"})


def _raw_profile(text: bytes) -> bytes:
    """Unpack EXIF as ImageMagick puts it into a PNG's text: a name, a length and hexadecimal digits."""
    with suppress(zlib.error, ValueError):
        if text[:1] == b"\0":
            text = zlib.decompressobj().decompress(text[1:], 2 * _MOST_EXIF_BYTES)
        return bytes.fromhex("".join(text.decode("latin-1").split()[2:]))
    return b""


def webp_parts(data: bytes) -> Parts:
    """Take a WebP file apart."""
    parts = Parts()
    for name, chunk in _chunks(data, 12, "little"):
        if name in _WEBP_NEEDED:
            parts.kept.append(chunk)
        elif name == b"EXIF":
            parts.exif = bytes(chunk[8:])
        elif name == b"XMP ":
            parts.xmp = bytes(chunk[8:])
    size = 4 + sum(map(len, parts.kept))
    parts.kept.insert(0, b"RIFF" + size.to_bytes(4, "little") + b"WEBP")
    return parts


def heif_parts(data: bytes) -> Parts:
    """Rename the items of AVIF or HEIF that hold metadata: decoders pass over those of unknown types.

    The orientation is none of them, but a property of the picture, which the decoder gives.
    """
    return Parts([_HEIF_METADATA.sub(rb"\1none", data)])


def _chunks(data: bytes, place: int, order: str) -> Iterator[tuple[bytes, memoryview]]:
    """Give the chunks of a PNG ("big"), or of a RIFF file ("little"); the last may be cut off."""
    view = memoryview(data)
    for _ in range(_MOST_CHUNKS):
        if order == "big":
            name, end = data[place + 4 : place + 8], place + 12 + int.from_bytes(data[place : place + 4], "big")
        else:
            size = int.from_bytes(data[place + 4 : place + 8], "little")
            name, end = data[place : place + 4], place + 8 + size + size % 2
        if place + 8 >= len(data) or name == b"IEND":
            yield name, view[place:]
            return
        yield name, view[place:end]
        place = end
