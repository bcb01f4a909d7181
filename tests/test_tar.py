"""Archives are read member by member as they come; whatever is in them costs at most itself."""

import io
import os
import shutil
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfeat_tools.pictures import Item, read_items
from overfeat_tools.pictures.supply import Supply
from overfeat_tools.pictures.tar import members
from tests.picture_files import MAKERS, smooth
from tests.processes import SAMPLES, Live, shell

SMOOTH = smooth()
PNG = MAKERS["png"](SMOOTH)
NAMES = ["a.png", "folder/b.jpg", "c" * 150 + "/" + "d" * 120, "ä\udcff.ppm", "/absolute/../e", "new\nline"]


def archive(contents: dict[str, bytes], form: int = tarfile.PAX_FORMAT, mode: str = "w") -> bytes:
    """Give an archive as Python's tarfile writes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=form) as tar:  # type: ignore[call-overload]
        for name, data in contents.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def read(path: Path, data: bytes, told: list[str] | None = None) -> list[Item]:
    """Write an archive and read it as the commands do."""
    path.write_bytes(data)
    return list(read_items([str(path)], {}, tell=(told if told is not None else []).append))


def tar(*arguments: str | Path) -> bytes:
    """Give an archive as tar writes it."""
    command = [shutil.which("tar") or pytest.skip("tar is not installed"), "-c", *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give the name of an archive."""
    return tmp_path / "a.tar"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_names(form: int, mode: str, file: Path) -> None:
    """They are kept, behind the archive's, of any length and of any bytes."""
    names = NAMES if form != tarfile.USTAR_FORMAT else [name for name in NAMES if name.isascii() and len(name) < 100]
    items = read(file, archive(dict.fromkeys(names, PNG), form, mode))
    assert [item.file for item in items] == [f"{file}/{name}" for name in names]
    assert [item.place for item in items] == [item.file for item in items]
    for item in items:
        np.testing.assert_array_equal(item.pixels, SMOOTH)


@pytest.mark.parametrize("form", ["gnu", "pax", "ustar", "oldgnu"])
def test_gnu_tar(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    for name in ("a", "b" * 90, "c" * (200 if form != "ustar" else 50)):
        (folder / name).write_bytes(PNG)
    (folder / "link").symlink_to("a")
    os.link(folder / "a", folder / "same")
    os.mkfifo(folder / "pipe")
    made = tar("--sort=name", "-H", form, "-C", tmp_path, "f")
    told: list[str] = []
    items = read(tmp_path / "a.tar", made, told)
    assert [item.error for item in items] == [None] * 3
    assert told == [f"passed over what is no picture: {tmp_path}/a.tar/f/link, and 2 more"]


def test_members_of_any_kind(file: Path) -> None:
    """Labels beside pictures are passed over, and told of once; one that is broken costs itself."""
    contents = {
        "0.png": PNG, "0.cls": b"7\n", "0.json": b"{}", "empty": b"", "blank": bytes(600),
        "broken.png": PNG[:-30], "two.ppm": MAKERS["p6"](SMOOTH) * 2, "junk.ppm": b"P6 junk",
        "in.tar": archive({"x": PNG}), "film.mp4": b"\0\0\0\x18ftypmp42" + bytes(999),
        "tail.jpg": MAKERS["jpeg"](SMOOTH) * 2, "last.gif": MAKERS["gif"](SMOOTH),
    }  # fmt: skip
    told: list[str] = []
    items = read(file, archive(contents), told)
    assert told == [f"passed over what is no picture: {file}/0.cls, and 5 more"]
    found = [(item.place.removeprefix(f"{file}/"), item.error is None) for item in items]
    assert found == [
        ("0.png", True), ("broken.png", False), ("two.ppm", True), ("two.ppm: picture 2", True),
        ("junk.ppm: picture 1", False), ("tail.jpg", True), ("last.gif", True),
    ]  # fmt: skip


def test_several_archives_one_after_the_other(file: Path) -> None:
    """As `cat` makes them; and what else stands behind the end is no part of one."""
    data = archive({"a": PNG})
    assert [item.error for item in read(file, data * 3 + b"junk" * 999)] == [None] * 3
    assert [item.error for item in read(file, data.rstrip(b"\0") + bytes(-len(data.rstrip(b"\0")) % 512))] == [None]


@pytest.mark.parametrize("at", [300, 512, 520, 900, 1100])
def test_cut_off(at: int, file: Path) -> None:
    """What is there is answered, and the place where it ends is told."""
    items = read(file, archive({"a": PNG, "b": PNG})[:at] if at > 512 else archive({"a": PNG})[:at])
    assert items[-1].error is not None
    if at > 300:
        assert f"byte {at}: the archive is cut off" in str(items[-1].error)
        assert items[-1].place == str(file)


def patched(data: bytes, place: int, text: bytes) -> bytes:
    """Change a header, and mend its sum."""
    header = bytearray(data[:512])
    header[place : place + len(text)] = text
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


SIZE, TYPE = 124, 156


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: patched(data, SIZE, b"77777777777\0"), "larger than"),
        (lambda data: patched(data, SIZE, b"\x80" + b"\x7f" * 11), "impossible size"),
        (lambda data: patched(data, SIZE, b"\xff" * 12), "below 0"),
        (lambda data: patched(data, TYPE, b"x") + PNG, "cut off"),
        (lambda data: patched(patched(data, TYPE, b"x"), SIZE, b"77777777777\0"), "header is longer"),
        (lambda data: patched(patched(data, TYPE, b"L"), SIZE, b"77777777777\0"), "header is longer"),
        (lambda data: patched(data, TYPE, b"S"), "sparse"),
        (lambda data: data + b"x" * 512, "no header"),
    ],
)  # fmt: skip
def test_hostile(spoil: Callable[[bytes], bytes], words: str, file: Path) -> None:
    one = archive({"a": PNG}).rstrip(b"\0")
    one += bytes(-len(one) % 512)
    tracemalloc.start()
    try:
        items = read(file, spoil(one))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert any(words in str(item.error) for item in items)


def test_sparse_files(tmp_path: Path) -> None:
    """They are refused, in every format; those behind them are read."""
    (tmp_path / "a").write_bytes(PNG)
    os.truncate(tmp_path / "a", 1 << 22)
    with (tmp_path / "a").open("r+b") as file:
        for place in range(0, 1 << 22, 1 << 16):
            file.seek(place)
            file.write(b"x")
    (tmp_path / "b").write_bytes(PNG)
    for form in ("gnu", "pax"):
        first, second = read(tmp_path / "a.tar", tar("-S", "-H", form, "-C", tmp_path, "a", "b"))
        assert "sparse" in str(first.error)
        assert second.error is None


@given(st.lists(st.integers(0, 3000), max_size=8), st.lists(st.integers(1, 4000), min_size=1, max_size=8))
def test_members_in_pieces(sizes: list[int], lengths: list[int]) -> None:
    """However the bytes come, and whether or not a member is read."""
    data = archive({str(number): bytes([number]) * size for number, size in enumerate(sizes, start=1)})
    pieces, place = [], 0
    while place < len(data):
        length = lengths[len(pieces) % len(lengths)]
        pieces.append(data[place : place + length])
        place += length
    supply = Supply(iter(pieces))
    for number, member in enumerate(members(supply), start=1):
        assert (member.name, member.size) == (str(number), sizes[number - 1])
        if number % 3:
            part = supply.read(member.size // (number % 3))
            assert part == bytes([number]) * (member.size // (number % 3))
    assert supply.read(1) == b""


def test_on_standard_input() -> None:
    """Members are answered as they come, under their own names."""
    star = (SAMPLES / "star.png").read_bytes()
    data = archive({"s/star.png": star, "s/maze.png": (SAMPLES / "maze.png").read_bytes()})
    with Live("classify", "--net", "tiny", "-n", "1", "--format", "tsv") as live:
        live.send(data[: 512 + len(star) + -len(star) % 512])
        assert live.lines(1)[0].split(b"\t")[:5] == [b"1", b"s/star.png", b"11", b"-", b"star"]
        live.send(data[512 + len(star) + -len(star) % 512 :])
        assert live.finish().out.split(b"\t")[1] == b"s/maze.png"


def test_a_real_pipe() -> None:
    result = shell(f"tar -cz -C {SAMPLES} star.png demo.sh maze.png | of-classify --net tiny -n 1")
    assert result.names == ["star", "maze"]
    result.one_line(0, "passed over what is no picture: demo.sh")
