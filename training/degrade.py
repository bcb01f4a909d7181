"""Spoil pictures as cameras, printers and files do, and bring them to size."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training.canvas import Field, chance
from training.classes import SIDE

Picture = NDArray[np.uint8]


def to_image(painted: Field) -> Image.Image:
    """Round a painted field to a picture."""
    return Image.fromarray(np.clip(np.rint(painted), 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Return a picture as it comes back from a JPEG file."""
    stream = BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def central_square(image: Image.Image, side: int = SIDE) -> Image.Image:
    """Scale the shorter side to a length and keep the square in the middle."""
    width, height = image.size
    shorter = min(width, height)
    if shorter != side:
        width = max(round(width * side / shorter), side)
        height = max(round(height * side / shorter), side)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _relight(rng: np.random.Generator, painted: Field) -> Field:
    """Change contrast and brightness, evenly or toward the corners."""
    gain = np.float32(rng.uniform(0.7, 1.15))
    offset = np.float32(rng.uniform(-25, 25))
    return (painted - np.float32(127)) * gain + np.float32(127) + offset


def _grain(rng: np.random.Generator, painted: Field) -> Field:
    """Add the noise of a sensor."""
    strength = np.float32(rng.uniform(1, 12))
    return painted + rng.standard_normal(painted.shape, np.float32) * strength


def spoil(rng: np.random.Generator, painted: Field, *, gentle: bool, whole: bool = False) -> Picture:
    """Turn a painted field into a finished picture, spoilt by chance.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    painted : numpy.ndarray
        Red, green and blue of every pixel, about 0 to 255.
    gentle : bool
        Whether to leave the pixels as they were painted.
    whole : bool
        Whether to keep the picture's size, instead of bringing it to the network's.

    Returns
    -------
    numpy.ndarray
        The picture, 231 by 231 by 3 bytes unless it is kept whole.
    """
    if gentle:
        return np.asarray(to_image(painted) if whole else central_square(to_image(painted)))
    if chance(rng, 0.4):
        painted = _relight(rng, painted)
    noisy = chance(rng, 0.3)
    if noisy and chance(rng, 0.5):
        painted = _grain(rng, painted)
        noisy = False
    image = to_image(painted)
    shorter = min(image.size)
    if chance(rng, 0.25):
        radius = rng.uniform(0.3, 1.3) * max(shorter / SIDE, 0.5)
        image = image.filter(ImageFilter.GaussianBlur(radius))
    if chance(rng, 0.4):
        image = jpeg(image, int(rng.integers(40, 96)))
    if not whole:
        image = central_square(image)
    if noisy:
        image = to_image(_grain(rng, np.asarray(image).astype(np.float32)))
    if chance(rng, 0.12):
        image = jpeg(image, int(rng.integers(50, 96)))
    return np.asarray(image)
