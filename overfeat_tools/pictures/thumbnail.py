"""Small JPEG files of pictures, to be looked at."""

import io

import numpy as np

from overfeat_tools.backend import Array

_QUALITY = 75


def thumbnail(pixels: Array, most: int) -> tuple[bytes, int, int]:
    """Make a small JPEG file of a picture.

    Parameters
    ----------
    pixels : array (H, W, 3), uint8 or float32
    most : int
        The longest that a side may be.

    Returns
    -------
    bytes
        The file.
    int, int
        Its width and height.
    """
    from PIL import Image

    image = Image.fromarray(to_bytes(pixels))
    image.thumbnail((most, most), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue(), image.width, image.height


def to_bytes(pixels: Array) -> Array:
    """Round samples of 0..255 to bytes."""
    return pixels if pixels.dtype == np.uint8 else np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
