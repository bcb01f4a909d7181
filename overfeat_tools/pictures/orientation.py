"""How a camera was held: read from metadata of any kind, applied to pixels in one place."""

import re
from collections.abc import Callable

import numpy as np

from overfeat_tools.backend import Array
from overfeat_tools.pictures.directories import ORIENTATION, directories
from overfeat_tools.pictures.picture import UPRIGHT

_IN_XMP = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])")

FIRST_LYING = 5
"""From this orientation on, width and height change places."""

_TURNS: dict[int, Callable[[Array], Array]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """Find the orientation, 1 to 8, in EXIF, else in XMP; 1 where there is none, or nonsense."""
    block = exif.removeprefix(b"Exif\0\0")
    first = next(directories(block), None) if block[:2] in (b"II", b"MM") else None
    noted = first.integers(ORIENTATION) if first else ()
    if not noted and (found := _IN_XMP.search(xmp)):
        noted = (int(found[1]),)
    return known(noted)


def known(noted: tuple[int, ...]) -> int:
    """Give the orientation that a tag's values name, or 1."""
    return noted[0] if noted and noted[0] in _TURNS else UPRIGHT


def upright(pixels: Array, noted: int) -> Array:
    """Turn pixels (H, W, 3) as the orientation has it."""
    turn = _TURNS.get(noted)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))
