"""Where a picture ends in a stream: JPEG, PNG and WebP say how long each of their parts is.

Each function gives how many bytes from the cursor on are the picture's.  One that is damaged goes as far as the next
one begins; one that is cut off, as far as the stream goes.

Sources: ITU-T T.81, annex B; CIPA DC-007 (Multi-Picture Format); the PNG specification; RFC 9649.
"""

import re
import struct
import zlib
from collections.abc import Generator
from contextlib import suppress

from overfeat_tools.pictures.cursor import Cursor
from overfeat_tools.pictures.directories import directories

_JPEG_START = rb"\xff\xd8\xff[\xc0-\xc2\xc4\xdb\xdd\xe0-\xef\xfe]"
PICTURE_START = re.compile(rb"(?=" + _JPEG_START + rb"|\x89PNG\r\n\x1a\n)")
"""What a picture begins with that may follow junk."""

# Metadata may hold a small JPEG; but its end is not where another one begins.
_END_AND_START = re.compile(rb"\xff\xd9[\s\0]{0,64}(?=" + _JPEG_START + rb")")
_LONGEST_PATTERN = 80
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")

_FILL, _START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _APP2 = 0xFF, 0xD8, 0xD9, 0xDA, 0xE2
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a segment
_METADATA = range(0xE0, 0xF0)
_MP_ENTRIES, _MOST_FURTHER, _MOST_PADDING = 0xB002, 64, 4096
_MOST_CHUNK_BYTES = (1 << 31) - 1


def jpeg_end(cursor: Cursor) -> Generator[None, None, int]:
    """Walk over the segments of a JPEG and the scans between them.

    The further pictures of a file in the Multi-Picture Format belong to the first: they are views and gain maps of it.
    """
    place, segment, index = 2, 2, (0, b"")
    while (yield from cursor.wait(place + 2)):
        at = cursor.start + place
        prefix, marker = cursor.data[at], cursor.data[at + 1]
        if prefix == marker == _FILL:
            place += 1
            continue
        if marker == _END_OF_IMAGE and prefix == _FILL:
            return (yield from _with_further(cursor, place + 2, index))
        if marker == _START_OF_IMAGE and prefix == _FILL:
            return place  # the end is missing: this is the next one
        if prefix != _FILL or (marker < 0xC0 and marker not in _ALONE):  # noqa: PLR2004 -- no marker
            return (yield from _next_start(cursor, segment))
        if marker in _ALONE:
            place += 2
            continue
        if not (yield from cursor.wait(place + 4)):
            break
        at, segment = cursor.start + place, place
        place += 2 + int.from_bytes(cursor.data[at + 2 : at + 4], "big")
        if marker == _APP2 and (yield from cursor.wait(place)):
            block = bytes(cursor.data[cursor.start + segment + 4 : cursor.start + place])
            index = (segment + 8, block[4:]) if block[:4] == b"MPF\0" else index
        elif marker == _START_OF_SCAN:
            place = yield from _scan_end(cursor, place)
    return len(cursor.data) - cursor.start


def _scan_end(cursor: Cursor, place: int) -> Generator[None, None, int]:
    """Find the marker that ends the data of a scan, or give where to look for it at the end of the stream."""
    while not (found := _MARKER.search(cursor.data, cursor.start + place)):
        place = max(place, len(cursor.data) - cursor.start - 1)
        if not (yield from cursor.wait(place + 2)):
            return place
    return found.start() - cursor.start


def _with_further(cursor: Cursor, first: int, index: tuple[int, bytes]) -> Generator[None, None, int]:
    """Give the length of a JPEG and of the further pictures in its index, if that is still true of this file."""
    base, block = index
    whole = first
    if found := next(directories(block), None):
        with suppress(KeyError, struct.error):
            count, place = struct.unpack_from(found.order + "II", block, found.entries[_MP_ENTRIES] + 4)
            form = found.order + "4xII4x"
            entries = [struct.unpack_from(form, block, place + 16 * i) for i in range(min(count // 16, _MOST_FURTHER))]
            if 0 <= entries[0][0] - first < _MOST_PADDING:
                whole = max(base + offset + size for size, offset in entries[1:])
    yield from cursor.wait(whole)
    return max(first, min(whole, len(cursor.data) - cursor.start))


def _next_start(cursor: Cursor, segment: int) -> Generator[None, None, int]:
    """Find where a damaged JPEG ends: where the next begins, behind a segment that is the last to be trusted."""
    yield from cursor.wait(segment + 2)
    pattern = _END_AND_START if cursor.data[cursor.start + segment + 1] in _METADATA else PICTURE_START
    return (yield from _find(cursor, pattern, segment + 2))


def _find(cursor: Cursor, pattern: re.Pattern[bytes], place: int) -> Generator[None, None, int]:
    """Give where a pattern ends, or the stream."""
    while not (found := pattern.search(cursor.data, cursor.start + place)):
        place = max(place, len(cursor.data) - cursor.start - _LONGEST_PATTERN)
        if not (yield from cursor.wait(len(cursor.data) - cursor.start + 1)):
            return len(cursor.data) - cursor.start
    return found.end() - cursor.start


def png_end(cursor: Cursor) -> Generator[None, None, int]:
    """Walk over the chunks of a PNG."""
    place = 8
    while (yield from cursor.wait(place + 8)):
        at = cursor.start + place
        length, name = int.from_bytes(cursor.data[at : at + 4], "big"), cursor.data[at + 4 : at + 8]
        if length > _MOST_CHUNK_BYTES or not (name.isascii() and name.isalpha()):
            return (yield from _find(cursor, PICTURE_START, place))
        whole = yield from cursor.wait(place + 12 + length)
        with memoryview(cursor.data)[cursor.start + place :] as chunk:
            whole = whole and zlib.crc32(chunk[4 : 8 + length]).to_bytes(4, "big") == chunk[8 + length : 12 + length]
        if not whole:  # the next picture may begin inside
            return (yield from _find(cursor, PICTURE_START, place))
        place += 12 + length
        if name == b"IEND":
            return place
    return len(cursor.data) - cursor.start


def webp_end(cursor: Cursor) -> Generator[None, None, int]:
    """Read the length of a WebP."""
    yield from cursor.wait(8)
    size = int.from_bytes(cursor.data[cursor.start + 4 : cursor.start + 8], "little")
    yield from cursor.wait(8 + size + size % 2)
    return min(8 + size + size % 2, len(cursor.data) - cursor.start)


def rest_end(cursor: Cursor) -> Generator[None, None, int]:
    """Take what has no length of its own as far as the stream goes."""
    while (yield from cursor.wait(len(cursor.data) - cursor.start + 1)):
        pass
    return len(cursor.data) - cursor.start
