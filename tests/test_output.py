"""What is printed is what C's printf would print, and what other programs can read back."""

import ctypes
import ctypes.util
import json
import math
import os
import re
from io import BytesIO

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from overfeat_tools.networks.classes import Class
from overfeat_tools.results import maps, ranking
from overfeat_tools.results.decimals import decimals
from overfeat_tools.results.maps import map_json, map_npy, map_text, map_tsv
from overfeat_tools.results.ranking import rank, ranking_json, ranking_text, ranking_tsv
from overfeat_tools.results.records import failure_record, json_record
from overfeat_tools.results.table import table

CLASSES = [Class(0, "n00000001", "crane"), Class(1, "n00000002", "tabby, tabby cat"), Class(2, "n00000003", "crane")]
ESCAPES = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"\\": b"\\"}
FLOATS = st.floats(width=32, allow_nan=False)


def printf(value: float) -> bytes:
    """Print as C does."""
    buffer = ctypes.create_string_buffer(64)
    libc = ctypes.CDLL(ctypes.util.find_library("c"))
    libc.snprintf(buffer, ctypes.c_size_t(64), b"%g", ctypes.c_double(value))
    return buffer.value


@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_map_text_is_printf(values: list[float]) -> None:
    """`C H W`, a line end, each value and a space, a line end."""
    text = b"".join(map_text(np.array(values, np.float32).reshape(-1, 1, 1)))
    head, body, rest = text.split(b"\n")
    assert head == b"%d 1 1" % len(values)
    assert body == b"".join(printf(value) + b" " for value in values)
    assert rest == b""


def test_decimals_are_printf_s() -> None:
    """At each power of ten, at halves that are rounded to even digits, with zeros at the end, and of any bits."""
    choose = np.random.default_rng(0)
    powers = np.float32(10.0) ** np.arange(-6, 9, dtype=np.float32)
    near = np.concatenate([np.nextafter(powers, np.float32(sign), dtype=np.float32) for sign in (0, np.inf)])
    halves = choose.integers(0, 1 << 24, 20000) / 2.0 ** choose.integers(0, 24, 20000)
    round_ones = choose.integers(-999, 999, 20000) * 10.0 ** choose.integers(-4, 3, 20000)
    special = np.array([0, -0.0, np.nan, np.inf, -np.inf, 999999.5, 9.999995, 99999.95], np.float32)
    values = np.concatenate([powers, near, halves, -halves, round_ones, special]).astype(np.float32)
    assert decimals(values) == b"".join(b" %g" % value for value in values.tolist())
    bits = choose.integers(0, 1 << 32, 20000, np.uint64).astype(np.uint32).view(np.float32)
    assert decimals(bits) == b"".join(b" %g" % value for value in bits.tolist())


def test_map_text_in_c_order_and_in_pieces() -> None:
    """Also where the array's memory is in another order, and longer than a piece."""
    x = np.random.default_rng(0).standard_normal((7, 50, 101), np.float32)
    expected = b"7 50 101\n" + b"".join(b"%g " % value for value in x.ravel().tolist()) + b"\n"
    assert b"".join(map_text(x)) == expected
    assert b"".join(map_text(np.asfortranarray(x))) == expected
    assert b"".join(map_text(np.stack([x, x], axis=3)[..., 1])) == expected
    for length in (1 << 14, (1 << 14) - 1, (1 << 14) + 1):
        assert b"".join(map_text(np.zeros((length, 1, 1), np.float32))) == b"%d 1 1\n" % length + b"0 " * length + b"\n"


def test_npy_records_follow_each_other() -> None:
    """`np.load` reads one after another, whatever order the memory is in."""
    x = np.random.default_rng(0).standard_normal((3, 4, 5), np.float32)
    pictures_last = np.stack([x, x], axis=3)[..., 0]
    arrays = [x, pictures_last, x[:1], x[:, ::-1], np.asfortranarray(x)[:1]]
    stream = BytesIO(b"".join(chunk for array in arrays for chunk in map_npy(array)))
    for array in arrays:
        np.testing.assert_array_equal(np.load(stream), array)
    assert stream.read() == b""


def test_npy_of_fortran_order() -> None:
    x = np.asfortranarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    np.testing.assert_array_equal(np.load(BytesIO(b"".join(map_npy(x)))), x)


@given(st.lists(FLOATS, min_size=1, max_size=20), st.binary(min_size=1).map(os.fsdecode))
def test_map_tsv_is_six_fields_a_line(values: list[float], file: str) -> None:
    """As many as the heading has, for a picture that failed, too."""
    line = b"".join(map_tsv(np.array(values, np.float32).reshape(1, -1, 1), 7, file))
    lines = [line, failure_record("tsv", 7, file, maps.TSV_HEADING)]
    told = [b"1", b"%d" % len(values), b"1", b" ".join(map(printf, values))]
    for line, expected in zip(lines, [told, [b""] * 4], strict=True):
        assert line.count(b"\n") == 1
        fields = line.removesuffix(b"\n").split(b"\t")
        assert (len(fields), fields[0], fields[2:]) == (maps.TSV_HEADING.count(b"\t") + 1, b"7", expected)


@given(st.lists(st.floats(width=32), min_size=1, max_size=20), st.text())
def test_map_json_gives_the_numbers_back(values: list[float], file: str) -> None:
    """All of them bit for bit; what is not finite is null."""
    text = b"".join(map_json(np.array(values, np.float32).reshape(-1, 1, 1), 7, file, warning="]nan"))
    assert text.count(b"\n") == 1
    record = json.loads(text, parse_constant=lambda name: name)
    assert record.pop("values") == [
        float(f"{value:.9g}") if math.isfinite(value) else None for value in values
    ]
    assert record == {"picture": 7, "file": file, "warning": "]nan", "shape": [len(values), 1, 1]}
    finite = [value for value in values if math.isfinite(value)]
    assert [np.float32(f"{value:.9g}") for value in finite] == finite


def test_long_maps_in_pieces() -> None:
    x = np.random.default_rng(0).standard_normal((7, 50, 101), np.float32)
    *_, last = b"".join(map_tsv(x, 1, None)).split(b"\t")
    assert last == b" ".join(b"%g" % value for value in x.ravel().tolist()) + b"\n"
    found = np.array(json.loads(b"".join(map_json(x, 1, None)))["values"], np.float32)
    np.testing.assert_array_equal(found.reshape(x.shape), x)


@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), st.integers(0, 2))
def test_threshold_keeps_what_is_printed_as_large(values: list[float], which: int) -> None:
    """A probability passes the threshold that its shortest decimal names."""
    least = float(str(np.float32(values[which])))
    kept = [item.index for item, _ in rank(np.array(values, np.float32), CLASSES, 3, least)]
    assert sorted(kept) == [index for index, value in enumerate(values) if value >= values[which]]


def test_no_classes_left() -> None:
    assert ranking_text([]) == b""
    assert ranking_tsv([], 3, "a") == b"3\ta\t\t\t\t\n" == failure_record("tsv", 3, "a", ranking.TSV_HEADING)
    assert ranking.TSV_HEADING.count(b"\t") == ranking_tsv([], 3, "a").count(b"\t")
    assert json.loads(ranking_json([], 3, "a"))["classes"] == []


@given(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5]), min_size=3, max_size=3), st.integers(1, 5))
def test_rank(values: list[float], count: int) -> None:
    """Best first; equals in the order of the classes; never more than there are."""
    ranking = rank(np.array(values, np.float32), CLASSES, count)
    expected = sorted(range(3), key=lambda index: (-values[index], index))[:count]
    assert [item.index for item, _ in ranking] == expected


@given(st.floats(0, 1, width=32))
def test_ranking_text(probability: float) -> None:
    assert ranking_text([(CLASSES[1], probability)]) == b"tabby, tabby cat " + printf(probability) + b"\n"


@given(st.binary(min_size=1).map(os.fsdecode), st.integers(1, 10**6))
def test_tsv_is_six_fields_a_line(file: str, number: int) -> None:
    """Names of files may hold anything; a line stays a line, and the name can be had back."""
    text = ranking_tsv([(item, 0.25) for item in CLASSES], number, file)
    lines = text.split(b"\n")
    assert lines.pop() == b""
    assert b"\r" not in text
    for item, line in zip(CLASSES, lines, strict=True):
        fields = line.split(b"\t")
        assert fields[0] == b"%d" % number
        assert fields[2:] == [b"%d" % item.index, item.wnid.encode(), item.name.encode(), b"0.25"]
        plain = re.sub(rb"\\(.)", lambda escape: ESCAPES[escape[1]], fields[1])
        assert os.fsdecode(plain) == file
    assert ranking_tsv([(CLASSES[0], 1.0)], 1, None).split(b"\t")[1] == b"-"


@given(st.floats(0, 1, width=32), st.text(), st.text())
def test_json_lines(probability: float, file: str, message: str) -> None:
    """One object a line; a probability reads back as the float32 that it was, in as few digits as that takes."""
    for record in (ranking_json([(CLASSES[1], probability)], 3, file), json_record(3, file, error=message)):
        assert record.endswith(b"\n")
        assert record.count(b"\n") == 1
        parsed = json.loads(record)
        assert (parsed["picture"], parsed["file"]) == (3, file)
    assert parsed["error"] == message
    (found,) = json.loads(ranking_json([(CLASSES[1], probability)], 3, None))["classes"]
    told = found.pop("probability")
    assert (np.float32(told), float(f"{told:.9g}")) == (np.float32(probability), told)
    assert found == {"index": 1, "wnid": "n00000002", "name": "tabby, tabby cat"}


def test_table() -> None:
    text = table([("layer", "kind"), (1, "convolve"), (10, "pad")])
    assert text == "layer  kind\n    1  convolve\n   10  pad\n"
