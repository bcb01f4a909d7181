"""The samples of plain PNM pictures, P1 to P3."""

import re
from itertools import islice

import numpy as np

from overfeat_tools.backend import Array

MOST_DIGITS = 19
"""A number so long is none."""

_RUNS = {b"P1": re.compile(rb"[01\s]*"), b"P2": re.compile(rb"[\d\s]*"), b"P3": re.compile(rb"[\d\s]*")}
_SAMPLES = {b"P1": re.compile(rb"[01]"), b"P2": re.compile(rb"\d+"), b"P3": re.compile(rb"\d+")}
_LONG_NUMBER = re.compile(rb"\d{%d}" % MOST_DIGITS)


def samples(magic: bytes, data: bytearray, start: int, most: int, *, ended: bool) -> tuple[Array, int]:
    """Read the samples that are here whole.

    Parameters
    ----------
    magic : bytes
        A bitmap's samples (P1) need nothing between them.
    data : bytearray
        The stream, from `start`.
    most : int
        How many samples are missing.
    ended : bool
        Nothing comes after `data`: a number at its end is whole.

    Returns
    -------
    array (N,)
        At most `most` samples.
    int
        Their length in bytes, white space included.
    """
    found = _RUNS[magic].match(data, start)
    text = bytes(found[0]) if found else b""
    if magic == b"P1":
        values = np.frombuffer(text.translate(None, b" \t\n\v\f\r"), np.uint8) - np.uint8(ord("0"))
    else:
        if start + len(text) == len(data) and not ended:
            text = text.rstrip(b"0123456789")
        if long := _LONG_NUMBER.search(text):
            text = text[: long.start()]
        values = np.fromstring(text, np.int64, sep=" ") if text.strip() else np.empty(0, np.int64)
    if len(values) < most:
        return values, len(text)
    last = next(islice(_SAMPLES[magic].finditer(text), most - 1, None)) if len(values) > most else None
    return values[:most], last.end() if last else len(text.rstrip())
