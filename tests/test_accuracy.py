"""Labels are matched as the manual page says, and the counts are those of a slow, obvious loop."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfeat_tools.errors import UsageError
from overfeat_tools.networks.classes import Class, read_classes
from overfeat_tools.networks.topology import FAST, TINY
from overfeat_tools.results.accuracy import Accuracy, Labels, rank_of
from overfeat_tools.results.records import tsv_record
from tests.processes import SAMPLES, STAR, ppm, run

CLASSES = read_classes(FAST)
CRANES = [each for each in CLASSES if each.name == "crane"]


def labels(*lines: bytes, classes: tuple[Class, ...] = CLASSES) -> Labels:
    """Read labels from lines."""
    return Labels([line + b"\n" for line in lines], classes, "truth")


def test_every_class_has_a_label_of_its_own() -> None:
    """Its id always; its name, unless it is the one that two classes have."""
    found = labels(*[b"%d\t%b" % (each.index, each.wnid.encode()) for each in CLASSES])
    assert [found.of(str(each.index)) for each in CLASSES] == list(CLASSES)
    named = [each for each in CLASSES if each not in CRANES]
    found = labels(*[b"%d\t%b" % (each.index, each.name.encode()) for each in named])
    assert [found.of(str(each.index)) for each in named] == named


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name and not name.startswith(b"\xef\xbb\xbf")))
def test_any_name_as_tsv_writes_it(name: bytes) -> None:
    """What of-classify prints can be used as labels."""
    file = os.fsdecode(name)
    written = tsv_record(1, file, CLASSES[3].wnid.encode()).split(b"\t", 1)[1]
    assert Labels([written], CLASSES, "truth").of(file) is CLASSES[3]


def test_names_whole_then_without_folders() -> None:
    found = labels(b"b/x.jpg\tn02119789", b"x.jpg\tn02100735", b"c/y.jpg\tn02110185")
    files = ("b/x.jpg", "a/x.jpg", "x.jpg", "./x.jpg", "y.jpg", "b/y.jpg", "c/y.jpg")
    wnids = [each.wnid if (each := found.of(file)) else None for file in files]
    assert wnids == ["n02119789", *["n02100735"] * 3, None, None, "n02110185"]


def test_what_editors_add_is_no_part_of_a_label() -> None:
    found = labels(b"\xef\xbb\xbfa\tn02119789\r", b"", b"\r", b"b c\t English setter ")
    assert [found.of("a"), found.of("b c"), found.of("")] == [CLASSES[0], CLASSES[1], None]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([b"a\tn02119789", b"b\tcrane"], ["line 2", *(each.wnid for each in CRANES)]),
        ([b"a\tno such class"], ["line 1", "no such class"]),
        ([b"a n02119789"], ["line 1", "tab"]),
        ([b"\tn02119789"], ["line 1"]),
        ([b"a\t"], ["line 1"]),
        ([b"a\t\xff"], ["line 1"]),
        ([b"a\tn02119789", b"", b"a\tn02100735"], ["line 3", "n02100735", "kit fox"]),
    ],
)
def test_bad_labels(lines: list[bytes], words: list[str]) -> None:
    with pytest.raises(UsageError) as told:
        labels(*lines)
    assert all(word in str(told.value) for word in words)


def test_classes_without_ids_have_names_only() -> None:
    tiny = read_classes(TINY)
    assert labels(b"a\tstar", classes=tiny).of("a") == tiny[11]
    with pytest.raises(UsageError, match="is no class"):
        labels(b"a\t-", classes=tiny)


@given(st.lists(st.tuples(st.lists(st.sampled_from([0.0, 0.1, 0.5]), min_size=9, max_size=9), st.integers(0, 8))))
def test_counts(pictures: list[tuple[list[float], int]]) -> None:
    """Equal probabilities rank in the order of the classes, as they are printed."""
    accuracy, first, five = Accuracy(), 0, 0
    for values, right in pictures:
        order = sorted(range(9), key=lambda index: (-values[index], index))
        rank = rank_of(np.array(values, np.float32), right)
        assert rank == order.index(right) + 1
        first, five = first + (right in order[:1]), five + (right in order[:5])
        accuracy.add(rank)
    accuracy.add(None)
    told = json.loads(accuracy.json())
    assert (told["judged"], told["unlabelled"]) == (len(pictures), 1)
    assert (told["top1"]["right"], told["top5"]["right"]) == (first, five)
    if pictures:
        assert told["top1"]["error_percent"] == pytest.approx(100 - 100 * first / len(pictures), abs=1e-3)
    assert len({line.count(b"\t") for line in accuracy.tsv().splitlines()}) == 1


def test_published_figures_are_printed_as_published() -> None:
    accuracy = Accuracy(judged=50_000, right=(30_360, 41_440))
    told = accuracy.text().splitlines()
    assert told[1:] == [b"top-1: 30360 right, 39.28 % error", b"top-5: 41440 right, 17.12 % error"]


def test_program(tmp_path: Path) -> None:
    """In each format; with pictures that are wrong, unlabelled and unusable."""
    truth, maze, spiral = tmp_path / "truth.tsv", SAMPLES / "maze.png", SAMPLES / "spiral.png"
    truth.write_text(f"star.png\tstar\n{maze}\tmaze\nspiral.png\tlinear gradient\n")
    arguments = ["--net", "tiny", "-n", "1", "--truth", truth, STAR, maze, spiral, SAMPLES / "bricks.png", "/none"]
    text = run("classify", *arguments)
    text.one_line(3, "/none")
    head, one, five = text.out.decode().splitlines()
    assert head == "judged: 3; without a label: 1; failed: 1"
    assert one == "top-1: 2 right, 33.33 % error"
    assert five.startswith("top-5: ")
    table = run("classify", *arguments, "--format", "tsv", "--header").out.decode().splitlines()
    assert table[0] == "top\tright\tjudged\terror_percent\tunlabelled\tfailed"
    assert table[1].split("\t") == ["1", "2", "3", "33.3333", "1", "1"]
    *records, summary = map(json.loads, run("classify", *arguments, "--format", "json").out.splitlines())
    assert [record.get("rank") for record in records[:2]] == [1, 1]
    assert records[2]["rank"] > 1
    assert records[2]["truth"]["name"] == "linear gradient"
    assert (records[3]["truth"], records[3]["rank"]) == (None, None)
    assert "error" in records[4]
    assert summary["top1"] == {"right": 2, "error_percent": 33.3333}
    stopped = run("classify", *arguments[:6], "--strict", "/none", STAR)
    assert (stopped.status, stopped.out) == (3, b"")


def test_what_cannot_be_judged(tmp_path: Path) -> None:
    truth = tmp_path / "truth.tsv"
    truth.write_text("maze.png\tmaze\n")
    tiny = ["--net", "tiny", "--truth"]
    run("classify", *tiny, truth, STAR).one_line(2, "no picture has a label", "star.png")
    run("classify", *tiny, truth, data=ppm(231, 231)).one_line(2, "standard input")
    run("classify", *tiny, tmp_path / "none", STAR).one_line(2, "no such file")
    run("classify", *tiny, tmp_path, STAR).one_line(2, "is a directory")
