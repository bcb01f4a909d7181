"""The maps of a layer, as text, tsv, JSON and numpy's npy."""

import io
import re
from collections.abc import Iterator

import numpy as np

from overfeat_tools.backend import FloatArray
from overfeat_tools.results.records import json_record, tsv_record

TSV_HEADING = b"picture\tfile\tchannels\trows\tcolumns\tvalues\n"

# Values formatted at a time: bounds memory, and long enough to keep the loop in C.
_CHUNK = 1 << 14


def map_text(values: FloatArray) -> Iterator[bytes]:
    """Write a map (C, H, W): `C H W`, a newline, each value and a space, a newline."""
    yield b"%d %d %d\n" % values.shape
    yield from _numbers(values)
    yield b" \n"


def map_tsv(values: FloatArray, number: int, file: str | None, *more: bytes) -> Iterator[bytes]:
    """Write a map (C, H, W) as a line: picture number, file, what more there is, C, H, W, values with spaces."""
    yield tsv_record(number, file, *more, *(b"%d" % length for length in values.shape), b"").removesuffix(b"\n")
    yield from _numbers(values)
    yield b"\n"


def map_json(values: FloatArray, number: int, file: str | None, **more: object) -> Iterator[bytes]:
    """Write a map (C, H, W) as an object: its shape, all values in one list, and what more there is to tell.

    Nine digits give every float32 back.  JSON has no number for what is not finite: null.
    """
    head, _, tail = json_record(number, file, **more, shape=values.shape, values=[]).rpartition(b"]")
    yield head
    texts = _numbers(values, "%.9g", ", ")
    yield from texts if np.isfinite(values).all() else (re.sub(rb"-?(?:nan|inf)", b"null", text) for text in texts)
    yield b"]" + tail


def map_npy(values: FloatArray) -> Iterator[bytes | memoryview]:
    """Write a map (C, H, W) float32 as a record of numpy's npy format."""
    values = np.ascontiguousarray(values)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(values))
    yield header.getvalue()
    yield values.reshape(-1).view(np.uint8).data


def _numbers(values: FloatArray, form: str = "%g", separator: str = " ") -> Iterator[bytes]:
    """Write numbers in C order, in pieces."""
    flat = values.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK].tolist()
        text = (separator + form) * len(chunk) % tuple(chunk)
        yield text[0 if start else len(separator) :].encode()
