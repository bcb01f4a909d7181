"""Read picture files and bring pictures to a network's size: the door to imageio and Pillow."""

import io
import os
from typing import Any

import numpy as np

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError
from overfeat_tools.pictures.pnm import MAX_PIXELS, Picture

# Pillow modes that imageio gives as gray or RGB, with or without alpha; the others must be converted.
_PLAIN_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16", "I;16B", "I;16L", "F"}
_TIFF_MAGICS = (b"II", b"MM")
_JPEG_MAGIC = b"\xff\xd8"
_ALPHA = {2: 1, 4: 3}  # channels with alpha: channels without


def decode(first: bytes, descriptor: int, side: int | None = None) -> Picture:
    """Decode a picture file of any format that imageio knows; of an animation, the first frame.

    The orientation that a camera noted (EXIF) is applied.

    Parameters
    ----------
    first : bytes
        What has been read of the file.
    descriptor : int
        Where the rest comes from: a file or a pipe.
    side : int, optional
        The picture's shorter side will be scaled to this: a JPEG of four times that or more is
        decoded at half, quarter or eighth size, at least twice `side`, which is much quicker.

    Raises
    ------
    ImageError
        It is no picture, or a broken one.
    OSError
        It can't be read.
    """
    if not first:
        raise ImageError("the file is empty")
    with os.fdopen(os.dup(descriptor), "rb") as rest:
        data = first + rest.read()
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the bound is `_check_size`, on what the header says
    try:
        pixels = _draft(data, side) if side and data.startswith(_JPEG_MAGIC) else _full(data)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("not enough memory to decode it") from error
    except Exception as error:  # decoders raise whatever they like at a broken file
        known = "could not find a backend" not in str(error).lower()
        raise ImageError(
            "the picture is broken: it can't be decoded" if known else "not a picture in a known format"
        ) from error
    return Picture(_rgb(pixels))


def _full(data: bytes) -> Array:
    """Decode through imageio: by Pillow if it can, else by whatever else is installed."""
    import imageio.v3 as imageio

    try:
        file = imageio.imopen(data, "r", plugin="pillow")
    except OSError:
        with imageio.imopen(data, "r") as other:
            _check_size(*other.properties(index=0).shape[:2])
            return np.asarray(other.read(index=0))
    with file:
        _check_size(*file.properties(index=0).shape[:2])
        mode = file.metadata(index=0, exclude_applied=False).get("mode")
        # Pillow itself turns TIFF pictures.
        turned = data.startswith(_TIFF_MAGICS)
        options: dict[str, Any] = {} if mode in _PLAIN_MODES else {"mode": "RGB"}
        return np.asarray(file.read(index=0, rotate=not turned, **options))


def _draft(data: bytes, side: int) -> Array:
    """Decode a JPEG with a reduced inverse transform, which imageio has no word for."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data)) as image:
        _check_size(image.height, image.width)
        image.draft(None, (2 * side, 2 * side))
        turned = ImageOps.exif_transpose(image)
        return np.asarray(turned if turned.mode in _PLAIN_MODES else turned.convert("RGB"))


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ImageError(f"{width}x{height} is more than {MAX_PIXELS} pixels")


def _rgb(pixels: Array) -> Array:
    """Turn what a decoder gave into (H, W, 3), 0..255, uint8 or float32."""
    if pixels.ndim == 2:  # noqa: PLR2004 -- rows and columns
        pixels = pixels[..., None]
    if pixels.ndim != 3 or not pixels.size:  # noqa: PLR2004 -- rows, columns, channels
        raise ImageError(f"an array of shape {pixels.shape} is no picture")
    channels = _ALPHA.get(pixels.shape[2], pixels.shape[2])
    pixels = pixels[..., :channels]
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(pixels.dtype, np.integer) and pixels.dtype != np.uint8:
        # Pillow gives 16-bit gray as 32-bit integers.
        most = 65535 if pixels.dtype.itemsize > 1 else np.iinfo(pixels.dtype).max
        pixels = np.clip(pixels, 0, most).astype(np.float32) * np.float32(255) / np.float32(most)
    elif pixels.dtype != np.uint8:
        pixels = pixels.astype(np.float32)
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])


def fit(pixels: Array, size: int) -> Array:
    """Scale a picture's shorter side to `size` and cut the centre square.

    Parameters
    ----------
    pixels : array (H, W, 3), uint8 or float32
    size : int
        The side of the square.

    Returns
    -------
    array (size, size, 3)
        Of the same dtype.

    Notes
    -----
    Only the part that the square shows is scaled, so the cost does not depend on the aspect
    ratio: a 1x100000 picture is as quick as any other.  The filter is Lanczos, antialiased.
    """
    height, width = pixels.shape[:2]
    if min(height, width) == size:
        return centre_square(pixels)
    from PIL import Image

    scale = size / min(height, width)
    # The square's place is rounded in the scaled picture, as if that had been made and cut.
    left = (round(width * scale) - size) // 2 * width / round(width * scale)
    top = (round(height * scale) - size) // 2 * height / round(height * scale)
    across, down = size * width / round(width * scale), size * height / round(height * scale)
    box = (left, top, min(left + across, width), min(top + down, height))
    if pixels.dtype == np.uint8:
        image = Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS, box)
        return np.asarray(image)
    planes = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(pixels[..., channel], np.float32)).resize(
                (size, size), Image.Resampling.LANCZOS, box
            )
        )
        for channel in range(3)
    ]
    fitted: Array = np.clip(np.stack(planes, axis=2), 0.0, 255.0)  # Lanczos overshoots at edges
    return fitted


def centre_square(pixels: Array) -> Array:
    """Cut the largest square out of the centre of a picture (H, W, 3)."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]
