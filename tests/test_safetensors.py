"""A safetensors file is mapped where its header says, and the header is not believed: it may come from anywhere."""

import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfeat_tools.errors import WeightsError
from overfeat_tools.networks.safetensors import LONGEST_HEADER_BYTES, HeaderError, read_header
from overfeat_tools.networks.weights import map_weights

SHAPES = [(2, 3, 2, 2), (3, 2, 1, 1)]
NAMES = ["features.0", "head"]
BODY = np.arange(2 * 12 + 2 + 6 + 3).astype("<f4").tobytes()
ENTRIES: dict[str, Any] = {
    "__metadata__": {"format": "pt"},
    "head.bias": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]},
    "features.0.weight": {"dtype": "F32", "shape": [2, 3, 2, 2], "data_offsets": [12, 108]},
    "head.weight": {"dtype": "F32", "shape": [3, 2], "data_offsets": [108, 132]},
    "features.0.bias": {"dtype": "F32", "shape": [2], "data_offsets": [132, 140]},
}


def file_of(header: bytes, body: bytes = BODY, length: int | None = None) -> bytes:
    """Put a file together."""
    return (len(header) if length is None else length).to_bytes(8, "little") + header + body


def header_of(**changes: object) -> bytes:
    """Write the header with some fields of the tensor `head.weight` changed; None leaves one out."""
    entry = {name: value for name, value in {**ENTRIES["head.weight"], **changes}.items() if value is not None}
    text = json.dumps({**ENTRIES, "head.weight": entry}).encode()
    return text + b" " * (-len(text) % 8)


GOOD = file_of(header_of())


def test_tensors_by_name(tmp_path: Path) -> None:
    """In whatever order they lie; mapped, not copied; a 1x1 kernel may be a matrix."""
    path = tmp_path / "small.safetensors"
    path.write_bytes(GOOD)
    (weight, bias), (head, head_bias) = map_weights(path, SHAPES, "small", NAMES)
    assert head_bias.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(weight, np.arange(3, 27, dtype=np.float32).reshape(2, 3, 2, 2))
    np.testing.assert_array_equal(head, np.arange(27, 33, dtype=np.float32).reshape(3, 2, 1, 1))
    assert bias.tolist() == [33, 34]
    for array in (weight, bias, head, head_bias):
        assert array.dtype == np.float32
        assert not array.flags.writeable
        assert not array.flags.owndata


BAD = {
    "empty": b"",
    "no length": GOOD[:7],
    "no header": GOOD[:8],
    "header cut off": GOOD[:100],
    "cut off": GOOD[:-1],
    "too long": GOOD + b"\0",
    "length of all bits": file_of(header_of(), length=2**64 - 1),
    "header longer than allowed": file_of(header_of() + b" " * LONGEST_HEADER_BYTES),
    "length too short": file_of(header_of(), length=30),
    "zeros": bytes(5000),
    "no JSON": file_of(b"x" * 64),
    "no UTF-8": file_of(b'{"\xff": 1}'),
    "deep": file_of(b"[" * 100_000),
    "a list": file_of(b"[]"),
    "a number": file_of(b"1"),
    "of many digits": file_of(b"9" * 100_000),
    "nothing in it": file_of(b"{}"),
    "no objects": file_of(b'{"head.weight": 3}'),
    "name twice": file_of(header_of()[:1] + b'"head.weight": {}, ' + header_of()[1:]),
    "field twice": file_of(header_of().replace(b'"shape": [3, 2]', b'"shape": [2, 3], "shape": [3, 2]')),
    "no dtype": file_of(header_of(dtype=None)),
    "dtype a number": file_of(header_of(dtype=7)),
    "another dtype": file_of(header_of(dtype="F16")),
    "dtype of the same size": file_of(header_of(dtype="I32")),
    "no shape": file_of(header_of(shape=None)),
    "shape a number": file_of(header_of(shape=6)),
    "another shape": file_of(header_of(shape=[2, 3])),
    "shape of more axes": file_of(header_of(shape=[3, 2, 1, 1, 1])),
    "negative shape": file_of(header_of(shape=[-3, -2])),
    "shape of floats": file_of(header_of(shape=[3.0, 2.0])),
    "shape of truths": file_of(header_of(shape=[True, 2])),
    "shape too large": file_of(header_of(shape=[3, 2**64])),
    "endless shape": file_of(header_of(shape=[2**59] * 50_000)),
    "no place": file_of(header_of(data_offsets=None)),
    "place of one number": file_of(header_of(data_offsets=[108])),
    "before the numbers": file_of(header_of(data_offsets=[-8, 16])),
    "backwards": file_of(header_of(data_offsets=[132, 108])),
    "overlapping": file_of(header_of(data_offsets=[104, 128])),
    "all overlapping": file_of(header_of(data_offsets=[0, 140])),
    "outside": file_of(header_of(data_offsets=[116, 140])),
    "far outside": file_of(header_of(data_offsets=[2**59, 2**59 + 24])),
    "a hole": file_of(header_of(), BODY[:108] + bytes(4) + BODY[108:]),
    "not aligned": file_of(header_of() + b" "),
    "another name": file_of(header_of().replace(b"head.weight", b"Head.weight")),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_refused(tmp_path: Path, kind: str) -> None:
    """In one line that names the file and the cure, whatever is in it."""
    path = tmp_path / "small.safetensors"
    path.write_bytes(BAD[kind])
    with pytest.raises(WeightsError) as caught:
        map_weights(path, SHAPES, "small", NAMES)
    message = str(caught.value)
    assert message.startswith(f"{path}: not the weights of small: ")
    assert "of-download small" in message
    assert message.isprintable()
    assert len(message) < 400


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=3)), min_size=1, max_size=4))
def test_nothing_found_lies_outside(changes: list[tuple[int, bytes]]) -> None:
    """Whatever bytes are changed, the file is refused, or its tensors fill it one after the other."""
    data = bytearray(GOOD)
    for place, some in changes:
        data[place : place + len(some)] = some
    try:
        tensors = read_header(io.BytesIO(data), len(data))
    except HeaderError:
        return
    places = sorted((tensor.start, tensor.stop) for tensor in tensors.values())
    assert places[0][0] == 8 + int.from_bytes(data[:8], "little")
    assert places[-1][1] == len(data)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(places))
