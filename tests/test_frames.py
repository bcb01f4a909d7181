"""All frames of a file on request, each by itself; and transparent pictures over a background."""

import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageSequence

from overfeat_tools.pictures import Item, read_items
from tests.picture_files import MAKERS, saved, smooth, tiff_of
from tests.processes import run

Array = npt.NDArray[np.generic]

SMOOTH = smooth()
FRAMES = [np.roll(SMOOTH, 7 * n, axis=1) // np.uint8(n + 1) for n in range(5)]
ALPHA = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (24, 1))
TRANSPARENT = np.dstack([SMOOTH, ALPHA])


def read(path: Path, data: bytes, **options: object) -> list[Item]:
    """Write a file and read it as the commands do."""
    path.write_bytes(data)
    return list(read_items([str(path)], {}, **options))  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give the name of a file."""
    return tmp_path / "a"


def several(form: str, **options: object) -> bytes:
    """Give a file of five frames."""
    buffer = io.BytesIO()
    first, *more = map(Image.fromarray, FRAMES)
    first.save(buffer, form, save_all=True, append_images=more, **options)
    return buffer.getvalue()


FORMS = {
    "GIF": {}, "PNG": {"disposal": 1}, "WEBP": {"lossless": True}, "AVIF": {"quality": 90}, "TIFF": {},
    "TIFF-deflate": {"compression": "tiff_adobe_deflate"},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_all_frames(form: str, file: Path) -> None:
    """As Pillow composes them, in order, with their numbers; or only the first few."""
    data = several(form.partition("-")[0], **FORMS[form])
    items = read(file, data, frames=None)
    assert [(item.number, item.frame, item.error) for item in items] == [(n, n, None) for n in range(1, 6)]
    assert [item.place for item in items] == [f"{file}: frame {n}" for n in range(1, 6)]
    for item, frame in zip(items, ImageSequence.Iterator(Image.open(io.BytesIO(data))), strict=True):
        np.testing.assert_array_equal(item.pixels, np.asarray(frame.convert("RGB")))
    for item, pixels in zip(items, FRAMES, strict=True):
        assert np.abs(np.asarray(item.pixels).astype(float) - pixels).mean() < {"GIF": 12, "AVIF": 4}.get(form, 2)
    assert [item.frame for item in read(file, data, frames=2)] == [1, 2]
    (only,) = read(file, data)
    assert (only.frame, only.place) == (None, str(file))
    np.testing.assert_array_equal(only.pixels, items[0].pixels)


@pytest.mark.parametrize("kind", MAKERS)
def test_what_has_no_frames(kind: str, file: Path) -> None:
    """It is the same as ever; where there might have been more, it is frame 1."""
    data = MAKERS[kind](SMOOTH)
    (item,) = read(file, data, frames=None)
    assert item.frame == (1 if kind.partition("-")[0] in ("gif", "png", "webp", "avif", "tiff") else None)
    np.testing.assert_array_equal(item.pixels, read(file, data)[0].pixels)


@pytest.mark.parametrize("form", ["TIFF-deflate", "PNG", "GIF", "WEBP"])
def test_a_damaged_frame(form: str, file: Path) -> None:
    """It costs itself; and whatever is wrong, there is an end, and every line is one."""
    data = several(form.partition("-")[0], **FORMS[form])
    seen = set()
    for place in range(60, len(data), len(data) // 60):
        items = read(file, data[:place] + bytes(4) + data[place + 4 :], frames=None)
        assert 1 <= len(items) <= 6
        assert all(str(item.error).isprintable() for item in items if item.error)
        seen.add(tuple(item.error is None for item in items))
    if form != "WEBP":
        assert (True, True, False, True, True) in seen or (True, True, False, False, False) in seen
    if form == "TIFF-deflate":
        assert (True, True, False, True, True) in seen


def test_pages_that_go_round(file: Path) -> None:
    """A TIFF whose last page points to its first has each of them once; so has one of very many pages."""
    data = bytearray(several("TIFF"))
    items = read(file, bytes(data), frames=None)
    place, order = int.from_bytes(data[4:8], "little"), "little"
    first = data[4:8]
    while place:
        end = place + 2 + 12 * int.from_bytes(data[place : place + 2], order)
        place = int.from_bytes(data[end : end + 4], order)
    data[end : end + 4] = first
    assert len(read(file, bytes(data), frames=None)) == len(items)
    buffer = io.BytesIO()
    page = Image.new("L", (1, 1))
    page.save(buffer, "TIFF", save_all=True, append_images=[page] * 199)
    assert len(read(file, buffer.getvalue(), frames=None)) == 200


def test_in_the_output(tmp_path: Path) -> None:
    """JSON names the frame; tsv has the number of the picture, as ever."""
    (tmp_path / "a.gif").write_bytes(several("GIF"))
    (tmp_path / "a.jpg").write_bytes(MAKERS["jpeg"](SMOOTH))
    arguments = ("classify", "--net", "tiny", "-n", "1", "--frames", "3", tmp_path / "a.gif", tmp_path / "a.jpg")
    found = [json.loads(line) for line in run(*arguments, "--format", "json").out.splitlines()]
    assert [(one["picture"], one.get("frame")) for one in found] == [(1, 1), (2, 2), (3, 3), (4, None)]
    lines = run(*arguments, "--format", "tsv").out.decode().splitlines()
    assert [line.split("\t")[:2] for line in lines] == [
        [str(n), str(tmp_path / name)] for n, name in enumerate(["a.gif"] * 3 + ["a.jpg"], start=1)
    ]


# Backgrounds.


def over(colour: tuple[int, int, int], picture: Array = TRANSPARENT) -> Array:
    """Lay a picture over a colour, the slow way."""
    part = picture[..., 3:].astype(float) / 255
    return np.asarray(picture[..., :3] * part + np.array(colour) * (1 - part))


def pam(pixels: Array, kind: str) -> bytes:
    """Give a PAM file of pixels (H, W, C)."""
    height, width, depth = pixels.shape
    name = f"TUPLTYPE {kind}\n" if kind else ""
    head = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {depth}\nMAXVAL 255\n{name}ENDHDR\n"
    return head.encode() + pixels.tobytes()


def premultiplied() -> bytes:
    """Give a TIFF whose colours are multiplied by alpha."""
    part = TRANSPARENT[..., 3:].astype(np.uint16) * 257
    stored = np.dstack([np.rint(TRANSPARENT[..., :3] * 257.0 * (part / 65535)).astype(np.uint16), part])
    return tiff_of(stored, 2, t338=("H", 1))


KINDS = {
    "png": lambda: saved(TRANSPARENT, "PNG", "RGBA"),
    "webp": lambda: saved(TRANSPARENT, "WEBP", "RGBA", lossless=True, exact=True),
    "tiff": lambda: saved(TRANSPARENT, "TIFF", "RGBA"),
    "tiff-lzw": lambda: saved(TRANSPARENT, "TIFF", "RGBA", compression="tiff_lzw"),
    "tiff-premultiplied": premultiplied,
    "avif": lambda: saved(TRANSPARENT, "AVIF", "RGBA", quality=100),
    "tga": lambda: saved(TRANSPARENT, "TGA", "RGBA"),
    "pam": lambda: pam(TRANSPARENT, "RGB_ALPHA"),
    "pam-untyped": lambda: pam(TRANSPARENT, ""),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (10, 200, 90)])
def test_background(kind: str, colour: tuple[int, int, int], file: Path) -> None:
    """As it is composed by arithmetic; without one, alpha is dropped."""
    (item,) = read(file, KINDS[kind](), background=colour)
    worst = 12 if kind == "avif" else 1
    assert np.abs(np.asarray(item.pixels).astype(float) - over(colour)).max() <= worst
    (item,) = read(file, KINDS[kind]())
    seen = ALPHA > 30
    assert np.abs(np.asarray(item.pixels).astype(float) - SMOOTH)[seen].max() <= 12


def test_gray_with_alpha(file: Path) -> None:
    gray = np.dstack([SMOOTH[..., 0], ALPHA])
    expected = over((255, 0, 0), np.dstack([gray[..., :1].repeat(3, 2), ALPHA]))
    for data in (saved(gray, "PNG", "LA"), pam(gray, "GRAYSCALE_ALPHA"), tiff_of(gray, 1, t338=("H", 2))):
        (item,) = read(file, data, background=(255, 0, 0))
        assert np.abs(np.asarray(item.pixels).astype(float) - expected).max() <= 1


def test_a_transparent_colour_of_a_palette(file: Path) -> None:
    image = Image.fromarray(SMOOTH).quantize(8)
    hidden = np.asarray(image) == 3
    for form in ("GIF", "PNG"):
        buffer = io.BytesIO()
        image.save(buffer, form, transparency=3)
        (item,) = read(file, buffer.getvalue(), background=(1, 2, 3))
        pixels = np.asarray(item.pixels)
        assert (pixels[hidden] == (1, 2, 3)).all()
        assert (pixels[~hidden] == np.asarray(image.convert("RGB"))[~hidden]).all()


@pytest.mark.parametrize("kind", MAKERS)
def test_opaque_pictures_stay(kind: str, file: Path) -> None:
    data = MAKERS[kind](SMOOTH)
    (item,), (same,) = read(file, data, background=(255, 0, 255)), read(file, data)
    np.testing.assert_array_equal(item.pixels, same.pixels)


def test_background_in_every_frame(file: Path) -> None:
    """Of a GIF with a hole that moves."""
    images = []
    for n in range(3):
        picture = np.dstack([SMOOTH, np.full((24, 40), 255, np.uint8)])
        picture[:, 10 * n : 10 * n + 10, 3] = 0
        images.append(Image.fromarray(picture))
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], disposal=2)
    items = read(file, buffer.getvalue(), frames=None, background=(0, 255, 0))
    for n, item in enumerate(items):
        assert (np.asarray(item.pixels)[:, 10 * n : 10 * n + 10] == (0, 255, 0)).all(), n
        assert not (np.asarray(item.pixels)[:, 30:] == (0, 255, 0)).all(axis=2).any()
