"""Small picture files of every kind, made here: for matrices, fuzzing and soaks."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.generic]

# What a reader of TIFF must know of each type: its number and its letter.
_TYPES = {"B": 1, "s": 2, "H": 3, "I": 4}


def smooth(height: int = 24, width: int = 40) -> npt.NDArray[np.uint8]:
    """Give a picture whose three channels differ and whose corners can be told apart."""
    rows, columns = np.mgrid[:height, :width]
    planes = [20 + columns * 200 / width, 30 + rows * 190 / height, 250 - (rows + columns) * 200 / (height + width)]
    return np.stack(planes, axis=2).astype(np.uint8)


def saved(pixels: Array, form: str, mode: str = "RGB", **options: object) -> bytes:
    """Give a file as Pillow writes it."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image if mode == image.mode else image.quantize(16) if mode == "P" else image.convert(mode)).save(
        buffer, form, **options
    )
    return buffer.getvalue()


def exif(orientation: int, order: str = "<", extra: bytes = b"") -> bytes:
    """Give a block of EXIF with an orientation, and before it other entries of 12 bytes each."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 1 + len(extra) // 12)
    return head + extra + struct.pack(order + "HHIHHI", 274, 3, 1, orientation, 0, 0)


def tiff(strips: list[bytes], tags: dict[int, tuple[str, object]], order: str = "<") -> bytes:
    """Give a TIFF file of these strips; each tag has the letter of its type and its value or values."""
    data, offsets = bytearray(8), []
    for strip in strips:
        offsets.append(len(data))
        data += strip + bytes(len(strip) % 2)
    tags = {273: ("I", offsets), 279: ("I", [len(strip) for strip in strips]), **tags}
    entries = b""
    for tag, (letter, value) in sorted(tags.items()):
        values = value if isinstance(value, list) else [value]
        packed = b"".join(v if isinstance(v, bytes) else struct.pack(order + letter, v) for v in values)
        count = len(packed) if letter == "s" else len(values)
        if len(packed) > 4:
            place, packed_at = len(data), packed
            data += packed_at + bytes(len(packed_at) % 2)
            packed = struct.pack(order + "I", place)
        entries += struct.pack(order + "HHI", tag, _TYPES[letter], count) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", len(data))
    data[:8] = head
    return bytes(data) + struct.pack(order + "H", len(tags)) + entries + bytes(4)


def tiff_of(
    samples: Array, photometric: int, order: str = "<", *, planar: bool = False, packed: bool = False, **more: object
) -> bytes:
    """Give a TIFF file of samples (H, W, C) of any width; `more` has its other tags as `tNUMBER`."""
    height, width, channels = samples.shape
    planes = [samples[..., c] for c in range(channels)] if planar else [samples]
    strips = [plane.astype(samples.dtype.newbyteorder(order)).tobytes() for plane in planes]
    tags: dict[int, tuple[str, object]] = {
        256: ("I", width), 257: ("I", height), 258: ("H", [8 * samples.dtype.itemsize] * channels),
        259: ("H", 8 if packed else 1), 262: ("H", photometric), 277: ("H", channels), 278: ("I", height),
        284: ("H", 2 if planar else 1), **{int(name[1:]): value for name, value in more.items()},
    }  # fmt: skip
    return tiff([zlib.compress(strip) for strip in strips] if packed else strips, tags, order)


def png_with(data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """Put chunks into a PNG file, behind its header."""
    made = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return data[:33] + b"".join(made) + data[33:]


def jpeg_with(data: bytes, *segments: tuple[int, bytes]) -> bytes:
    """Put segments into a JPEG file, behind its first two bytes."""
    made = [struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body for marker, body in segments]
    return data[:2] + b"".join(made) + data[2:]


def _pnm(magic: bytes, pixels: Array) -> bytes:
    height, width = pixels.shape[:2]
    colours = pixels if magic in b"P3P6" else pixels[..., 0]
    head = b"%b\n%d %d\n255\n" % (magic, width, height)
    return head + (b" ".join(b"%d" % v for v in colours.flat) + b"\n" if magic in b"P2P3" else colours.tobytes())


def _tiff_gray16(pixels: Array) -> bytes:
    return tiff_of(pixels[..., :1].astype(np.uint16) * 257, 1)


# Every kind that is read: its name, and what makes a file of pixels (H, W, 3).
MAKERS: dict[str, Callable[[Array], bytes]] = {
    "jpeg": partial(saved, form="JPEG", quality=90),
    "jpeg-progressive": partial(saved, form="JPEG", progressive=True),
    "jpeg-gray": partial(saved, form="JPEG", mode="L"),
    "jpeg-cmyk": partial(saved, form="JPEG", mode="CMYK"),
    "png": partial(saved, form="PNG"),
    "png-palette": partial(saved, form="PNG", mode="P"),
    "png-bits": partial(saved, form="PNG", mode="1"),
    "webp": partial(saved, form="WEBP"),
    "webp-lossless": partial(saved, form="WEBP", lossless=True),
    "gif": partial(saved, form="GIF"),
    "bmp": partial(saved, form="BMP"),
    "tiff": partial(saved, form="TIFF"),
    "tiff-lzw": partial(saved, form="TIFF", compression="tiff_lzw"),
    "tiff-jpeg": partial(saved, form="TIFF", compression="jpeg"),
    "tiff-deflate": partial(saved, form="TIFF", compression="tiff_adobe_deflate"),
    "tiff-fax": partial(saved, form="TIFF", mode="1", compression="group4"),
    "tiff-gray16": _tiff_gray16,
    "tiff-planar16": lambda pixels: tiff_of(pixels.astype(np.uint16) * 257, 2, planar=True, packed=True),
    "avif": partial(saved, form="AVIF", quality=90),
    "jpeg2000": partial(saved, form="JPEG2000"),
    "ico": partial(saved, form="ICO", bitmap_format="bmp"),
    "icns": partial(saved, form="ICNS"),
    "pcx": partial(saved, form="PCX"),
    "dds": partial(saved, form="DDS"),
    "sgi": partial(saved, form="SGI"),
    "qoi": partial(saved, form="QOI"),
    "tga": partial(saved, form="TGA"),
    "tga-rle": partial(saved, form="TGA", compression="tga_rle"),
    "p2": partial(_pnm, b"P2"),
    "p3": partial(_pnm, b"P3"),
    "p5": partial(_pnm, b"P5"),
    "p6": partial(_pnm, b"P6"),
}
