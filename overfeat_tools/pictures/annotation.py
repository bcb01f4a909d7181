"""Pictures with names and bars in a panel below, for people to look at."""

import unicodedata
from collections.abc import Sequence

import numpy as np

from overfeat_tools.backend import Array

_PANEL, _TEXT, _BAR = (24, 24, 28), (240, 240, 240), (70, 130, 180)
_LEAST_TEXT_PIXELS = 12


def annotated(pixels: Array, lines: Sequence[tuple[str, float]], note: str) -> Array:
    """Put a panel below a picture: a line for each name and its probability, with a bar, and a note.

    Parameters
    ----------
    pixels : array (H, W, 3) uint8
    lines : sequence of (str, float)
    note : str

    Returns
    -------
    array (H', W, 3) uint8
        Its height is even, as encoders of films want it.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = pixels.shape[:2]
    size = max(_LEAST_TEXT_PIXELS, min(width, height) // 22)
    font, step = ImageFont.load_default(size), size * 4 // 3
    top = height + size // 4
    whole = top + step * (len(lines) + 1) + size // 4
    image = Image.new("RGB", (width, whole + whole % 2), _PANEL)
    image.paste(Image.fromarray(pixels))
    draw = ImageDraw.Draw(image)
    margin = size // 2
    number_width = int(font.getlength("100.0% "))
    for row, (name, probability) in enumerate(lines):
        y = top + row * step
        draw.rectangle((0, y, round(probability * (width - 1)), y + step - 2), fill=_BAR)
        draw.text((margin, y), f"{probability:.1%}", _TEXT, font)
        draw.text((margin + number_width, y), _in_letters_of_the_font(name), _TEXT, font)
    draw.text((margin, top + len(lines) * step), _in_letters_of_the_font(note), _TEXT, font)
    return np.asarray(image)


def _in_letters_of_the_font(text: str) -> str:
    """Take accents from their letters, and put question marks for others: Pillow's own font knows only ASCII."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in plain)
