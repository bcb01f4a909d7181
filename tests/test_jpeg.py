"""JPEG: decoded smaller where that is enough, and as far as the data go where they are damaged."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overfeat_tools.pictures import Item, read_items
from tests.picture_files import MAKERS, saved, smooth

NOISE = np.random.default_rng(0).integers(0, 256, (512, 700, 3), np.uint8)


def read(path: Path, data: bytes, side: int | None = None) -> Item:
    """Write a file and read it as the commands do."""
    path.write_bytes(data)
    (item,) = read_items([str(path)], {}, side)
    return item


@pytest.mark.parametrize("kind", ["jpeg", "jpeg-progressive", "jpeg-gray"])
def test_as_the_reference_decoder(kind: str, tmp_path: Path) -> None:
    """To the last bit: Pillow has the same library underneath."""
    data = MAKERS[kind](smooth(101, 67))
    expected = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(read(tmp_path / "a", data).pixels, expected)


@pytest.mark.parametrize(
    ("side", "factor"), [(None, 1), (500, 1), (129, 1), (128, 2), (65, 2), (64, 4), (33, 4), (32, 8), (1, 8)]
)
def test_decoded_no_larger_than_needed(side: int | None, factor: int, tmp_path: Path) -> None:
    """By 1, 2, 4 or 8, as long as twice the side is left."""
    data = saved(NOISE, "JPEG", quality=95)
    found = read(tmp_path / "a", data, side).pixels
    assert found is not None
    assert found.shape == (512 // factor, -(-700 // factor), 3)
    assert side is None or factor == 1 or min(found.shape[:2]) >= 2 * side
    if factor == 1:
        np.testing.assert_array_equal(found, read(tmp_path / "b", data).pixels)


@pytest.mark.parametrize("shape", [(511, 333), (400, 401), (1000, 129), (257, 1031)])
def test_odd_sizes_are_rounded_up(shape: tuple[int, int], tmp_path: Path) -> None:
    data = saved(smooth(*shape), "JPEG")
    whole = read(tmp_path / "a", data).pixels
    for side in (10, 20, 50):
        small = read(tmp_path / "a", data, side).pixels
        assert whole is not None
        assert small is not None
        factor = round(shape[0] / small.shape[0])
        assert small.shape[:2] == (-(-shape[0] // factor), -(-shape[1] // factor))
        assert min(small.shape[:2]) >= 2 * side or factor == 1
        assert np.abs(small.mean(axis=(0, 1)) - whole.mean(axis=(0, 1))).max() < 4


@pytest.mark.parametrize("kind", ["jpeg", "jpeg-progressive", "jpeg-gray", "jpeg-cmyk"])
@pytest.mark.parametrize("side", [None, 20])
def test_damaged(kind: str, side: int | None, tmp_path: Path) -> None:
    """Its last two bytes missing, cut off, overwritten: a picture and a warning."""
    data = MAKERS[kind](NOISE)
    whole = read(tmp_path / "a", data, side)
    assert whole.warning is None
    middle = len(data) // 2
    for damage in (data[:-2], data[:-200], data[:middle], data[:middle] + b"\xff\xd9" * 50 + data[middle + 100 :]):
        item = read(tmp_path / "a", damage, side)
        assert item.error is None
        assert item.pixels is not None
        assert item.pixels.shape == np.shape(whole.pixels)
        assert item.warning is not None
        assert item.warning.startswith("damaged, decoded as far as it goes: ")
        assert item.warning.isprintable()
    almost = read(tmp_path / "a", data[:-2], side).pixels
    np.testing.assert_array_equal(almost, whole.pixels)


def test_only_a_header(tmp_path: Path) -> None:
    """Nothing can be decoded of it: that is an error."""
    data = MAKERS["jpeg"](NOISE)
    scan = data.index(b"\xff\xda")
    for cut in (4, 20, scan // 2, scan, scan + 4):
        item = read(tmp_path / "a", data[:cut])
        assert item.pixels is None
        assert str(item.error).isprintable()


def test_too_many_pixels(tmp_path: Path) -> None:
    """The header's size counts, before anything is allocated."""
    data = bytearray(MAKERS["jpeg"](NOISE))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = (60000).to_bytes(2, "big") * 2
    assert "60000x60000 is more than" in str(read(tmp_path / "a", bytes(data)).error)


def test_bytes_behind_the_end_are_nobodys_business(tmp_path: Path) -> None:
    item = read(tmp_path / "a", MAKERS["jpeg"](NOISE) + b"more" * 100)
    assert (item.error, item.warning) == (None, None)
