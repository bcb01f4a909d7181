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
        Image.fromarray(np.ascontiguousarray(plane, np.float32)).resize((size, size), Image.Resampling.LANCZOS, box)
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
