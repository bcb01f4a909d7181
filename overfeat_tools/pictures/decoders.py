"""Decoders of picture files: the door to imageio, Pillow and simplejpeg.

Each takes the bytes of a file whose kind is known and raises whatever it likes at a broken one;
`reading` turns that into an error of the picture.  None starts a program, and none is tried after
another except Pillow for JPEGs that simplejpeg refuses.
"""

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import numpy as np

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError, UsageError
from overfeat_tools.pictures.faults import as_image_error, of_decoder
from overfeat_tools.pictures.metadata import Parts, jpeg_parts
from overfeat_tools.pictures.orientation import orientation, upright
from overfeat_tools.pictures.picture import UPRIGHT, Decoded, Wanted
from overfeat_tools.pictures.pnm_header import MAX_PIXELS
from overfeat_tools.pictures.samples import BYTE, DEEP, Colour, rgb, scaled, without_ink

_DEEP_MODES = ("I;16", "I;16L", "I;16B")
_FLOAT_MODES = ("F", "I")
_MOST_FAILURES = 16
_NO_RANGE = "its samples have no stated black and white; convert it first: convert FILE -depth 8 ppm:-"

# What libraries say of a file is said by our own errors, or not at all.
for _name in ("PIL", "imageio", "tifffile"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", module=rf"{_name}\b")


def colour(text: str) -> Colour:
    """Read the name of a colour, as in CSS, or #rgb or #rrggbb.

    Raises
    ------
    UsageError
        It is none.
    """
    from PIL import ImageColor

    if re.fullmatch(r"[A-Za-z]{1,40}|#[0-9A-Fa-f]{3}(?:[0-9A-Fa-f]{3})?", text):
        with suppress(ValueError):
            red, green, blue = ImageColor.getrgb(text)[:3]
            return red, green, blue
    raise UsageError(f"--background {text}: the name of a colour, #rgb or #rrggbb expected")


wait_for_room: ContextVar[Callable[[int], None]] = ContextVar("wait_for_room", default=lambda _: None)
"""Where several threads decode: what waits until there is memory for a picture of so many pixels."""


def check_size(height: int, width: int, reduction: int = 1) -> None:
    """Refuse a picture without pixels, or with too many, before anything is allocated for it.

    One that isn't refused may have to wait for memory.
    """
    if height * width > MAX_PIXELS:
        raise ImageError(f"{width}x{height} is more than {MAX_PIXELS} pixels")
    if height < 1 or width < 1:
        raise ImageError(f"{width}x{height} has no pixels")
    wait_for_room.get()(height * width // reduction**2)


def pillow_pixels(data: bytes, form: str, *, alpha: bool = False) -> tuple[Array, Parts]:
    """Decode the first frame of a file in one format of Pillow's.

    Returns
    -------
    array (H, W, 1, 3 or, if alpha is asked for, 4)
        uint8, 0..255; or uint16.
    Parts
        The metadata that the decoder met.
    """
    frame, _, mode, met = _looked_at(data, form, alpha=alpha)
    with _opened(data) as file:
        return _pixels(file, frame, mode), met


def pillow_frames(
    data: bytes, wanted: Wanted, *, form: str, parts_of: Callable[[bytes], Parts] | None = None
) -> Iterator[Decoded | Exception]:
    """Decode all frames of a file by Pillow, each when it is asked for, or give what is wrong with it."""
    parts = parts_of(data) if parts_of else Parts()
    needed = parts.needed if parts_of else data
    first, count, mode, met = _looked_at(needed, form, alpha=wanted.background is not None)
    turn = orientation(parts.exif or met.exif, parts.xmp or met.xmp)
    failures = 0  # one after the other
    with _opened(needed) as file:
        for frame in range(first, first + count):
            try:
                pixels = _pixels(file, frame, mode)
            except Exception as error:  # noqa: BLE001 -- whatever it is, the next frame may do
                yield error.with_traceback(None)
                failures += 1
                if isinstance(error, EOFError) or failures == _MOST_FAILURES:
                    return  # the file has promised more frames than it has
            else:
                yield Decoded(scaled(pixels, BYTE if pixels.dtype == np.uint8 else DEEP), turn)
                failures = 0


def _looked_at(data: bytes, form: str, *, alpha: bool) -> tuple[int, int, str | None, Parts]:
    """Check a file of Pillow's, and give its first frame, how many there are, the mode to decode to, and metadata."""
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=[form]) as image:
        check_size(image.height, image.width)
        # Of some formats the first frame isn't number 0.
        frame, count, mode, info = image.tell(), getattr(image, "n_frames", 1), image.mode, image.info
    if mode in _FLOAT_MODES:
        raise ImageError(_NO_RANGE)
    exif, xmp = info.get("exif"), info.get("xmp")
    met = Parts(exif=exif if isinstance(exif, bytes) else b"", xmp=xmp if isinstance(xmp, bytes) else b"")
    return frame, count, None if mode in _DEEP_MODES else "RGBA" if alpha else "RGB", met


def read_image(image: Any) -> Array:  # noqa: ANN401 -- an Image of Pillow's, which need not be there
    """Give the pixels (H, W, 3) of an image of Pillow's; one that was opened from a file is read as the file would be.

    Raises
    ------
    ImageError
        It can't be used.
    """
    from PIL import ImageFile

    check_size(image.height, image.width)
    if image.mode in _FLOAT_MODES:
        raise ImageError(_NO_RANGE)
    deep, info = image.mode in _DEEP_MODES, image.info
    try:
        samples = np.asarray(image)[..., None] if deep else np.asarray(image.convert("RGB"))
    except Exception as error:  # noqa: BLE001 -- whatever Pillow has to say of a broken file
        raise (as_image_error(error) if isinstance(error, MemoryError) else of_decoder(error, "image")) from None
    parts = [one if isinstance(one, bytes) else b"" for one in (info.get("exif"), info.get("xmp"))]
    # What has been made of an opened file may have been turned already.
    turn = orientation(*parts) if isinstance(image, ImageFile.ImageFile) else UPRIGHT
    return upright(rgb(scaled(samples, DEEP if deep else BYTE)), turn)


def _opened(data: bytes) -> Any:  # noqa: ANN401 -- imageio's plugins have no common type
    import imageio.v3 as imageio

    return imageio.imopen(data, "r", plugin="pillow")


def _pixels(file: Any, frame: int, mode: str | None) -> Array:  # noqa: ANN401
    pixels = np.asarray(file.read(index=frame, mode=mode, writeable_output=False))
    return pixels if mode else pixels[..., None]


def read_with_pillow(
    data: bytes, wanted: Wanted, *, form: str, parts_of: Callable[[bytes], Parts] | None = None
) -> Decoded:
    """Decode the first frame through imageio, by Pillow."""
    parts = parts_of(data) if parts_of else Parts()
    pixels, met = pillow_pixels(parts.needed if parts_of else data, form, alpha=wanted.background is not None)
    turn = orientation(parts.exif or met.exif, parts.xmp or met.xmp)
    return Decoded(scaled(pixels, BYTE if pixels.dtype == np.uint8 else DEEP), turn)


def read_jpeg_2000(data: bytes, wanted: Wanted) -> Decoded:
    """Decode JPEG 2000; samples of less than a byte come from Pillow shifted to its top, where white is not 255."""
    start = data.find(b"\xff\x4f\xff\x51")
    bits, columns, rows = data[start + 42 : start + 45] if start >= 0 else b"\7\1\1"
    if columns > 1 or rows > 1:
        raise ImageError("a kind of JPEG 2000 that isn't supported: its first channel is subsampled")
    decoded = read_with_pillow(data, wanted, form="JPEG2000")
    bits = (bits & 0x7F) + 1
    if bits >= 8 or b"pclr" in data[:start]:  # noqa: PLR2004 -- bits of a byte
        return decoded
    return replace(decoded, pixels=scaled(decoded.pixels >> (8 - bits), (1 << bits) - 1))


def read_jpeg(data: bytes, wanted: Wanted) -> Decoded:
    """Decode a JPEG, at a reduced size where the picture will be scaled to a much smaller one anyway.

    One whose shorter side is four times `side` or more is decoded at half, quarter or eighth size,
    at least twice `side`, which is much quicker.  A damaged one is decoded as far as it goes.
    """
    import simplejpeg

    parts = jpeg_parts(data)
    turn = orientation(parts.exif, parts.xmp)
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        reduction = reduction_to(height, width, wanted.side)
        check_size(height, width, reduction)
        pixels, warning = _jpeg_pixels(data, colours, -(-height // reduction), -(-width // reduction))
        full_size = (width, height) if reduction > 1 else None
    except (KeyError, ValueError) as error:  # a KeyError is what it makes of a header that it can't read
        if "memory" in str(error):
            raise MemoryError from error
        return Decoded(pillow_pixels(parts.needed, "JPEG")[0], turn)
    return Decoded(pixels, turn, warning, full_size)


def reduction_to(height: int, width: int, side: int | None) -> int:
    """Give by how much a picture may be reduced that will be scaled to a side, if it will."""
    return next((factor for factor in (8, 4, 2) if side and min(height, width) >= 2 * side * factor), 1)


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
