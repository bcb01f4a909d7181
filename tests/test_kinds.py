"""What a file is is decided by its first bytes; what is no picture is neither read nor run."""

import contextlib
import gc
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overfeat_tools.errors import ImageError
from overfeat_tools.pictures import Item, cursor, prepared, read_items, supply
from tests.picture_files import MAKERS, png_with, saved, smooth

SMOOTH = smooth()


def read(path: Path, data: bytes, side: int | None = None) -> Item:
    """Write a file and read it as the commands do."""
    path.write_bytes(data)
    (item,) = read_items([str(path)], {}, side)
    return item


def pixels(path: Path, data: bytes) -> np.ndarray:  # type: ignore[type-arg]
    """Read a file that must be a whole picture."""
    item = read(path, data)
    assert item.error is None
    assert item.warning is None
    return np.asarray(item.pixels)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give the name of a file whose ending says nothing."""
    return tmp_path / "photo.jpg"


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind not in ("ico", "icns")])
def test_every_kind(kind: str, file: Path) -> None:
    """As it was, within what its compression loses: gray where it is gray, black and white where it is that."""
    found = pixels(file, MAKERS[kind](SMOOTH)).astype(float)
    expected = SMOOTH.astype(float)
    if "gray" in kind or kind in ("p2", "p5"):
        assert np.ptp(found, axis=2).max() == 0
        expected = expected[..., :1] if kind in ("tiff-gray16", "p2", "p5") else expected @ (0.299, 0.587, 0.114)
        expected = expected.reshape(24, 40, 1)
    if "bits" in kind or "fax" in kind:
        assert set(np.unique(found)) == {0, 255}
        return
    assert np.abs(found - expected).mean() < (15 if "palette" in kind or kind == "gif" else 3)


@pytest.mark.parametrize("kind", ["ico", "icns"])
def test_icons(kind: str, file: Path) -> None:
    assert pixels(file, MAKERS[kind](np.full((64, 64, 3), (200, 30, 90), np.uint8))).mean(axis=(0, 1)) == pytest.approx(
        (200, 30, 90), abs=3
    )


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(seen) print { 1 pop } loop\n%%EOF\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (POSTSCRIPT, "PostScript"),
        (b"\xc5\xd0\xd3\xc6" + bytes(30), "PostScript"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"PF\n2 2\n-1\n" + bytes(48), "PFM"),
        (b"Pf\n2 2\n-1\n" + bytes(16), "PFM"),
        (b"\0\0\0\x18ftypqt  " + bytes(30), "video"),
        (b"\x1aE\xdf\xa3" + bytes(30), "video"),
        (b"\0\0\0\x18ftypcrx " + bytes(30), "camera raw"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(40), "camera raw"),
        (b"FUJIFILMCCD-RAW 0201", "camera raw"),
        (b"IIRO\x08\0\0\0" + bytes(30), "camera raw"),
        (b"#?RADIANCE\n", "Radiance"),
        (b"v/1\1" + bytes(30), "OpenEXR"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"PK\3\4" + bytes(30), "archive"),
        (b"\xff\x0a" + bytes(30), "JPEG XL"),
        (b"#define a_width 8\n#define a_height 8\n", "XBM"),
        (b"hello\n" * 99, "not a picture"),
        (b"\0\0", "no picture"),
        (b"\n \n", "no picture"),
        (b"", "empty"),
    ],
)  # fmt: skip
def test_what_is_refused(data: bytes, words: str, file: Path) -> None:
    """In one sentence that names what it is."""
    item = read(file, data)
    assert item.pixels is None
    assert words in str(item.error)
    assert str(item.error).isprintable()


def test_no_program_is_started(tmp_path: Path) -> None:
    """Neither by any kind of file nor by one that is damaged, or only begins like a picture."""
    files = {kind: make(SMOOTH) for kind, make in MAKERS.items()}
    files |= {f"{kind}-cut": data[: len(data) // 2] for kind, data in files.items()}
    files |= {"eps.jpg": POSTSCRIPT, "eps.tif": b"II*\0" + POSTSCRIPT, "eps.png": b"\x89PNG\r\n\x1a\n" + POSTSCRIPT}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    program = (
        "import sys; from tests.fuzz_decoders import watch_programs; watch_programs()\n"
        "from overfeat_tools.pictures import read_items\n"
        "print(sum(item.error is None for item in read_items(sys.argv[1:], {})))"
    )
    command = [sys.executable, "-c", program, *(str(tmp_path / name) for name in files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) >= len(MAKERS)


# What is read is bounded.


@pytest.fixture
def count_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give a list that takes the length of everything that is read."""
    lengths: list[int] = []
    read_bytes = os.read

    def counting(descriptor: int, size: int) -> bytes:
        data = read_bytes(descriptor, size)
        lengths.append(len(data))
        return data

    monkeypatch.setattr(supply.os, "read", counting)
    return lengths


@pytest.mark.parametrize("start", [b"\0\0\0\x18ftypqt  ", b"", b"hello", b"\xff\xd8\xff\xe0"])
def test_a_huge_file_is_not_read(start: bytes, file: Path, count_bytes: list[int]) -> None:
    """A sparse file of 20 GB: refused by its first bytes, or for its size."""
    file.write_bytes(start)
    os.truncate(file, 20 << 30)
    (item,) = read_items([str(file)], {})
    assert isinstance(item.error, ImageError)
    assert sum(count_bytes) <= 2 << 20


def test_endless_zeros(count_bytes: list[int]) -> None:
    (item,) = read_items(["/dev/zero"], {})
    assert "65536 bytes of white space" in str(item.error)
    assert sum(count_bytes) <= 1 << 20


def test_an_endless_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no size to be refused for, so what comes is counted."""
    monkeypatch.setattr(cursor, "MOST_PICTURE_BYTES", 1 << 16)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), pipe.open("wb", buffering=0) as sink:
            for _ in range(1000):
                sink.write(b"\xff\xd8\xff\xe0" + bytes(1 << 16))

    writer = threading.Thread(target=write)
    writer.start()
    (item,) = read_items([str(pipe)], {})
    writer.join(60)
    assert "larger than" in str(item.error)


def test_errors_keep_no_data(file: Path) -> None:
    """Damaged files of a megabyte, whose errors wait to be told."""
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    data = saved(noise, "PNG", compress_level=0)
    read(file, data)  # what the libraries keep
    file.write_bytes(data[:-1000])
    tracemalloc.start()
    try:
        items = [item for _ in range(8) for item in read_items([str(file)], {})]
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert all(item.error for item in items)
    assert kept < len(data)


def test_no_memory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is met, it costs one picture."""

    def none_left(*_: object) -> bytes:
        raise MemoryError

    data = MAKERS["png"](SMOOTH)
    good = read(file, data)
    (item,) = prepared(iter([good]), none_left, {})  # type: ignore[arg-type]
    assert "memory" in str(item.error)
    monkeypatch.setattr("overfeat_tools.pictures.kinds.rgb", none_left)
    assert "memory" in str(read(file, data).error)
    monkeypatch.setattr("overfeat_tools.pictures.reading._whole", none_left)
    assert "memory" in str(read(file, data).error)
    monkeypatch.setattr(supply.Supply, "peek", none_left)
    assert "memory" in str(read(file, data).error)


def test_a_picture_too_large_for_memory(tmp_path: Path) -> None:
    """Under a limit of 700 MB: the next picture is answered."""
    Image.new("1", (11000, 11000)).save(tmp_path / "large", "PNG")
    (tmp_path / "small").write_bytes(MAKERS["png"](SMOOTH))
    program = (
        "import resource, sys; from overfeat_tools.pictures import read_items\n"
        "list(read_items(sys.argv[2:], {})); resource.setrlimit(resource.RLIMIT_AS, (700 << 20,) * 2)\n"
        "print(*(item.error for item in read_items(sys.argv[1:], {})), sep=';')"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "large"), str(tmp_path / "small")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.startswith("not enough memory")
    assert done.stdout.endswith(";None\n")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MAKERS["png"](SMOOTH)[:-40], "cut off"),
        (lambda: MAKERS["bmp"](SMOOTH)[:-40], "cut off"),
        (lambda: MAKERS["webp"](SMOOTH)[:-40], "cut off"),
        (lambda: png_with(MAKERS["png"](SMOOTH))[:50] + bytes(60), "damaged"),
        (lambda: b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\4\0\0\0\4\0\x10\0\3" + bytes(99), "isn't supported"),
    ],
    ids=["png", "bmp", "webp", "png-damaged", "psd-16"],
)
def test_what_is_wrong(make: Callable[[], bytes], words: str, file: Path) -> None:
    assert words in str(read(file, make()).error)


def test_formats_whose_frames_do_not_begin_at_0(file: Path) -> None:
    """A PSD's first frame is number 1."""
    height, width = SMOOTH.shape[:2]
    head = b"8BPS\0\1" + bytes(6) + b"\0\3" + height.to_bytes(4, "big") + width.to_bytes(4, "big") + b"\0\x08\0\3"
    planes = np.moveaxis(SMOOTH, 2, 0).tobytes()
    np.testing.assert_array_equal(pixels(file, head + bytes(12) + b"\0\0" + planes), SMOOTH)


@pytest.mark.parametrize("count", [1, 255, 256])
def test_palettes_of_every_size(count: int, file: Path) -> None:
    """A TGA's has its length among the bytes that it is recognised by."""
    table = np.random.default_rng(0).integers(0, 256, (count, 3), np.uint8)
    indices = np.arange(24 * 40).reshape(24, 40) % count
    head = struct.pack("<BBBHHBHHHHBB", 0, 1, 1, 0, count, 24, 0, 0, 40, 24, 8, 0x20)
    data = head + table[:, ::-1].tobytes() + indices.astype(np.uint8).tobytes()
    np.testing.assert_array_equal(pixels(file, data), table[indices])


def test_packed_rows_without_an_end(file: Path) -> None:
    """As ffmpeg writes SGI: the length of a row is enough."""
    planes = np.moveaxis(SMOOTH, 2, 0)[:, ::-1]
    rows = [bytes([0x80 | 40]) + row.tobytes() for plane in planes for row in plane]
    offsets = [512 + 8 * len(rows) + 41 * number for number in range(len(rows))]
    head = struct.pack(">HBBHHHH", 474, 1, 1, 3, 40, 24, 3).ljust(512, b"\0")
    data = head + struct.pack(f">{len(rows)}I", *offsets) + struct.pack(">I", 41) * len(rows) + b"".join(rows)
    np.testing.assert_array_equal(pixels(file, data), SMOOTH)


def test_what_the_system_lacks_is_no_damage(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library or a descriptor may be missing while a good file is decoded."""
    data = MAKERS["png"](SMOOTH)
    for error, words in ((OSError(24, "Too many open files"), "too many open"), (ImportError("no room"), "no room")):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("overfeat_tools.pictures.kinds.rgb", fail)
        assert words in str(read(file, data).error)


def test_a_stream_that_begins_with_blanks_is_one_in_a_file_too(file: Path) -> None:
    np.testing.assert_array_equal(pixels(file, b"\n\0 \n" + MAKERS["p6"](SMOOTH)), SMOOTH)
