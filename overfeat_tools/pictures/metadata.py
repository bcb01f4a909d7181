"""Where files keep their metadata, and how to give a decoder a file without any.

Text, colour profiles (ICC), EXIF and XMP never decide whether pixels may be read: decoders get only the parts that
they need.  The one thing taken from metadata is the orientation; colour profiles are ignored.
"""

import re
import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate

from overfeat_tools.errors import ImageError

_MOST_CHUNKS = 1 << 20
_MOST_EXIF_BYTES = 1 << 20

_PNG_MARK = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_PNG_TEXT = {b"tEXt", b"zTXt", b"iTXt"}
_WEBP_PICTURES = {b"VP8 ", b"VP8L"}
_WEBP_NEEDED = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"}

_GIF_CONTROL = 0xF9  # says which colour is transparent

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
        elif marker == _JPEG_APP1 and payload.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
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
            if name in _WEBP_PICTURES and len(chunk) < 8 + int.from_bytes(chunk[4:8], "little"):
                raise ImageError("the WebP file is cut off")
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


def gif_parts(data: bytes) -> Parts:
    """Drop comments and applications' blocks from before a GIF's first picture."""
    parts, view, place, start = Parts(), memoryview(data), 13 + _gif_table_bytes(data[10:11]), 0
    while data[place : place + 1] == b"!":
        block, place = place, place + 2
        while size := int.from_bytes(data[place : place + 1], "big"):
            place += 1 + size
        place += 1
        if data[block + 1] != _GIF_CONTROL:
            parts.kept.append(view[start:block])
            start = place
    parts.kept.append(view[start:])
    return parts


def _gif_table_bytes(flags: bytes) -> int:
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def psd_parts(data: bytes) -> Parts:
    """Empty a PSD's section of resources, the second of those that follow its header."""
    start = 30 + int.from_bytes(data[26:30], "big")
    end = start + 4 + int.from_bytes(data[start : start + 4], "big")
    return Parts([data[:start], bytes(4), memoryview(data)[end:]])


def icon_parts(data: bytes) -> Parts:
    """Rename the metadata of the PNG files in an icon, where nothing may move."""
    made, start = bytearray(data), data.find(_PNG_MARK)
    while start >= 0:
        start += len(_PNG_MARK)
        for name, chunk in _chunks(data, start, "big"):
            if name[:1].islower() and name not in _PNG_NEEDED:
                made[start + 4 : start + 8] = b"noNe"
                made[start + len(chunk) - 4 : start + len(chunk)] = zlib.crc32(b"noNe" + chunk[8:-4]).to_bytes(4, "big")
            start += len(chunk)
        start = data.find(_PNG_MARK, start)
    return Parts([memoryview(made)])


def sgi_parts(data: bytes) -> Parts:
    """End each packed row of an SGI file with a zero, which ffmpeg leaves out: Pillow would read on."""
    packed, sample_bytes, height, channels = struct.unpack_from(">xxBBxxxxHH", data.ljust(512, b"\0"))
    rows, view = height * channels, memoryview(data)
    if packed != 1 or len(data) < 512 + 8 * rows:
        return Parts([data])
    numbers = struct.unpack_from(f">{2 * rows}I", data, 512)
    if sum(numbers[rows:]) > 2 * len(data):  # rows share their bytes
        return Parts([data])
    packs = [view[start : start + length] for start, length in zip(numbers[:rows], numbers[rows:], strict=True)]
    lengths = [len(pack) + sample_bytes for pack in packs]
    offsets = accumulate(lengths[:-1], initial=512 + 8 * rows)
    ended = (part for pack in packs for part in (pack, bytes(sample_bytes)))
    return Parts([data[:512], struct.pack(f">{2 * rows}I", *offsets, *lengths), *ended])


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
