"""Boxes with names drawn into pictures, and maps brought to their size."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.pictures.thumbnail import to_bytes

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

# Told apart whatever colours one can see; each bears black letters.
_COLOURS = ("#ffd400", "#56b4e9", "#ff9e4a", "#7be0b0", "#f0a3d0")

# Parts of the shorter side.
_LINE, _LETTERS = 1 / 120, 1 / 18
_LEAST_LETTERS, _MOST_LETTERS = 10, 60


def with_boxes(pixels: Array, boxes: Sequence[tuple[str, tuple[int, int, int, int]]]) -> Array:
    """Draw boxes and their names, the first above the others, into a copy of a picture.

    Parameters
    ----------
    pixels : array (H, W, 3), uint8 or float32
    boxes : sequence of (str, (int, int, int, int))
        Name; left, top, right and bottom.

    Returns
    -------
    array (H, W, 3) uint8
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(to_bytes(pixels))
    draw = ImageDraw.Draw(image)
    shorter = min(image.size)
    line = max(2, round(shorter * _LINE))
    font = _font(min(max(round(shorter * _LETTERS), _LEAST_LETTERS), _MOST_LETTERS))
    coloured = [(_COLOURS[number % len(_COLOURS)], *each) for number, each in enumerate(boxes)][::-1]
    for colour, _, (left, top, right, bottom) in coloured:
        inner = (left, top, max(right - 1, left), max(bottom - 1, top))
        draw.rectangle(inner, outline="black", width=line + 2)
        draw.rectangle(inner, outline=colour, width=line)
    for colour, name, (left, top, _, _) in coloured:  # no line goes through a name
        _, _, wide, high = draw.textbbox((0, 0), name, font=font)
        x = max(0, min(left, image.width - int(wide) - 2 * line))
        y = max(0, top - int(high) - line)
        draw.rectangle((x, y, x + wide + 2 * line, y + high + line), fill=colour, outline="black")
        draw.text((x + line, y), name, fill="black", font=font)
    return np.asarray(image)


def enlarged(values: FloatArray, height: int, width: int) -> FloatArray:
    """Bring a map (rows, columns) to a picture's size, (H, W)."""
    from PIL import Image

    image = Image.fromarray(values.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(image)


@cache
def _font(size: int) -> "FreeTypeFont | ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(size)
