"""Bring pictures to a network's size."""

import math
from time import thread_time

import numpy as np

from overfeat_tools.backend import Array
from overfeat_tools.backend.compiler import open_compiler
from overfeat_tools.pictures.resampling import LOBES, Box, Bytes, Resampler

resampler = Resampler(open_compiler)
"""That of the process: kernels that are loaded serve every network."""


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
    scale = size / min(height, width)
    # The square's place is rounded in the scaled picture, as if that had been made and cut.
    left = (round(width * scale) - size) // 2 * width / round(width * scale)
    top = (round(height * scale) - size) // 2 * height / round(height * scale)
    across, down = size * width / round(width * scale), size * height / round(height * scale)
    columns, left, right = _seen(left, min(left + across, width), width, size)
    rows, top, bottom = _seen(top, min(top + down, height), height, size)
    part, box = pixels[rows, columns], (left, top, right, bottom)
    if pixels.dtype == np.uint8:
        scaled = resampler(part, size, box)
        if scaled is not None:
            return scaled
        with resampler.going_without(thread_time):
            return _resampled(part, size, box)
    planes = [_resampled(np.ascontiguousarray(plane, np.float32), size, box) for plane in np.moveaxis(part, 2, 0)]
    fitted: Array = np.clip(np.stack(planes, axis=2), 0.0, 255.0)  # Lanczos overshoots at edges
    return fitted


def _seen(start: float, stop: float, length: int, size: int) -> tuple[slice, float, float]:
    """Give what the filter sees of a side, and where in that the square starts and stops."""
    reach = LOBES * max((stop - start) / size, 1.0) + 1
    first = max(math.floor(start - reach), 0)
    return slice(first, min(math.ceil(stop + reach), length)), start - first, stop - first


def _resampled(pixels: Array, size: int, box: Box) -> Bytes:
    """Scale columns, then rows: one after the other, since not every version of Pillow does it in this order."""
    from PIL import Image

    image, (left, top, right, bottom) = Image.fromarray(pixels), box
    image = image.resize((size, image.height), Image.Resampling.LANCZOS, (left, 0, right, image.height))
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS, (0, top, size, bottom)))


def centre_square(pixels: Array) -> Array:
    """Cut the largest square out of the centre of a picture (H, W, 3)."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]
