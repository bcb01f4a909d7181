"""Every kind of TIFF comes to 0..255 by what the file says of its samples, or is refused in a sentence."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from overfeat_tools.errors import ImageError
from overfeat_tools.pictures import read_items, tiff
from tests.picture_files import saved, smooth, tiff_of
from tests.picture_files import tiff as tiff_file

Array = npt.NDArray[np.generic]

SMOOTH = smooth()
INKS = np.dstack([255 - SMOOTH, np.full((24, 40, 1), 50, np.uint8)])
UNINKED = (255.0 - INKS[..., :3]) * (255 - 50) / 255

# What is stored, its photometric interpretation, and the picture it is; all of 8 bits.
MEANINGS: dict[str, tuple[Array, int, Array]] = {
    "gray": (SMOOTH[..., :1], 1, SMOOTH[..., :1]),
    "white-is-zero": (SMOOTH[..., :1], 0, 255 - SMOOTH[..., :1]),
    "rgb": (SMOOTH, 2, SMOOTH),
    "rgb-alpha": (np.dstack([SMOOTH, SMOOTH[..., :1]]), 2, SMOOTH),
    "gray-alpha": (np.dstack([SMOOTH[..., :1], SMOOTH[..., 1:2]]), 1, SMOOTH[..., :1]),
    "cmyk": (INKS, 5, UNINKED),
}


def read(path: Path, data: bytes) -> Array:
    """Read a file that must be a whole picture."""
    path.write_bytes(data)
    (item,) = read_items([str(path)], {})
    assert item.error is None, item.error
    return np.asarray(item.pixels)


def refused(path: Path, data: bytes) -> str:
    """Read a file that must be refused; say why."""
    path.write_bytes(data)
    (item,) = read_items([str(path)], {})
    assert item.pixels is None
    assert str(item.error).isprintable()
    return str(item.error)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("meaning", MEANINGS)
def test_unsigned(meaning: str, bits: int, order: str, planar: bool, packed: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Of any width, order and arrangement, packed or not."""
    stored, photometric, picture = MEANINGS[meaning]
    factor = (2**bits - 1) // 255
    samples = stored.astype(f"u{bits // 8}") * np.array(factor, f"u{bits // 8}")
    found = read(tmp_path / "a", tiff_of(samples, photometric, order, planar=planar, packed=packed))
    assert found.shape == SMOOTH.shape
    assert found.dtype in (np.uint8, np.float32)
    assert np.abs(found - picture.astype(float)).max() <= 1


def test_bits_below_a_byte(tmp_path: Path) -> None:
    """Gray of 1, 2 and 4 bits, both ways round; a palette of 4."""
    values = np.arange(16).reshape(2, 8)
    for bits in (1, 2, 4):
        samples = values % (1 << bits)
        packed = np.packbits((samples[..., None] >> np.arange(bits)[::-1]) & 1, axis=None).tobytes()
        tags = {256: ("I", 8), 257: ("I", 2), 258: ("H", bits), 277: ("H", 1), 278: ("I", 2), 259: ("H", 1)}
        white = samples * 255 / ((1 << bits) - 1)
        for photometric, expected in ((1, white), (0, 255 - white)):
            found = read(tmp_path / "a", tiff_file([packed], {**tags, 262: ("H", photometric)}))
            assert np.abs(found[..., 1] - expected).max() <= 1
    table = np.random.default_rng(0).integers(0, 65536, (3, 16))
    colours = {**tags, 262: ("H", 3), 320: ("H", table.ravel().tolist())}
    assert np.abs(read(tmp_path / "a", tiff_file([packed], colours)) - table.T[values] / 257).max() <= 1


def test_twelve_bits(tmp_path: Path) -> None:
    """As cameras of microscopes write them: three bytes for two samples."""
    values = np.arange(0, 4096, 64).reshape(8, 8)
    pairs = values.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1)
    tags = {256: ("I", 8), 257: ("I", 8), 258: ("H", 12), 259: ("H", 1), 262: ("H", 1), 277: ("H", 1), 278: ("I", 8)}
    found = read(tmp_path / "a", tiff_file([packed.astype(np.uint8).tobytes()], tags))
    np.testing.assert_allclose(found[..., 0], values * 255 / 4095, atol=0.01)


def test_premultiplied_alpha(tmp_path: Path) -> None:
    alpha = np.full((24, 40, 1), 128, np.uint8)
    samples = np.dstack([(SMOOTH * (128 / 255)).round().astype(np.uint8), alpha])
    assert np.abs(read(tmp_path / "a", tiff_of(samples, 2, t338=("H", 1))) - SMOOTH.astype(float)).max() <= 2
    assert np.abs(read(tmp_path / "a", tiff_of(samples, 2, t338=("H", 2))) - samples[..., :3].astype(float)).max() == 0


@pytest.mark.parametrize(
    ("samples", "tags", "words"),
    [
        (np.zeros((4, 4, 1), np.int16), {"t339": ("H", 2)}, "signed"),
        (np.zeros((4, 4, 3), np.int8), {"t339": ("H", [2] * 3)}, "signed"),
        (np.full((4, 4, 1), 0.5, np.float32), {"t339": ("H", 3)}, "floating-point"),
        (np.full((4, 4, 1), np.nan, np.float32), {"t339": ("H", 3)}, "floating-point"),
        (np.full((4, 4, 3), 1e30, np.float64), {"t339": ("H", [3] * 3)}, "floating-point"),
        (np.zeros((4, 4, 1), np.float16), {"t339": ("H", 3)}, "floating-point"),
        (np.zeros((4, 4, 3), np.uint8), {"t262": ("H", 8)}, "photometric interpretation 8"),
        (np.zeros((4, 4, 1), np.uint8), {"t262": ("H", 2)}, "1 channels"),
        (np.zeros((4, 4, 1), np.uint16), {"t262": ("H", 32803)}, "camera raw"),
        (np.zeros((4, 4, 3), np.uint16), {"t262": ("H", 34892)}, "camera raw"),
        (np.zeros((4, 4, 3), np.uint8), {"t254": ("I", 1)}, "camera raw"),
        (np.zeros((4, 4, 3), np.uint8), {"t50706": ("B", [1, 4, 0, 0])}, "camera raw"),
    ],
    ids=range(12),
)
def test_refusals(samples: Array, tags: dict[str, object], words: str, tmp_path: Path) -> None:
    """What has no stated black and white, no colours, or only a thumbnail."""
    photometric = 2 if samples.shape[2] == 3 else 1
    assert words in refused(tmp_path / "a", tiff_of(samples, photometric, **tags))


def with_second(first: bytes, second_tags: dict[int, int], *, sub: bool) -> bytes:
    """Give a file a second directory: the next page, or one beneath tag 330 of the first."""
    data = bytearray(first)
    place = len(data) + len(data) % 2
    data += bytes(place - len(data)) + struct.pack("<H", len(second_tags))
    for tag, value in sorted(second_tags.items()):
        data += struct.pack("<HHII", tag, 4, 1, value)
    data += bytes(4)
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    if not sub:
        struct.pack_into("<I", data, directory + 2 + 12 * count, place)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        if sub and data[entry : entry + 2] == struct.pack("<H", 330):
            struct.pack_into("<I", data, entry + 8, place)
    return bytes(data)


def test_a_raw_file_is_not_answered_by_its_thumbnail(tmp_path: Path) -> None:
    """The sensor's samples, or a larger picture, lie beneath the first page."""
    thumbnail = tiff_of(SMOOTH, 2, t330=("I", 0))
    for below in ({256: 4000, 257: 3000}, {256: 20, 257: 10, 262: 32803}):
        assert "camera raw" in refused(tmp_path / "a", with_second(thumbnail, below, sub=True))
    pyramid = with_second(thumbnail, {256: 20, 257: 12, 254: 1}, sub=True)
    np.testing.assert_array_equal(read(tmp_path / "a", pyramid), SMOOTH)


def test_a_thumbnail_before_the_picture_is_skipped(tmp_path: Path) -> None:
    """The first page that is whole counts."""
    whole = tiff_of(SMOOTH, 2)
    small = tiff_of(SMOOTH[:4, :4], 2, t254=("I", 1))
    # Its offsets are its own: the picture's pages behind it begin where the thumbnail ends.
    shift = len(small) + len(small) % 2
    (directory,) = struct.unpack_from("<I", whole, 4)
    (count,) = struct.unpack_from("<H", whole, directory)
    moved = bytearray(whole)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, _, number, value = struct.unpack_from("<HHII", moved, entry)
        if tag in (273, 258):
            struct.pack_into("<I", moved, entry + 8, value + shift if tag == 273 or number > 2 else value)
    both = bytearray(small.ljust(shift, b"\0") + moved)
    (first,) = struct.unpack_from("<I", both, 4)
    (count,) = struct.unpack_from("<H", both, first)
    struct.pack_into("<I", both, first + 2 + 12 * count, shift + directory)
    np.testing.assert_array_equal(read(tmp_path / "a", bytes(both)), SMOOTH)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """A strip that unpacks to a hundred megabytes where 192 bytes are expected."""
    tags = {256: ("I", 8), 257: ("I", 8), 258: ("H", [16] * 3), 259: ("H", 8), 262: ("H", 2), 277: ("H", 3)}
    assert "more than it holds" in refused(tmp_path / "a", tiff_file([zlib.compress(bytes(100 << 20), 1)], tags))


def test_too_many_pixels_are_refused_before_anything(tmp_path: Path) -> None:
    for compression in (1, 5, 8):
        tags = {256: ("I", 1 << 20), 257: ("I", 1 << 20), 258: ("H", 8), 259: ("H", compression), 262: ("H", 1)}
        assert "pixels" in refused(tmp_path / "a", tiff_file([b"a"], tags))


def test_too_many_bytes_are_refused_before_anything(tmp_path: Path) -> None:
    """Few pixels enough, but wide ones, of which a sparse file stores none."""
    tags = {256: ("I", 1 << 13), 257: ("I", 1 << 14), 258: ("H", [64] * 3), 259: ("H", 1), 262: ("H", 2)}
    assert "bytes" in refused(tmp_path / "a", tiff_file([b""], {**tags, 277: ("H", 3), 278: ("I", 1 << 14)}))


def test_what_needs_imagecodecs_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff.importlib.util, "find_spec", lambda _: None)
    tags = {256: ("I", 8), 257: ("I", 8), 258: ("H", [12] * 3), 259: ("H", 1), 262: ("H", 2), 277: ("H", 3)}
    assert "imagecodecs" in refused(tmp_path / "a", tiff_file([bytes(288)], tags))


def test_libtiff_is_silent(tmp_path: Path) -> None:
    """Its own lines go round Python: only a process of its own shows them."""
    data = saved(SMOOTH, "TIFF", compression="tiff_lzw")
    for number, place in enumerate(range(8, 80, 4)):
        (tmp_path / f"{number}").write_bytes(data[:place] + b"\xff\xfe" + data[place + 2 :])
    program = (
        "import sys; from overfeat_tools.pictures import read_items\nprint(len(list(read_items(sys.argv[1:], {}))))"
    )
    command = [sys.executable, "-c", program, *map(str, tmp_path.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("18\n", "")


def test_damaged(tmp_path: Path) -> None:
    """Cut off anywhere, it is an error or as much as it was."""
    data = tiff_of(SMOOTH.astype(np.uint16), 2)
    for cut in range(4, len(data), 97):
        (tmp_path / "a").write_bytes(data[:cut])
        (item,) = read_items([str(tmp_path / "a")], {})
        assert isinstance(item.error, ImageError)
