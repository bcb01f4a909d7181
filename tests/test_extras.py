"""What the extras add: rare kinds of TIFF (imagecodecs), and HEIF (pillow-heif)."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from overfeat_tools.pictures import read_items
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
