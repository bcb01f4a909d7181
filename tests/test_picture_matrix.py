"""Kinds, producers and orientations, held against ImageMagick's reading; and what the commands make of them."""

import itertools
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from overfeat_tools.pictures import read_items
from overfeat_tools.pictures.pnm import PnmParser
from tests.fuzz_decoders import fuzz
from tests.picture_files import MAKERS, saved, smooth
from tests.processes import Result, run

Array = npt.NDArray[np.generic]

IMAGEMAGICK = "/usr/bin/convert"  # a program of that name may be another
FFMPEG = shutil.which("ffmpeg") or ""
needs_imagemagick = pytest.mark.skipif(not Path(IMAGEMAGICK).exists(), reason="ImageMagick is not installed")
SMOOTH = smooth()
PPM = MAKERS["p6"](SMOOTH)


def convert(*arguments: str | Path, data: bytes = b"") -> bytes:
    """Run ImageMagick."""
    return subprocess.run([IMAGEMAGICK, *arguments], input=data, capture_output=True, check=True, timeout=60).stdout


def as_imagemagick_reads(path: Path) -> Array:
    """Read a file, upright and without alpha."""
    parser = PnmParser()
    options = ["-auto-orient", "-alpha", "off", "-strip", "-colorspace", "sRGB", "-depth", "8"]
    parser.feed(convert(f"{path}[0]", *options, "ppm:-"))
    picture = parser.next_picture()
    assert picture is not None
    return picture.pixels


def ours(path: Path) -> Array:
    """Read a file as the commands do."""
    (item,) = read_items([str(path)], {})
    assert item.error is None, item.error
    return np.asarray(item.pixels)


_COLOURS = {
    "rgb": [], "gray": ["-colorspace", "gray"], "cmyk": ["-colorspace", "CMYK"], "alpha": ["-alpha", "set"],
    "palette": ["-colors", "9", "-type", "palette"], "ycbcr": ["-colorspace", "YCbCr"],
    "palette256": ["-colors", "256", "-type", "palette"],
}  # fmt: skip
_TIFFS = [
    *[(colours, "8", packing, plane) for colours in _COLOURS for packing in ("none", "lzw", "zip", "rle", "jpeg")
      for plane in ("none", "plane") if plane == "none" or colours in ("rgb", "alpha")],
    *[(colours, "16", packing, plane) for colours in ("rgb", "gray", "cmyk", "alpha")
      for packing in ("none", "lzw", "zip") for plane in ("none", "plane") if plane == "none" or colours == "rgb"],
    *[(colours, "32", packing, "none") for colours in ("rgb", "gray") for packing in ("none", "zip")],
    *[("gray", depth, packing, "none") for depth in ("2", "4", "12") for packing in ("none", "lzw")],
]  # fmt: skip


@needs_imagemagick
@pytest.mark.parametrize(("colours", "depth", "packing", "plane"), _TIFFS)
def test_tiff(colours: str, depth: str, packing: str, plane: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    options = [*_COLOURS[colours], "-depth", depth, "-compress", packing, "-interlace", plane]
    convert("-endian", "msb" if colours == "gray" else "lsb", "ppm:-", *options, path, data=PPM)
    assert np.abs(ours(path).astype(float) - as_imagemagick_reads(path)).max() <= 2


_ENDINGS = ("png", "gif", "bmp", "psd", "jp2", "webp", "tga", "sgi", "pcx", "dds", "jpg", "pam", "ico")
_OTHERS = [
    *itertools.product(_ENDINGS, ("rgb", "gray", "alpha", "palette", "palette256"), ["8"]),
    # The others have 8 bits, whatever they are asked for.
    *itertools.product(("png", "psd", "jp2", "sgi", "pam"), ("rgb", "gray"), ["16"]),
    *itertools.product(("png", "gif", "bmp", "psd", "pcx", "pam", "ico"), ["gray"], ["4"]),
]


@needs_imagemagick
@pytest.mark.parametrize(("ending", "colours", "depth"), _OTHERS)
def test_other_kinds(ending: str, colours: str, depth: str, tmp_path: Path) -> None:
    """A kind may be refused in a sentence, but never read as another picture."""
    path = tmp_path / f"a.{ending}"
    convert("ppm:-", *_COLOURS[colours], "-depth", depth, path, data=PPM)
    (item,) = read_items([str(path)], {})
    if (ending, depth) == ("psd", "4"):
        assert "cut off" in str(item.error)  # ImageMagick says 8 bits there and writes 4
        return
    if item.error is not None:
        assert (ending, depth) == ("psd", "16") or (ending, colours) == ("pcx", "alpha")
        assert "isn't supported" in str(item.error)
        return
    if ending == "psd" and colours.startswith("palette"):
        return  # ImageMagick can't read its own
    assert np.abs(np.asarray(item.pixels).astype(float) - as_imagemagick_reads(path)).max() <= 3


@needs_imagemagick
@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("ending", ["tif", "jpg", "png"])
def test_orientations(ending: str, turn: int, tmp_path: Path) -> None:
    """As ImageMagick turns the JPEG that it made them of: it forgets to turn its own PNGs."""
    source, path = tmp_path / "a.jpg", tmp_path / f"b.{ending}"
    exif = Image.Exif()
    exif[0x0112] = turn
    source.write_bytes(saved(SMOOTH, "JPEG", quality=95, exif=exif))
    convert(source, path)
    expected = as_imagemagick_reads(source)
    found = ours(path)
    assert found.shape == expected.shape
    assert np.abs(found.astype(float) - expected).max() <= 8


@pytest.mark.skipif(not FFMPEG, reason="ffmpeg is not installed")
@pytest.mark.parametrize(
    ("ending", "pixels"),
    [
        ("sgi", "rgb24"), ("sgi", "gray16be"), ("tga", "pal8"), ("tga", "rgb555le"), ("bmp", "rgb565le"),
        ("pcx", "pal8"), ("tif", "yuv420p"), ("tif", "yuv411p"), ("tif", "rgb48le"), ("jp2", "yuv420p"),
        ("jp2", "gray12"), ("j2k", "yuv420p"), ("png", "ya16be"), ("jpg", "yuvj440p"), ("qoi", "rgb24"),
        ("webp", "yuv420p"), ("gif", "bgr8"),
    ],
)  # fmt: skip
def test_ffmpeg(ending: str, pixels: str, tmp_path: Path) -> None:
    """Held against the picture itself: of some of these ImageMagick makes another."""
    path = tmp_path / f"a.{ending}"
    command = [FFMPEG, "-v", "error", "-f", "ppm_pipe", "-i", "-", "-vframes", "1", "-strict", "-1", "-pix_fmt", pixels]
    options = ["-vcodec", "jpeg2000", "-format", "j2k", "-f", "image2"] if ending == "j2k" else []
    subprocess.run([*command, *options, path], input=PPM, capture_output=True, check=True, timeout=60)
    gray = pixels.startswith(("gray", "ya"))
    expected = (SMOOTH @ (0.299, 0.587, 0.114))[..., None] if gray else SMOOTH
    assert np.abs(ours(path).astype(float) - expected).mean() < (25 if pixels in ("bgr8", "pal8", "gray12") else 8)


@needs_imagemagick
def test_jpeg_2000_that_is_subsampled_as_a_whole(tmp_path: Path) -> None:
    """Which Pillow makes stripes of."""
    convert("ppm:-", "-sampling-factor", "2x2", tmp_path / "a.jp2", data=PPM)
    (item,) = read_items([str(tmp_path / "a.jp2")], {})
    assert "isn't supported" in str(item.error)


@needs_imagemagick
def test_a_red_picture_in_planes_of_16_bits_is_red(tmp_path: Path) -> None:
    """Which Pillow mixes up."""
    red = MAKERS["p6"](np.full((24, 40, 3), (250, 10, 20), np.uint8))
    convert("ppm:-", "-depth", "16", "-interlace", "plane", "-compress", "none", tmp_path / "a.tif", data=red)
    assert np.abs(ours(tmp_path / "a.tif") - (250, 10, 20)).max() < 1


# What the commands make of them.


def classify(*arguments: str | Path) -> Result:
    """Run of-classify with the network that needs no weights."""
    return run("classify", "--net", "tiny", *arguments)


def test_large_jpegs_are_decoded_smaller_unless_asked(tmp_path: Path) -> None:
    """By default at half size here, whole with --exact-decode; and whole where nothing is scaled."""
    noise = np.random.default_rng(0).integers(0, 256, (61, 64, 3), np.uint8)
    jpeg = saved(np.asarray(Image.fromarray(noise).resize((1000, 960), Image.Resampling.NEAREST)), "JPEG", quality=95)
    reduced = Image.open(BytesIO(jpeg))
    reduced.draft(None, (500, 480))
    reduced.save(tmp_path / "reduced.png")
    assert reduced.size == (500, 480)
    Image.open(BytesIO(jpeg)).save(tmp_path / "whole.png")
    (tmp_path / "a.jpg").write_bytes(jpeg)
    files = [tmp_path / name for name in ("a.jpg", "reduced.png", "whole.png")]
    answers = []
    for options in ([], ["--exact-decode"]):
        done = classify("-n", "3", "--batch", "1", *options, *files)
        assert (done.status, done.err) == (0, "")
        numbers = [float(line.rpartition(b" ")[2]) for line in done.out.splitlines()]
        answers += [numbers[i : i + 3] for i in range(0, 9, 3)]
    default, small, whole, exact, *_ = answers
    assert small != pytest.approx(whole, rel=1e-3)
    assert default == pytest.approx(small, rel=1e-5)
    assert exact == pytest.approx(whole, rel=1e-5)
    done = classify("--size", "none", files[0])
    assert done.status == 3
    assert "960x960" in done.err or "1000x960" in done.err


def test_what_is_said_of_bad_pictures(tmp_path: Path) -> None:
    """One line for each on stderr, nothing from any library, and the good ones answered."""
    good = MAKERS["png"](SMOOTH)
    files = {"good": good, "eps.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n", "cut.png": good[:-30], "text": b"hello" * 99}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    done = classify("-n", "1", *(tmp_path / name for name in files), tmp_path / "good")
    assert done.status == 3
    assert len(done.out.splitlines()) == 2
    lines = done.err.splitlines()
    for word, line in zip(("PostScript", "cut off", "not a picture"), lines, strict=True):
        assert word in line


# Fuzzing: a sample of `python -m tests.fuzz_decoders`, which see.


def test_damaged_files_at_random() -> None:
    count, faults = fuzz(list(MAKERS), 60, first=0, most=20 * len(MAKERS))
    assert faults == []
    assert count == 20 * len(MAKERS)


@pytest.mark.long
@pytest.mark.parametrize("kind", MAKERS)
def test_damaged_files_for_long(kind: str) -> None:
    assert fuzz([kind], 30, first=1000)[1] == []
