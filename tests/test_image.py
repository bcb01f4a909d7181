"""Picture files of every kind give red, green, blue, 0..255; every aspect ratio fits the network."""

import contextlib
import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from overfeat_tools.errors import ImageError
from overfeat_tools.pictures import Item, centre_square, fit, read_items

Array = npt.NDArray[np.generic]

# What libraries warn of is watched in test_processes.py, where it would be printed; decoders leave broken
# files open until they are collected.
pytestmark = pytest.mark.filterwarnings("ignore")

RGB = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
RGB[:8] = 0
RGB[8:16] = 200
GRAY = RGB[..., 0]


def read_file(path: Path) -> Item:
    """Read a file as the commands do."""
    (item,) = read_items([str(path)], {})
    if item.error:
        raise item.error
    return item


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Let what decoders left open be closed here, not in another test."""
    yield
    gc.collect()


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Array]:
    """Give a function that saves an image, reads it as the commands do and gives its pixels."""

    def save(image: Image.Image, name: str, **options: object) -> Array:
        image.save(tmp_path / name, **options)  # type: ignore[arg-type]
        pixels = read_file(tmp_path / name).pixels
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert pixels.flags.c_contiguous
        assert pixels.dtype in (np.uint8, np.float32)
        return pixels

    return save


def gray3(plane: Array) -> Array:
    """Repeat one plane three times."""
    return np.repeat(plane[..., None], 3, axis=2)


def test_png_of_every_mode(saved: Callable[..., Array]) -> None:
    """Alpha is dropped, not laid over a colour: the original's users send what they see stored."""
    colour, gray, alpha = Image.fromarray(RGB), Image.fromarray(GRAY), Image.fromarray(255 - GRAY)
    np.testing.assert_array_equal(saved(colour, "rgb.png"), RGB)
    np.testing.assert_array_equal(saved(Image.merge("RGBA", [*colour.split(), alpha]), "rgba.png"), RGB)
    np.testing.assert_array_equal(saved(gray, "l.png"), gray3(GRAY))
    np.testing.assert_array_equal(saved(Image.merge("LA", [gray, alpha]), "la.png"), gray3(GRAY))
    bits = gray.point(lambda value: 255 * (value > 128), "1")
    np.testing.assert_array_equal(saved(bits, "1.png"), gray3(np.where(GRAY > 128, 255, 0)))


def test_palettes(saved: Callable[..., Array]) -> None:
    """The palette's colours, also where one of them is transparent."""
    image = Image.fromarray(RGB).quantize(16)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(saved(image, "p.png"), expected)
    np.testing.assert_array_equal(saved(image, "one.png", transparency=3), expected)
    np.testing.assert_array_equal(saved(image, "each.png", transparency=bytes(range(16))), expected)
    np.testing.assert_array_equal(saved(image, "p.gif"), expected)
    gray = Image.fromarray(GRAY).quantize(8)
    np.testing.assert_array_equal(saved(gray, "gray.png"), np.asarray(gray.convert("RGB")))


def test_sixteen_bits(saved: Callable[..., Array]) -> None:
    """Scaled like a PNM picture of maxval 65535, in PNG and TIFF, of both byte orders."""
    deep = GRAY.astype(np.uint16) * 257 + np.arange(40, dtype=np.uint16) * 3 % 200
    deep = np.minimum(deep, 65535).astype(np.uint16)
    expected = gray3(deep.astype(np.float64) * 255 / 65535)
    for name in ("deep.png", "deep.tiff"):
        np.testing.assert_allclose(saved(Image.fromarray(deep), name), expected, rtol=1e-6)
    big = Image.frombytes("I;16B", (40, 24), deep.astype(">u2").tobytes())
    np.testing.assert_allclose(saved(big, "big.tiff"), expected, rtol=1e-6)


def test_other_formats(saved: Callable[..., Array]) -> None:
    for name in ("a.bmp", "a.tiff", "a.ppm", "a.tga"):
        np.testing.assert_array_equal(saved(Image.fromarray(RGB), name), RGB)
    np.testing.assert_array_equal(saved(Image.fromarray(RGB), "a.webp", lossless=True), RGB)


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("CMYK", {}),
        ("P", {}),
        ("YCbCr", {}),
        ("RGB", {"compression": "jpeg"}),
        ("1", {"compression": "group4"}),
        ("RGB", {"save_all": True, "append_images": [Image.new("RGB", (32, 32))] * 2}),
    ],
)
def test_tiff_of_every_kind(mode: str, options: dict[str, object], saved: Callable[..., Array]) -> None:
    """Ink, palettes, compressions, several pages: the first page's colours."""
    image = Image.fromarray(np.full((32, 32, 3), (200, 30, 90), np.uint8)).convert(mode)
    expected = np.asarray(image.convert("RGB"))
    assert np.abs(saved(image, "a.tiff", **options).astype(int) - expected).max() <= 6


def test_tiff_does_not_need_what_is_deprecated(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.tiff")
    program = (
        "import sys; from overfeat_tools.pictures import read_items as r; "
        "sys.exit(next(r(sys.argv[1:], {})).error)"
    )
    command = [sys.executable, "-W", "error::DeprecationWarning", "-c", program, tmp_path / "a.tiff"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_jpeg(saved: Callable[..., Array]) -> None:
    """Also gray, and CMYK as printers have it."""
    smooth = np.full((32, 32, 3), (200, 30, 90), np.uint8)
    for mode in ("RGB", "CMYK"):
        pixels = saved(Image.fromarray(smooth).convert(mode), f"{mode}.jpg", quality=95)
        assert np.abs(pixels.astype(int) - smooth).max() <= 6, mode
    pixels = saved(Image.fromarray(smooth[..., 0]), "l.jpg", quality=95)
    assert np.abs(pixels.astype(int) - 200).max() <= 3


def test_first_frame_of_an_animation(saved: Callable[..., Array]) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 200, 90)]
    for name in ("a.gif", "a.png", "a.webp"):
        pixels = saved(frames[0], name, save_all=True, append_images=frames[1:])
        assert pixels.shape == (8, 8, 3)
        assert np.abs(pixels.astype(int) - 10).max() <= 3, name


def test_name_says_nothing(tmp_path: Path) -> None:
    """The content tells what it is: a PNG called .jpg, or without any ending."""
    buffer = BytesIO()
    Image.fromarray(RGB).save(buffer, "PNG")
    for name in ("a.jpg", "a", "a.xyz", "a.mp4", "\udcff.tif"):
        (tmp_path / name).write_bytes(buffer.getvalue())
        np.testing.assert_array_equal(read_file(tmp_path / name).pixels, RGB)


@pytest.mark.parametrize("data", [b"", b"x", b"\x89PNG\r\n\x1a\n", b"hello\n" * 100, b"\xff\xd8\xff\xe0" + b"\0" * 99])
def test_broken_files(data: bytes, tmp_path: Path) -> None:
    """One line that is fit to print."""
    path = tmp_path / "broken"
    path.write_bytes(data)
    with pytest.raises(ImageError) as error:
        read_file(path)
    assert "\n" not in str(error.value)
    with pytest.raises(ImageError, match="no such file"):
        read_file(tmp_path / "none")
    with pytest.raises(ImageError, match="is a directory"):
        read_file(tmp_path)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_cut_off_files(form: str, tmp_path: Path) -> None:
    """A picture that is not whole is refused, or read as far as it goes; nothing else happens."""
    buffer = BytesIO()
    Image.fromarray(RGB).save(buffer, form)
    data = buffer.getvalue()
    for cut in [*range(0, len(data), max(1, len(data) // 40))]:
        (tmp_path / "cut").write_bytes(data[:cut])
        with contextlib.suppress(ImageError):
            assert read_file(tmp_path / "cut").pixels.shape == RGB.shape


# Fitting.


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([np.uint8, np.float32]))
def test_fit_gives_a_square(height: int, width: int, dtype: type) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(dtype)
    fitted = fit(pixels, 50)
    assert fitted.shape == (50, 50, 3)
    assert fitted.dtype == dtype
    assert fitted.min() >= 0
    assert fitted.max() <= 255


@pytest.mark.parametrize("shape", [(1, 1), (1, 100_000), (100_000, 1), (3, 99_999), (2, 2), (2000, 1500)])
def test_extreme_shapes(shape: tuple[int, int]) -> None:
    """A picture of one colour stays that, whatever its shape."""
    pixels = np.full((*shape, 3), (250, 128, 3), np.uint8)
    for image in (pixels, pixels.astype(np.float32)):
        fitted = fit(image, 231)
        assert fitted.shape == (231, 231, 3)
        assert np.abs(fitted.astype(float) - (250, 128, 3)).max() <= 1


@pytest.mark.parametrize("shape", [(50, 50), (50, 81), (120, 50)])
def test_what_fits_is_only_cut(shape: tuple[int, int]) -> None:
    """No pixel changes where the shorter side has the size: `convert -resize` has the last word then."""
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    top, left = (shape[0] - 50) // 2, (shape[1] - 50) // 2
    np.testing.assert_array_equal(fit(pixels, 50), pixels[top : top + 50, left : left + 50])
    np.testing.assert_array_equal(centre_square(pixels), pixels[top : top + 50, left : left + 50])


@given(st.integers(20, 300), st.integers(20, 300), st.integers(20, 120))
def test_fit_equals_scaling_the_whole_and_cutting(height: int, width: int, size: int) -> None:
    """The definition of the size option, by the long way round."""
    rows, columns = np.mgrid[:height, :width]
    wave = 128 + 100 * np.sin(rows / 9.0) * np.cos(columns / 11.0)
    pixels = gray3(wave.astype(np.float32))
    scale = size / min(height, width)
    whole = Image.fromarray(pixels[..., 0]).resize(
        (max(size, round(width * scale)), max(size, round(height * scale))), Image.Resampling.LANCZOS
    )
    expected = np.clip(centre_square(gray3(np.asarray(whole))), 0, 255)
    assert np.abs(fit(pixels, size).astype(float) - expected).max() < 0.5


def test_fit_leaves_its_input(saved: Callable[..., Array]) -> None:
    pixels = saved(Image.fromarray(RGB), "a.png")
    kept = pixels.copy()
    for size in (10, 24, 100):
        fit(pixels, size)
    np.testing.assert_array_equal(pixels, kept)
    pixels.setflags(write=False)
    fit(pixels[::-1, ::-1], 10)
