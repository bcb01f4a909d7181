"""The maps of a layer, as text, tsv, JSON and numpy's npy."""

import io
import re
from collections.abc import Iterator

import numpy as np

from overfeat_tools.backend import FloatArray
from overfeat_tools.results.decimals import decimals
from overfeat_tools.results.records import json_record, tsv_record

TSV_HEADING = b"picture\tfile\tchannels\trows\tcolumns\tvalues\n"

# Values formatted at a time: bounds memory, and long enough to keep loops in C.
_CHUNK = 1 << 14


def map_text(values: FloatArray) -> Iterator[bytes]:
    """Write a map (C, H, W): `C H W`, a newline, each value and a space, a newline."""
    yield b"%d %d %d\n" % values.shape
    yield from _decimals(values)
    yield b" \n"


def map_tsv(values: FloatArray, number: int, file: str | None, *more: bytes) -> Iterator[bytes]:
    """Write a map (C, H, W) as a line: picture number, file, what more there is, C, H, W, values with spaces."""
    yield tsv_record(number, file, *more, *(b"%d" % length for length in values.shape), b"").removesuffix(b"\n")
    yield from _decimals(values)
    yield b"\n"


def map_json(values: FloatArray, number: int, file: str | None, **more: object) -> Iterator[bytes]:
    """Write a map (C, H, W) as an object: its shape, all values in one list, and what more there is to tell.

    Nine digits give every float32 back.  JSON has no number for what is not finite: null.
    """
    head, _, tail = json_record(number, file, **more, shape=values.shape, values=[]).rpartition(b"]")
    yield head
    is_finite = np.isfinite(values).all()
    for at, chunk in enumerate(_chunks(values)):
        text = (", %.9g" * len(chunk) % tuple(chunk.tolist())).encode()[0 if at else 2 :]
        yield text if is_finite else re.sub(rb"-?(?:nan|inf)", b"null", text)
    yield b"]" + tail


def map_npy(values: FloatArray) -> Iterator[bytes | memoryview]:
    """Write a map (C, H, W) float32 as a record of numpy's npy format."""
    values = np.ascontiguousarray(values)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(values))
    yield header.getvalue()
    yield values.reshape(-1).view(np.uint8).data


def _decimals(values: FloatArray) -> Iterator[bytes]:
    """Write numbers as `%g` does, with spaces between them, in pieces."""
    for at, chunk in enumerate(_chunks(values)):
        yield decimals(chunk)[0 if at else 1 :]


def _chunks(values: FloatArray) -> Iterator[FloatArray]:
    """Give values in C order, so many at a time."""
    flat = values.reshape(-1)
    return (flat[start : start + _CHUNK] for start in range(0, flat.size, _CHUNK))
