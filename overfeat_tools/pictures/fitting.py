"""Bring pictures to a network's size."""

import math
from time import thread_time

import numpy as np

from overfeat_tools.backend import Array
from overfeat_tools.backend.compiler import open_compiler
from overfeat_tools.pictures.resampling import LOBES, Box, Bytes, Resampler, Size

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
    if pixels.shape[:2] == (size, size):
        return pixels
    height, width = scaled_size(pixels, size)
    return part(pixels, (height, width), ((height - size) // 2, (width - size) // 2), (size, size))


def scaled_size(pixels: Array, shorter: int) -> Size:
    """Give the height and width of a picture whose shorter side is scaled to a length."""
    height, width = pixels.shape[:2]
    scale = shorter / min(height, width)
    return round(height * scale), round(width * scale)


def part(pixels: Array, scaled: Size, corner: tuple[int, int], size: Size) -> Array:
    """Give a part of a picture that is scaled, as if the whole had been scaled and cut.

    Parameters
    ----------
    pixels : array (H, W, 3), uint8 or float32
    scaled, corner, size : (int, int)
        Rows and columns: of the whole scaled picture, above and on the left of the part, and of the part.

    Returns
    -------
    array (*size, 3)
        Of the same dtype.
    """
    height, width = pixels.shape[:2]
    (top, left), (rows, columns) = corner, size
    if scaled == (height, width):
        return pixels[top : top + rows, left : left + columns]
    start, above = left * width / scaled[1], top * height / scaled[0]
    across, down = columns * width / scaled[1], rows * height / scaled[0]
    seen_columns, start, stop = _seen(start, min(start + across, width), width, columns)
    seen_rows, above, below = _seen(above, min(above + down, height), height, rows)
    seen, box = pixels[seen_rows, seen_columns], (start, above, stop, below)
    if pixels.dtype == np.uint8:
        scaled_part = resampler(seen, size, box)
        if scaled_part is not None:
            return scaled_part
        with resampler.going_without(thread_time):
            return _resampled(seen, size, box)
    planes = [_resampled(np.ascontiguousarray(plane, np.float32), size, box) for plane in np.moveaxis(seen, 2, 0)]
    fitted: Array = np.clip(np.stack(planes, axis=2), 0.0, 255.0)  # Lanczos overshoots at edges
    return fitted


def _seen(start: float, stop: float, length: int, size: int) -> tuple[slice, float, float]:
    """Give what the filter sees of a side, and where in that the part starts and stops."""
    reach = LOBES * max((stop - start) / size, 1.0) + 1
    first = max(math.floor(start - reach), 0)
    return slice(first, min(math.ceil(stop + reach), length)), start - first, stop - first


def _resampled(pixels: Array, size: Size, box: Box) -> Bytes:
    """Scale columns, then rows: one after the other, since not every version of Pillow does it in this order."""
    from PIL import Image

    image, (left, top, right, bottom), (rows, columns) = Image.fromarray(pixels), box, size
    image = image.resize((columns, image.height), Image.Resampling.LANCZOS, (left, 0, right, image.height))
    return np.asarray(image.resize((columns, rows), Image.Resampling.LANCZOS, (0, top, columns, bottom)))


def centre_square(pixels: Array) -> Array:
    """Cut the largest square out of the centre of a picture (H, W, 3)."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]
