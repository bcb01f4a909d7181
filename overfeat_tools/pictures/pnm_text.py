"""The samples of plain PNM pictures, P1 to P3."""

import re
from collections.abc import Generator
from itertools import islice

import numpy as np

from overfeat_tools.backend import Array
from overfeat_tools.pictures.cursor import Cursor
from overfeat_tools.pictures.pnm_header import Header
from overfeat_tools.pictures.samples import BYTE

# Of text: for a sample with the white space before it, and for all comments.
_MOST_SAMPLE_BYTES, _MOST_COMMENTS_BYTES = 32, 1 << 16
_MOST_DIGITS = 19  # a number so long is none

_RUNS = {b"P1": re.compile(rb"[01\s]*"), b"P2": re.compile(rb"[\d\s]*"), b"P3": re.compile(rb"[\d\s]*")}
_SAMPLE = {b"P1": re.compile(rb"[01]"), b"P2": re.compile(rb"\d+"), b"P3": re.compile(rb"\d+")}
_LONG_NUMBER = re.compile(rb"\d{%d}" % _MOST_DIGITS)


def read_text(cursor: Cursor, header: Header) -> Generator[None, None, Array]:
    """Read a plain raster: samples as text, comments among them."""
    raster, filled = np.empty(header.samples, np.uint8 if header.maxval <= BYTE else np.uint16), 0
    start, most = cursor.offset, _MOST_COMMENTS_BYTES + _MOST_SAMPLE_BYTES * header.samples
    while filled < len(raster):
        values, length = _samples(cursor, header.magic, len(raster) - filled)
        raster[filled : filled + len(values)] = np.minimum(values, header.maxval)
        filled += len(values)
        cursor.start += length
        if cursor.offset - start > most:
            cursor.fail(f"the picture's text is longer than {most} bytes")
        if filled < len(raster):
            yield from _between_samples(cursor, header.magic)
    return raster


def _between_samples(cursor: Cursor, magic: bytes) -> Generator[None, None, None]:
    """Skip a comment, or wait for more."""
    rest = cursor.data[cursor.start : cursor.start + _MOST_DIGITS]
    if rest.startswith(b"#"):
        yield from cursor.comment()
    elif rest.isdigit() and magic != b"P1" and len(rest) < _MOST_DIGITS:
        yield None  # the number may go on
    elif rest:
        cursor.fail(f"a sample expected, {chr(rest[0])!r} found")
    elif cursor.ended:
        cursor.fail("the stream ends before the picture does")
    else:
        yield None


def _samples(cursor: Cursor, magic: bytes, most: int) -> tuple[Array, int]:
    """Give the samples, at most so many, that are here whole, and their length in bytes with the blanks before them."""
    found = _RUNS[magic].match(cursor.data, cursor.start)
    text = bytes(found[0]) if found else b""
    if magic == b"P1":
        values = np.frombuffer(text.translate(None, b" \t\n\v\f\r"), np.uint8) - np.uint8(ord("0"))
    else:
        if cursor.start + len(text) == len(cursor.data) and not cursor.ended:
            text = text.rstrip(b"0123456789")
        if long := _LONG_NUMBER.search(text):
            text = text[: long.start()]
        values = np.fromstring(text, np.int64, sep=" ") if text.strip() else np.empty(0, np.int64)
    if len(values) < most:
        return values, len(text)
    last = next(islice(_SAMPLE[magic].finditer(text), most - 1, None)) if len(values) > most else None
    return values[:most], last.end() if last else len(text.rstrip())
