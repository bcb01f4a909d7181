"""Bring pictures to a network's size."""

import numpy as np

from overfeat_tools.backend import Array


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
    height, width = scaled_size(pixels, size)
    return part(pixels, (height, width), ((height - size) // 2, (width - size) // 2), (size, size))


def scaled_size(pixels: Array, shorter: int) -> tuple[int, int]:
    """Give the height and width of a picture whose shorter side is scaled to a length."""
    height, width = pixels.shape[:2]
    scale = shorter / min(height, width)
    return round(height * scale), round(width * scale)


def part(pixels: Array, scaled: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]) -> Array:
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
    from PIL import Image

    start, above = left * width / scaled[1], top * height / scaled[0]
    across, down = columns * width / scaled[1], rows * height / scaled[0]
    box = (start, above, min(start + across, width), min(above + down, height))
    if pixels.dtype == np.uint8:
        image = Image.fromarray(pixels).resize((columns, rows), Image.Resampling.LANCZOS, box)
        return np.asarray(image)
    planes = [
        Image.fromarray(np.ascontiguousarray(plane, np.float32)).resize((columns, rows), Image.Resampling.LANCZOS, box)
        for plane in np.moveaxis(pixels, 2, 0)
    ]
    stacked = np.stack([np.asarray(plane) for plane in planes], axis=2)
    fitted: Array = np.clip(stacked, 0.0, 255.0)  # Lanczos overshoots at edges
    return fitted


def centre_square(pixels: Array) -> Array:
    """Cut the largest square out of the centre of a picture (H, W, 3)."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]
