"""Decoders of picture files: the door to imageio, Pillow and simplejpeg.

Each takes the bytes of a file whose kind is known and raises whatever it likes at a broken one;
`reading` turns that into an error of the picture.  None starts a program, and none is tried after
another except Pillow for JPEGs that simplejpeg refuses.
"""

import io
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError
from overfeat_tools.pictures.metadata import Parts, heif_parts, jpeg_parts
from overfeat_tools.pictures.orientation import UPRIGHT, orientation
from overfeat_tools.pictures.pnm_header import MAX_PIXELS
from overfeat_tools.pictures.samples import BYTE, rgb, scaled, without_ink

_DEEP_MODES = ("I;16", "I;16L", "I;16B")
_FLOAT_MODES = ("F", "I")

# What libraries say of a file is said by our own errors, or not at all.
for _name in ("PIL", "imageio", "tifffile"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", module=rf"{_name}\b")


@dataclass(frozen=True)
class Decoded:
    """What a decoder made of a file: pixels (H, W, 3) as stored, and how to turn them."""

    pixels: Array
    orientation: int = UPRIGHT
    warning: str | None = None


def check_size(height: int, width: int) -> None:
    """Refuse a picture without pixels, or with too many, before anything is allocated for it."""
    if height * width > MAX_PIXELS:
        raise ImageError(f"{width}x{height} is more than {MAX_PIXELS} pixels")
    if height < 1 or width < 1:
        raise ImageError(f"{width}x{height} has no pixels")


def pillow_pixels(data: bytes, form: str) -> tuple[Array, Parts]:
    """Decode the first frame of a file in one format of Pillow's.

    Returns
    -------
    array (H, W, 1 or 3)
        uint8, 0..255; or uint16.
    Parts
        The metadata that the decoder met.
    """
    import imageio.v3 as imageio
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=[form]) as image:
        check_size(image.height, image.width)
        # Of some formats the first frame isn't number 0.
        frame, mode, info = image.tell(), image.mode, image.info
    if mode in _FLOAT_MODES:
        raise ImageError("its samples have no stated black and white; convert it first: convert FILE -depth 8 ppm:-")
    file: Any = imageio.imopen(data, "r", plugin="pillow")
    with file:
        wanted = None if mode in _DEEP_MODES else "RGB"
        pixels = np.asarray(file.read(index=frame, mode=wanted, writeable_output=False))
    exif, xmp = info.get("exif"), info.get("xmp")
    met = Parts(exif=exif if isinstance(exif, bytes) else b"", xmp=xmp if isinstance(xmp, bytes) else b"")
    return (pixels[..., None] if mode in _DEEP_MODES else pixels), met


def read_with_pillow(
    data: bytes, _side: int | None, *, form: str, parts_of: Callable[[bytes], Parts] | None = None
) -> Decoded:
    """Decode through imageio, by Pillow."""
    parts = parts_of(data) if parts_of else Parts()
    pixels, met = pillow_pixels(parts.needed if parts_of else data, form)
    maxval = BYTE if pixels.dtype == np.uint8 else 65535
    return Decoded(rgb(scaled(pixels, maxval)), orientation(parts.exif or met.exif, parts.xmp or met.xmp))


def read_heif(data: bytes, side: int | None) -> Decoded:
    """Decode HEIF (HEIC), which Pillow learns from pillow-heif."""
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError("HEIF files need the package pillow-heif: pip install 'overfeat_tools[heif]'") from error
    pillow_heif.register_heif_opener()
    return read_with_pillow(data, side, form="HEIF", parts_of=heif_parts)


def read_jpeg_2000(data: bytes, side: int | None) -> Decoded:
    """Decode JPEG 2000; samples of less than a byte come from Pillow shifted to its top, where white is not 255."""
    start = data.find(b"\xff\x4f\xff\x51")
    bits, columns, rows = data[start + 42 : start + 45] if start >= 0 else b"\7\1\1"
    if columns > 1 or rows > 1:
        raise ImageError("a kind of JPEG 2000 that isn't supported: its first channel is subsampled")
    decoded = read_with_pillow(data, side, form="JPEG2000")
    bits = (bits & 0x7F) + 1
    if bits >= 8 or b"pclr" in data[:start]:  # noqa: PLR2004 -- bits of a byte
        return decoded
    return replace(decoded, pixels=scaled(decoded.pixels >> (8 - bits), (1 << bits) - 1))


def read_jpeg(data: bytes, side: int | None) -> Decoded:
    """Decode a JPEG, at a reduced size where the picture will be scaled to a much smaller one anyway.

    One whose shorter side is four times `side` or more is decoded at half, quarter or eighth size,
    at least twice `side`, which is much quicker.  A damaged one is decoded as far as it goes.
    """
    import simplejpeg

    parts = jpeg_parts(data)
    turn = orientation(parts.exif, parts.xmp)
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        check_size(height, width)
        reduction = _reduction(height, width, side) if side else 1
        pixels, warning = _jpeg_pixels(data, colours, -(-height // reduction), -(-width // reduction))
    except (KeyError, ValueError) as error:  # a KeyError is what it makes of a header that it can't read
        if "memory" in str(error):
            raise MemoryError from error
        return Decoded(rgb(pillow_pixels(parts.needed, "JPEG")[0]), turn)
    return Decoded(rgb(pixels), turn, warning)


def _reduction(height: int, width: int, side: int) -> int:
    return next((factor for factor in (8, 4, 2) if min(height, width) >= 2 * side * factor), 1)


def _jpeg_pixels(data: bytes, colours: str, height: int, width: int) -> tuple[Array, str | None]:
    import simplejpeg

    options: dict[str, Any] = {
        "colorspace": {"Gray": "GRAY", "CMYK": "CMYK", "YCCK": "CMYK"}.get(colours, "RGB"),
        "min_height": height,
        "min_width": width,
    }
    warning = None
    try:
        pixels = simplejpeg.decode_jpeg(data, **options)
    except ValueError as error:
        pixels = simplejpeg.decode_jpeg(data, strict=False, **options)
        said = str(error)
        warning = f"damaged, decoded as far as it goes: {said[:1].lower()}{said[1:]}"
    # Inks are stored the other way round: what they leave of the light.
    return (without_ink(pixels) if options["colorspace"] == "CMYK" else pixels), warning
