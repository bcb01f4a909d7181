"""Metadata turn a picture upright, in every format alike, and never decide whether it may be read."""

import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from overfeat_tools.pictures import read_items
from overfeat_tools.pictures.orientation import orientation
from tests.picture_files import MAKERS, exif, jpeg_with, png_with, saved, tiff_of

Array = npt.NDArray[np.generic]

# Four colours, each in a corner of its own: which went where can be told.
CORNERS = np.zeros((32, 64, 3), np.uint8)
CORNERS[:16, :32], CORNERS[:16, 32:], CORNERS[16:, :32] = (200, 30, 30), (30, 200, 30), (30, 30, 200)
STORED = {
    1: CORNERS, 2: CORNERS[:, ::-1], 3: CORNERS[::-1, ::-1], 4: CORNERS[::-1],
    5: CORNERS.transpose(1, 0, 2), 6: np.rot90(CORNERS), 7: CORNERS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(CORNERS, -1),
}  # fmt: skip


def xmp(turn: int) -> bytes:
    """Give a packet of XMP."""
    return b"<x:xmpmeta><rdf:Description tiff:Orientation='%d'/></x:xmpmeta>" % turn


def raw_profile(block: bytes) -> bytes:
    """Give the text of a PNG that ImageMagick puts EXIF into."""
    text = b"\nexif\n%8d\n" % len(block) + b"\n".join(
        block[i : i + 36].hex().encode() for i in range(0, len(block), 36)
    )
    return b"Raw profile type exif\0\0" + zlib.compress(text)


def webp_with(data: bytes, name: bytes, body: bytes, flag: int) -> bytes:
    """Put a chunk into a WebP file, which must then have a VP8X chunk before the others."""
    sizes = b"".join((size - 1).to_bytes(3, "little") for size in Image.open(__import__("io").BytesIO(data)).size)
    chunks = b"VP8X" + struct.pack("<IB3x", 10, flag) + sizes + data[12:]
    chunks += name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def palette_tiff(pixels: Array, turn: int) -> bytes:
    """Give a TIFF with a palette of its own."""
    colours, indices = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    table = np.zeros((3, 256), np.uint16)
    table[:, : len(colours)] = colours.T.astype(np.uint16) * 257
    samples = indices.reshape(*pixels.shape[:2], 1).astype(np.uint8)
    return tiff_of(samples, 3, t320=("H", table.ravel().tolist()), t274=("H", turn))


def avif(pixels: Array, turn: int) -> bytes:
    """Give an AVIF, which has the orientation as a property of the picture."""
    return saved(pixels, "AVIF", quality=95, exif=exif(turn))


PLACES: dict[str, Callable[[Array, int], bytes]] = {
    "jpeg": lambda p, turn: jpeg_with(MAKERS["jpeg"](p), (0xE1, b"Exif\0\0" + exif(turn))),
    "jpeg-big-endian": lambda p, turn: jpeg_with(MAKERS["jpeg"](p), (0xE1, b"Exif\0\0" + exif(turn, ">"))),
    "jpeg-xmp": lambda p, turn: jpeg_with(MAKERS["jpeg"](p), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(turn))),
    "jpeg-cmyk": lambda p, turn: jpeg_with(MAKERS["jpeg-cmyk"](p), (0xE1, b"Exif\0\0" + exif(turn))),
    "png": lambda p, turn: png_with(MAKERS["png"](p), (b"eXIf", exif(turn))),
    "png-profile": lambda p, turn: png_with(MAKERS["png"](p), (b"zTXt", raw_profile(exif(turn)))),
    "png-xmp": lambda p, turn: png_with(MAKERS["png"](p), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(turn))),
    "png-palette": lambda p, turn: png_with(MAKERS["png-palette"](p), (b"eXIf", exif(turn))),
    "webp": lambda p, turn: webp_with(MAKERS["webp-lossless"](p), b"EXIF", exif(turn), 8),
    "webp-xmp": lambda p, turn: webp_with(MAKERS["webp-lossless"](p), b"XMP ", xmp(turn), 4),
    "tiff": lambda p, turn: tiff_of(p, 2, t274=("H", turn)),
    "tiff-palette": palette_tiff,
    "tiff-lzw": lambda p, turn: saved(p, "TIFF", compression="tiff_lzw", tiffinfo={274: turn}),
    "tiff-lzw-palette": lambda p, turn: saved(p, "TIFF", mode="P", compression="tiff_lzw", tiffinfo={274: turn}),
    "avif": avif,
}  # fmt: skip


def read(path: Path, data: bytes) -> Array:
    """Read a file that must be a whole picture."""
    path.write_bytes(data)
    (item,) = read_items([str(path)], {})
    assert item.error is None, item.error
    assert item.warning is None
    return np.asarray(item.pixels)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("place", PLACES)
def test_every_orientation(place: str, turn: int, tmp_path: Path) -> None:
    """A portrait stands upright, also with a palette, whose colours stay what they are."""
    data = PLACES[place](np.ascontiguousarray(STORED[turn]), turn)
    found = read(tmp_path / "file", data).astype(int)
    assert found.shape == CORNERS.shape
    for part in (np.s_[4:12, 4:28], np.s_[4:12, 36:60], np.s_[20:28, 4:28], np.s_[20:28, 36:60]):
        assert np.abs(found[part] - CORNERS[part]).max() < 25


ODD = struct.pack("<HHII", 0x011A, 2, 4, 0x00316137) + struct.pack("<HHII", 0x0100, 77, 0xFFFFFFFF, 0xFFFFFFF0)
BOMB = zlib.compress(bytes(40 << 20))

EXIF_WITH_TEXT = Image.Exif()
EXIF_WITH_TEXT[0x010F] = "Maker"

HOSTILE_PNG = (b"zTXt", b"Comment\0\0" + BOMB), (b"iCCP", b"profile\0\0" + BOMB), (b"eXIf", b"junk")


def gif_with(pixels: Array, *blocks: bytes) -> bytes:
    """Give a GIF with blocks before its picture."""
    data = MAKERS["gif"](pixels)
    place = 13 + (3 << (data[10] & 7) + 1)
    return data[:place] + b"".join(blocks) + data[place:]


def psd_with(pixels: Array, resources: bytes) -> bytes:
    """Give a PSD with a section of resources."""
    height, width = pixels.shape[:2]
    head = struct.pack(">4sH6xHIIHHI", b"8BPS", 1, 3, height, width, 8, 3, 0)
    return head + struct.pack(">I", len(resources)) + resources + bytes(6) + np.moveaxis(pixels, 2, 0).tobytes()


def icon(pixels: Array, kind: str) -> bytes:
    """Give an icon that is a PNG file with metadata."""
    png = png_with(MAKERS["png"](pixels), *HOSTILE_PNG)
    height, width = pixels.shape[:2]
    if kind == "ico":
        return struct.pack("<HHHBBxxHHII", 0, 1, 1, width, height, 1, 32, len(png), 22) + png
    return b"icns" + struct.pack(">I4sI", 16 + len(png), b"icp6", 8 + len(png)) + png


HOSTILE: dict[str, Callable[[Array], bytes]] = {
    "png-text": lambda p: png_with(MAKERS["png"](p), (b"zTXt", b"Comment\0\0" + BOMB)),
    "png-text-itxt": lambda p: png_with(MAKERS["png"](p), (b"iTXt", b"Comment\0\1\0\0\0" + BOMB)),
    "png-icc": lambda p: png_with(MAKERS["png"](p), (b"iCCP", b"profile\0\0" + BOMB)),
    "png-many-texts": lambda p: png_with(MAKERS["png"](p), *[(b"tEXt", b"a\0" + bytes(1000))] * 2000),
    "png-profile-bomb": lambda p: png_with(MAKERS["png"](p), (b"zTXt", b"Raw profile type exif\0\0" + BOMB)),
    "png-profile": lambda p: png_with(MAKERS["png"](p), (b"tEXt", b"Raw profile type exif\0\nexif\n 9\nxyz")),
    "png-profile-empty": lambda p: png_with(MAKERS["png"](p), (b"zTXt", b"Raw profile type exif\0")),
    "png-exif": lambda p: png_with(MAKERS["png"](p), (b"eXIf", b"no TIFF at all")),
    "png-exif-short": lambda p: png_with(MAKERS["png"](p), (b"eXIf", b"II*\0\xff\xff\xff\xff")),
    "png-time": lambda p: png_with(MAKERS["png"](p), (b"tIME", b""), (b"pHYs", b"1"), (b"gAMA", bytes(4))),
    "jpeg-icc": lambda p: jpeg_with(MAKERS["jpeg"](p), (0xE2, b"ICC_PROFILE\0\1\1junk"), (0xE2, b"MPF\0junk")),
    "jpeg-photoshop": lambda p: jpeg_with(
        MAKERS["jpeg"](p), (0xED, b"Photoshop 3.0\08BIM\4\4\xff"), (0xFE, b"\xff" * 99)
    ),
    "jpeg-cmyk-icc": lambda p: jpeg_with(
        MAKERS["jpeg-cmyk"](p), (0xE2, b"ICC_PROFILE\0\1\2"), (0xE1, b"Exif\0\0II*\0")
    ),
    "webp-exif": lambda p: webp_with(MAKERS["webp-lossless"](p), b"EXIF", b"junk", 8 | 4 | 32),
    "avif-exif": lambda p: saved(p, "AVIF", quality=95, exif=EXIF_WITH_TEXT).replace(b"MM\0*", b"junk"),
    "tiff-tags": lambda p: tiff_of(
        p, 2, t270=("s", [b"\xff" * 9]), t34665=("I", 0xFFFFFF), t700=("B", [255] * 9), t282=("s", [b"x"])
    ),
    "tiff-lzw-exif": lambda p: saved(p, "TIFF", compression="tiff_lzw", tiffinfo={34665: 7, 330: 9, 700: b"x"}),
    "gif-application": lambda p: gif_with(p, b"!\xff\x0bNETSCAPE2.0\0", b"!\xfe" + (b"\xff" + bytes(255)) * 99 + b"\0"),
    "psd-resources": lambda p: psd_with(p, b"8BIM\4\x0f\0\0\xff\xff\xff\xffjunk"),
    "ico": lambda p: icon(p, "ico"),
    "icns": lambda p: icon(np.concatenate([p, p]), "icns"),
    "tiff-lsm": lambda p: tiff_of(p, 2, t34412=("B", [0] * 99), t34118=("I", 1), t65421=("H", 1)),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_metadata_decide_nothing(kind: str, tmp_path: Path) -> None:
    """Bombs, nonsense and errors in what no pixel depends on."""
    found = read(tmp_path / "file", HOSTILE[kind](CORNERS)).astype(int)
    assert np.abs(found[4:12, 4:28] - (200, 30, 30)).max() < 25


@pytest.mark.parametrize("kind", ["jpeg", "jpeg-cmyk", "png", "webp"])
def test_an_odd_entry_beside_the_orientation(kind: str, tmp_path: Path) -> None:
    """A resolution that is text, an entry of no known type that lies outside: the picture is turned all the same."""
    block, stored = exif(6, extra=ODD), np.ascontiguousarray(STORED[6])
    data = {
        "jpeg": lambda: jpeg_with(MAKERS["jpeg"](stored), (0xE1, b"Exif\0\0" + block)),
        "jpeg-cmyk": lambda: jpeg_with(MAKERS["jpeg-cmyk"](stored), (0xE1, b"Exif\0\0" + block)),
        "png": lambda: png_with(MAKERS["png"](stored), (b"eXIf", block)),
        "webp": lambda: webp_with(MAKERS["webp-lossless"](stored), b"EXIF", b"Exif\0\0" + block, 8),
    }[kind]()
    found = read(tmp_path / "file", data).astype(int)
    assert found.shape == CORNERS.shape
    assert np.abs(found[4:12, 4:28] - (200, 30, 30)).max() < 25


def test_the_packet_of_xmp_is_found_among_others(tmp_path: Path) -> None:
    """A thermal camera's data and extensions of XMP lie in segments of the same kind."""
    head = b"http://ns.adobe.com/xap/1.0/\0"
    segments = [b"FLIR\0" + bytes(99), b"http://ns.adobe.com/xmp/extension/\0" + xmp(3), head + xmp(6)]
    data = jpeg_with(MAKERS["jpeg"](np.ascontiguousarray(STORED[6])), *((0xE1, segment) for segment in segments))
    found = read(tmp_path / "file", data).astype(int)
    assert np.abs(found[4:12, 4:28] - (200, 30, 30)).max() < 25


def test_nonsense_is_no_orientation() -> None:
    wrong = (b"", b"II", b"II*\0", b"junk" * 9, b"MM\0*\xff\xff\xff\xff", b"II+\0" + bytes(20))
    for block in (*wrong, exif(0), exif(9), exif(6)[:-8]):
        assert orientation(block) == 1
    entry = partial(struct.pack, "<4sIHHHI")
    assert orientation(entry(b"II*\0", 8, 1, 274, 2, 2) + b"6\0\0\0") == 1  # text
    assert orientation(entry(b"II*\0", 8, 1, 274, 4, 1) + struct.pack("<I", 6)) == 6  # a long number
    assert orientation(b"", xmp(8)) == 8
    assert orientation(exif(3), xmp(8)) == 3
