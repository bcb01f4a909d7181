"""What the extras add: rare kinds of TIFF and JPEG XL (imagecodecs), HEIF (pillow-heif), raw files (rawpy)."""

import io
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from overfeat_tools.pictures import read_items
from overfeat_tools.pictures.jxl_header import jxl_header
from tests.picture_files import smooth, tiff

Array = npt.NDArray[np.generic]

SMOOTH = smooth()


def read(path: Path, data: bytes) -> Array:
    """Read a file that must be a whole picture."""
    path.write_bytes(data)
    (item,) = read_items([str(path)], {})
    assert item.error is None, item.error
    return np.asarray(item.pixels)


@pytest.mark.parametrize("packing", ["lzw", "packbits", "zstd", "lzma", "webp"])
@pytest.mark.parametrize(
    ("kind", "bits"), [("rgb", 8), ("rgb", 16), ("rgb", 32), ("gray", 16), ("gray-alpha", 16), ("rgb-alpha", 8)]
)
def test_packed_tiff(kind: str, bits: int, packing: str, tmp_path: Path) -> None:
    """Of other packings than LZW and PackBits, what Pillow knows is read, and the rest is refused in a sentence."""
    pytest.importorskip("imagecodecs")
    import tifffile

    if packing == "webp" and bits > 8:
        return
    alpha = np.full((24, 40, 1), 200, np.uint8)
    picture = SMOOTH if kind.startswith("rgb") else SMOOTH[..., :1]
    samples = np.dstack([picture, alpha]) if "alpha" in kind else picture
    stored, file = samples.astype(f"u{bits // 8}") * np.array((2**bits - 1) // 255, f"u{bits // 8}"), io.BytesIO()
    tifffile.imwrite(
        file, stored if samples.shape[2] > 1 else stored[..., 0], compression=packing,
        photometric="rgb" if kind.startswith("rgb") else "minisblack",
        extrasamples=["unassalpha"] if "alpha" in kind else None,
    )  # fmt: skip
    (tmp_path / "a").write_bytes(file.getvalue())
    (item,) = read_items([str(tmp_path / "a")], {})
    if item.error:
        assert packing == "webp" or (packing in ("zstd", "lzma") and (bits == 32 or kind == "gray-alpha"))
        assert "isn't supported; convert it first" in str(item.error)
    else:
        assert np.abs(np.asarray(item.pixels).astype(float) - picture).max() <= 1


@pytest.mark.parametrize("bits", [2, 4, 6, 10, 12, 14])
@pytest.mark.parametrize("channels", [1, 3])
def test_bits_that_fill_no_bytes(bits: int, channels: int, tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    samples = np.random.default_rng(0).integers(0, 1 << bits, (8, 16, channels))
    packed = np.packbits((samples[..., None] >> np.arange(bits)[::-1]) & 1, axis=None).tobytes()
    tags = {256: ("I", 16), 257: ("I", 8), 258: ("H", [bits] * channels), 259: ("H", 1), 277: ("H", channels)}
    data = tiff([packed], {**tags, 262: ("H", 2 if channels == 3 else 1), 278: ("I", 8)})
    assert np.abs(read(tmp_path / "a", data) - samples * 255 / ((1 << bits) - 1)).max() <= 1


@pytest.mark.parametrize("turn", range(1, 9))
def test_heif(turn: int, tmp_path: Path) -> None:
    """Turned as it says, and as AVIF is: by what its picture says, not twice."""
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = turn
    pixels = np.repeat(np.repeat(smooth(4, 6), 16, 0), 16, 1)
    Image.fromarray(pixels).save(file, "HEIF", quality=95, exif=exif.tobytes())
    upright = Image.open(io.BytesIO(file.getvalue()))
    found = read(tmp_path / "a", file.getvalue())
    assert found.shape == np.asarray(upright).shape
    assert found.shape[:2] == ((96, 64) if turn > 4 else (64, 96))
    if turn == 1:
        assert np.abs(found.astype(float) - pixels).mean() < 4


def test_damaged_heif(tmp_path: Path) -> None:
    """One line for a part of a file, wherever it ends."""
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    file = io.BytesIO()
    Image.fromarray(np.repeat(smooth(), 4, 0)).save(file, "HEIF")
    data = file.getvalue()
    for cut in range(12, len(data) - 40, len(data) // 9):
        (tmp_path / "a").write_bytes(data[:cut])
        (item,) = read_items([str(tmp_path / "a")], {})
        assert item.error is not None
        assert str(item.error).isprintable()


def jxl(pixels: Array, **options: object) -> bytes:
    """Give a JPEG XL."""
    return bytes(pytest.importorskip("imagecodecs").jpegxl_encode(pixels, lossless=True, **options))


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("boxes", [False, True])
def test_jxl(bits: int, boxes: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Scaled by the bits that it says it has."""
    stored = np.rint(SMOOTH * ((2**bits - 1) / 255)).astype(np.uint8 if bits == 8 else np.uint16)
    data = jxl(stored, bitspersample=bits, usecontainer=boxes)
    assert np.abs(read(tmp_path / "a", data).astype(float) - SMOOTH).max() <= 0.5


@pytest.mark.parametrize("shape", [(8, 8), (231, 231), (100, 300), (3, 7001), (128, 256), (1, 1), (300, 400), (512, 8)])
def test_sizes_of_jxl(shape: tuple[int, int]) -> None:
    """They are read from the header, before anything is decoded, in whatever form they stand there."""
    for frames in ((), (2,)):
        assert jxl_header(jxl(np.zeros((*frames, *shape, 3), np.uint8))) == (*shape, 8)
    assert jxl_header(jxl(np.zeros((*shape, 3), np.uint16), bitspersample=14)) == (*shape, 14)


def test_jxl_of_other_kinds(tmp_path: Path) -> None:
    """Gray, with alpha, several frames; floating-point is refused, and so is what is damaged or too large."""
    gray = SMOOTH[..., 0]
    np.testing.assert_array_equal(read(tmp_path / "a", jxl(gray)), gray[..., None].repeat(3, 2))
    np.testing.assert_array_equal(read(tmp_path / "a", jxl(np.dstack([SMOOTH, gray]))), SMOOTH)
    np.testing.assert_array_equal(read(tmp_path / "a", jxl(np.stack([SMOOTH, SMOOTH // 2]))), SMOOTH)
    (tmp_path / "a").write_bytes(jxl(np.dstack([SMOOTH, gray])))
    (item,) = read_items([str(tmp_path / "a")], {}, background=(255, 255, 255))
    assert (np.asarray(item.pixels) >= SMOOTH).all()
    large = b"\xff\x0a" + (0 | 3 << 1 | (1 << 29) << 3 | 1 << 33).to_bytes(9, "little")
    for data, words in (
        (jxl(SMOOTH.astype(np.float32) / 255), "floating-point"),
        (jxl(SMOOTH)[:-9], "cut off"), (b"\xff\x0a", "cut off"),
        (large, "pixels"), (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "damaged"),
    ):  # fmt: skip
        (tmp_path / "a").write_bytes(data)
        (item,) = read_items([str(tmp_path / "a")], {})
        assert words in str(item.error), str(item.error)


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_raw(turn: int, tmp_path: Path) -> None:
    """Developed, turned upright once, at half the size where that is enough; TIFF's marks don't hide it."""
    pytest.importorskip("rawpy")
    data = raw_file(turn)
    pixels = read(tmp_path / "a", data)
    assert pixels.shape == ((96, 64, 3) if turn in (6, 8) else (64, 96, 3))
    rows, columns = {1: (0, 1), 3: (0, -1), 6: (1, 0), 8: (-1, 0)}[turn]
    bright = pixels[..., 0].astype(float)
    left, right = bright[:, :20].mean(), bright[:, -20:].mean()
    top, bottom = bright[:20].mean(), bright[-20:].mean()
    assert np.sign(round((right - left) / 50)) == columns
    assert np.sign(round((bottom - top) / 50)) == rows
    (item,) = read_items([str(tmp_path / "a")], {}, 16)
    assert sorted(np.asarray(item.pixels).shape) == [3, 32, 48]
    (tmp_path / "a").write_bytes(b"FUJIFILMCCD-RAW 0201" + bytes(3000))
    (item,) = read_items([str(tmp_path / "a")], {})
    assert "camera raw" in str(item.error)


def raw_file(turn: int) -> bytes:
    """Give a DNG that is dark on the left and bright on the right."""
    mosaic = np.tile(np.linspace(3000, 60000, 96).astype("<u2"), (64, 1))
    return tiff([mosaic.tobytes()], {
        254: ("I", 0), 256: ("I", 96), 257: ("I", 64), 258: ("H", 16), 259: ("H", 1), 262: ("H", 32803),
        271: ("s", b"Maker\0"), 272: ("s", b"Model\0"), 274: ("H", turn), 277: ("H", 1), 278: ("I", 64),
        33421: ("H", [2, 2]), 33422: ("B", [0, 1, 1, 2]),
        50706: ("B", [1, 4, 0, 0]), 50708: ("s", b"Maker Model\0"), 50717: ("H", 65535),
    })  # fmt: skip


@pytest.mark.parametrize(("name", "extra"), [("pillow_heif", "heif"), ("imagecodecs", "jxl"), ("rawpy", "raw")])
def test_what_is_not_installed(name: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how to get it."""
    data = {"heif": b"\0\0\0\x18ftypheic" + bytes(300), "jxl": b"\xff\x0a" + bytes(300), "raw": raw_file(1)}[extra]
    monkeypatch.setitem(sys.modules, name, None)
    for kind in (data, b"FUJIFILMCCD-RAW 0201" + bytes(300)) if extra == "raw" else (data,):
        (tmp_path / "a").write_bytes(kind)
        (item,) = read_items([str(tmp_path / "a")], {})
        assert f"pip install 'overfeat_tools[{extra}]'" in str(item.error)
