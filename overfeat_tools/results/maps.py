"""The maps of a layer, as text and as numpy's npy."""

import io
from collections.abc import Iterator

import numpy as np

from overfeat_tools.backend import FloatArray

# Values formatted at a time: bounds memory, and long enough to keep the loop in C.
_CHUNK = 1 << 14


def map_text(values: FloatArray) -> Iterator[bytes]:
    """Write a map (C, H, W): `C H W`, a newline, each value and a space, a newline."""
    yield b"%d %d %d\n" % values.shape
    flat = values.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK].tolist()
        yield ("%g " * len(chunk) % tuple(chunk)).encode()
    yield b"\n"


def map_npy(values: FloatArray) -> Iterator[bytes | memoryview]:
    """Write a map (C, H, W) float32 as a record of numpy's npy format."""
    values = np.ascontiguousarray(values)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(values))
    yield header.getvalue()
    yield values.reshape(-1).view(np.uint8).data
