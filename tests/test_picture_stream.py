"""A stream of pictures of any kind is cut where each of them ends, however it comes and whatever is wrong with it."""

import gzip
import io
import os
import random
import shutil
import struct
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from overfeat_tools.errors import ImageError, StreamError
from overfeat_tools.pictures import Item, cursor, read_items
from overfeat_tools.pictures.picture import Encoded, Remark
from overfeat_tools.pictures.stream import StreamParser
from tests.picture_files import MAKERS, exif, jpeg_with, saved, smooth
from tests.processes import SAMPLES, Live, run, shell

SMOOTH = smooth()
NOISE = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
THUMBNAIL = saved(smooth(8, 8), "JPEG")
JPEG = jpeg_with(saved(NOISE, "JPEG", quality=95), (0xE1, b"Exif\0\0" + exif(1) + bytes(4) + THUMBNAIL))
FILES = {
    "jpeg": JPEG,
    "restarts": saved(NOISE, "JPEG", restart_marker_blocks=1),
    "progressive": saved(NOISE, "JPEG", progressive=True),
    "fill": JPEG[:2] + b"\xff" * 9 + JPEG[2:],
    "png": MAKERS["png"](SMOOTH),
    "webp": MAKERS["webp"](SMOOTH),
    "p6": MAKERS["p6"](SMOOTH),
    "p3": MAKERS["p3"](SMOOTH),
}


def parsed(pieces: list[bytes]) -> list[object]:
    """Feed a parser piece by piece; give what it gives, or its error."""
    parser, found = StreamParser(), []
    for piece in [*pieces, None]:
        if piece is None:
            parser.close()
        else:
            parser.feed(piece)
        while True:
            try:
                event = parser.next_picture()
            except StreamError as error:
                return [*found, error]
            except ImageError as error:
                event = error
            if event is None:
                break
            found.append(event)
    return found


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut data into pieces."""
    places = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


@given(st.lists(st.sampled_from(sorted(FILES)), max_size=6), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_files_come_out_as_they_went_in(names: list[str], places: list[int]) -> None:
    """Whatever kinds follow each other, with blanks between them, in pieces of any length."""
    found = parsed(cut(b"\n\0".join(FILES[name] for name in names), places))
    assert len(found) == len(names)
    for name, event in zip(names, found, strict=True):
        if name in ("p3", "p6"):
            np.testing.assert_array_equal(event.pixels, SMOOTH)  # type: ignore[attr-defined]
        else:
            assert isinstance(event, Encoded)
            assert event.data == FILES[name]


@pytest.mark.parametrize("name", ["jpeg", "progressive", "png", "webp", "p6"])
def test_a_picture_is_given_with_its_last_byte(name: str) -> None:
    parser = StreamParser()
    for number in range(2):
        parser.feed(FILES[name][:-1])
        assert parser.next_picture() is None, number
        parser.feed(FILES[name][-1:])
        assert parser.next_picture() is not None, number


@pytest.mark.parametrize("name", ["jpeg", "restarts", "progressive", "png"])
def test_damage_costs_one_picture(name: str) -> None:
    """The pictures around a damaged one are found, whatever byte of it is wrong or from where on it is missing."""
    data, draw = FILES[name], random.Random(0)  # noqa: S311 -- nothing secret
    lost = 0
    for _ in range(300):
        damaged = bytearray(data)
        if draw.random() < 0.3:
            del damaged[draw.randrange(12, len(data)) :]
        else:
            damaged[draw.randrange(2, len(data))] = draw.randrange(256)
        found = parsed([data + bytes(damaged) + data])
        files = [event.data for event in found if isinstance(event, Encoded)]
        assert files[0] == data
        lost += files[-1] != data or len(found) > 4
    # Metadata that is cut off hides where the next picture begins, which is then lost, too.
    assert lost <= {"jpeg": 40, "restarts": 10, "progressive": 20, "png": 0}[name]


def test_cut_off_jpegs_are_answered_as_far_as_they_go() -> None:
    large = saved(np.repeat(np.repeat(NOISE, 4, 0), 4, 1), "JPEG")
    first, second = read_stream(large[: len(large) // 2] + JPEG)
    assert "premature" in str(first.warning)
    assert second.error is second.warning is None


def read_stream(data: bytes, **options: object) -> list[Item]:
    """Read data as a pipe brings them."""
    reader, writer = os.pipe()

    def write() -> None:
        with open(writer, "wb") as pipe:  # noqa: PTH123
            pipe.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        return list(read_items([f"/dev/fd/{reader}"], {}, **options))  # type: ignore[arg-type]
    finally:
        os.close(reader)
        thread.join()


def test_junk_between_and_behind() -> None:
    """Between pictures it was one; behind the last it is what phones append, and only told."""
    told: list[str] = []
    items = read_stream(JPEG + b"junk" * 99 + FILES["png"] + b"more", tell=told.append)
    assert [item.error is None for item in items] == [True, False, True]
    assert str(items[1].error) == f"byte {len(JPEG)}: damaged: 396 bytes that are no picture"
    assert len(told) == 1
    assert told[0].endswith(": picture 3: followed by 4 bytes that are no picture")
    assert isinstance(parsed([FILES["p6"] + b"junk" + JPEG])[-1], StreamError)
    (error,) = parsed([b"%!PS-Adobe"])
    assert "PostScript" in str(error)


def test_remark_of_an_endless_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overfeat_tools.pictures.stream.MOST_PICTURE_BYTES", 1000)
    assert isinstance(parsed([JPEG, *[b"x" * 100] * 20])[-1], StreamError)
    assert isinstance(parsed([JPEG, *[b"x" * 100] * 5])[-1], Remark)
    monkeypatch.setattr(cursor, "MOST_PICTURE_BYTES", 1000)
    assert "larger than" in str(parsed([JPEG[:300], *[b"x" * 100] * 20])[-1])


def multi_picture(first: bytes, second: bytes) -> bytes:
    """Give a file in the Multi-Picture Format."""
    block = b"MPF\0II*\0" + struct.pack("<IHHHIIHHIII", 8, 2, 0xB001, 4, 1, 2, 0xB002, 7, 32, 38, 0)
    size = len(first) + 4 + len(block) + 32
    entries = struct.pack("<IIIIIIII", 0x030000, size, 0, 0, 0, len(second), size - 10, 0)
    return jpeg_with(first, (0xE2, block + entries)) + second


def test_further_pictures_of_one_file_are_no_pictures_of_the_stream() -> None:
    """A stereo view or a gain map belongs to the first; but an index that is no longer true belongs to nobody."""
    data = multi_picture(JPEG, THUMBNAIL)
    assert [Image.open(io.BytesIO(data)).n_frames, len(read_stream(data + JPEG + data))] == [2, 3]
    stale = data[: -len(THUMBNAIL)]
    assert len(read_stream(stale[:2] + b"\xff\xfe\0\2" * 2000 + stale[2:] + JPEG * 2)) == 3


@pytest.mark.parametrize("tail", [JPEG, b"\0\0\0\x18ftypmp42" + bytes(99), b"SEFT"])
def test_a_file_is_one_picture(tail: bytes, tmp_path: Path) -> None:
    """Whatever a phone appended to it; in a pipe, JPEGs are told apart."""
    (tmp_path / "a.jpg").write_bytes(JPEG + tail)
    (item,) = read_items([str(tmp_path / "a.jpg")], {})
    assert item.error is None


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind not in ("ico", "icns")])
def test_every_kind_on_standard_input(kind: str, tmp_path: Path) -> None:
    data = MAKERS[kind](SMOOTH)
    (tmp_path / "a").write_bytes(data)
    (expected,) = read_items([str(tmp_path / "a")], {})
    (found,) = read_stream(data)
    np.testing.assert_array_equal(found.pixels, expected.pixels)


def test_live_pictures() -> None:
    """A JPEG and a PNG on standard input are answered before anything follows them."""
    star = (SAMPLES / "star.png").read_bytes()
    jpeg = saved(np.asarray(Image.open(SAMPLES / "maze.png").convert("RGB")), "JPEG")
    with Live("classify", "--net", "tiny", "-n", "1", "--format", "json") as live:
        for number, data in enumerate((star, jpeg, star), start=1):
            live.send(data)
            line = live.lines(1)[-1]
            assert b'"picture": %d, "file": null' % number in line
            assert (b"maze" if number == 2 else b"star") in line
        assert live.finish().status == 0


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("codec", ["mjpeg", "png", "ppm"])
def test_frames_of_ffmpeg(codec: str) -> None:
    command = f"ffmpeg -loglevel error -f lavfi -i testsrc=d=1:r=3 -f image2pipe -c:v {codec} -"
    result = shell(f"{command} | of-classify --net tiny -n 1")
    assert (result.status, result.err, len(result.names)) == (0, "", 3)


def test_broken_on_standard_input() -> None:
    star = (SAMPLES / "star.png").read_bytes()
    result = run("classify", "--net", "tiny", "-n", "1", data=star + b"junk" + star[:200])
    assert result.names == ["star"]
    assert result.status == 3
    first, second = result.err.splitlines()
    assert f"picture 2: byte {len(star)}: damaged: 4 bytes that are no picture" in first
    assert "picture 3: the PNG file is cut off" in second


def test_gzip(tmp_path: Path) -> None:
    """What is packed is looked at as if it weren't: in a stream, in a file, in several parts, cut off."""
    packed = gzip.compress(JPEG)
    assert [item.error for item in read_stream(packed * 2)] == [None, None]
    (tmp_path / "a.tif.gz").write_bytes(gzip.compress(MAKERS["tiff"](SMOOTH)))
    (item,) = read_items([str(tmp_path / "a.tif.gz")], {})
    np.testing.assert_array_equal(item.pixels, SMOOTH)
    assert "gzip data are cut off" in str(read_stream(packed[:-9])[-1].error)
    assert "gzip data are damaged" in str(read_stream(packed[:20] + b"xx" + packed[22:])[-1].error)
