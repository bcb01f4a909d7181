"""A canvas with coordinates, and the colours to paint on it."""

import colorsys
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.classes import SIDE

Field = NDArray[np.float32]
Colour = NDArray[np.float32]

# How the three channels weigh in the lightness of a colour.
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Canvas:
    """An empty picture, and the random numbers that fill it.

    Lengths are in units of the shorter side, so that a pattern covers the
    central square alike whatever the size of the canvas.

    Attributes
    ----------
    rng : numpy.random.Generator
        The only source of chance in a picture.
    width, height : int
        Size in pixels.
    crisp : bool
        Whether edges fall on whole pixels, without smoothing.
    shape_radius, shape_middle : float and (float, float), optional
        Size and place of a single shape, where chance does not choose them.
    outlines : list
        Gets the coverage of each shape that is painted.
    """

    rng: np.random.Generator
    width: int
    height: int
    crisp: bool
    shape_radius: float | None = None
    shape_middle: tuple[float, float] | None = None
    outlines: list[Field] = field(default_factory=list)

    @property
    def side(self) -> int:
        """Length of the shorter side in pixels."""
        return min(self.width, self.height)

    @property
    def pixel(self) -> float:
        """Size of one pixel of the canvas."""
        return 1.0 / self.side

    @property
    def visible(self) -> float:
        """Size of the smallest thing that outlives scaling to the input."""
        return 1.0 / min(self.side, SIDE)

    @cached_property
    def u(self) -> Field:
        """Abscissae of the pixels as one row, 0 in the middle."""
        return _middled(self.width, self.side)[None, :]

    @cached_property
    def v(self) -> Field:
        """Ordinates of the pixels as one column, 0 in the middle."""
        return _middled(self.height, self.side)[:, None]

    def turned(self, angle: float) -> tuple[Field, Field]:
        """Return the coordinates along axes turned by an angle in degrees."""
        cos = np.float32(np.cos(np.radians(angle)))
        sin = np.float32(np.sin(np.radians(angle)))
        return self.u * cos + self.v * sin, self.v * cos - self.u * sin

    def polar(self, x: float, y: float, aspect: float = 1.0) -> tuple[Field, Field]:
        """Return the distance from a point and the offset along x and y."""
        du = (self.u - np.float32(x)) * np.float32(aspect)
        dv = self.v - np.float32(y)
        return np.sqrt(du * du + dv * dv), np.arctan2(dv, du)

    def radius(self, x: float, y: float, aspect: float = 1.0) -> Field:
        """Return the distance of every pixel from a point."""
        du = (self.u - np.float32(x)) * np.float32(aspect)
        dv = self.v - np.float32(y)
        distance: Field = np.sqrt(du * du + dv * dv)
        return distance

    def period(self, least: float, most: float) -> float:
        """Draw the period of a pattern, from `least` visible pixels up."""
        low = least * self.visible
        length = log_uniform(self.rng, low, max(most, 1.5 * low))
        if self.crisp:
            length = max(round(length * self.side), 2) * self.pixel
        return length

    def edge(self, inside: Field) -> Field:
        """Turn signed distances (positive inside) into coverage, 0 to 1."""
        if self.crisp:
            return np.asarray(inside > 0, np.float32)
        cover = np.clip(inside * np.float32(self.side) + np.float32(0.5), 0, 1)
        return np.asarray(cover, np.float32)


def _middled(count: int, side: int) -> Field:
    """Return the places of pixels about their middle, in shorter sides."""
    return ((np.arange(count) + (0.5 - count / 2)) / side).astype(np.float32)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Return whether something of this probability happens."""
    return bool(rng.random() < probability)


def smooth_field(rng: np.random.Generator, width: int, height: int, cells: tuple[int, int]) -> Field:
    """Return smoothly varying values, about -1 to 1, from a coarse grid."""
    coarse = rng.uniform(-1, 1, (cells[1] + 1, cells[0] + 1)).astype(np.float32)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def from_hsv(hue: float, saturation: float, value: float) -> Colour:
    """Return a colour of 0..255 from a hue in degrees and two shares."""
    rgb = colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value)
    return np.array(rgb, np.float32) * 255


def any_colour(rng: np.random.Generator) -> Colour:
    """Draw a colour: black, white, a gray, vivid, pale, dark or any."""
    style = rng.random()
    if style < 0.42:
        low, high = (0, 25) if style < 0.14 else (228, 255) if style < 0.3 else (25, 230)
        return np.full(3, rng.uniform(low, high), np.float32)
    hue = rng.uniform(0, 360)
    if style < 0.62:
        return from_hsv(hue, rng.uniform(0.75, 1), rng.uniform(0.75, 1))
    if style < 0.74:
        return from_hsv(hue, rng.uniform(0.08, 0.4), rng.uniform(0.8, 1))
    if style < 0.82:
        return from_hsv(hue, rng.uniform(0.3, 1), rng.uniform(0.15, 0.5))
    return rng.uniform(0, 255, 3).astype(np.float32)


def contrast(first: Colour, second: Colour) -> float:
    """Return how far two colours stand apart, mostly by lightness."""
    step = first - second
    return float(abs(step @ _LUMA) + 0.25 * np.abs(step).max())


def palette(rng: np.random.Generator, count: int, least: float = 50) -> list[Colour]:
    """Draw colours of which each stands apart from the one before it.

    A quarter are plain ink on paper and another part gray on gray, because
    other programs draw most of their pictures so.
    """
    if count == 2:
        style = rng.random()
        if style < 0.22:
            ink = rng.uniform(0, 30) if chance(rng, 0.4) else 0.0
            paper = rng.uniform(225, 255) if chance(rng, 0.4) else 255.0
            pair = [np.full(3, ink, np.float32), np.full(3, paper, np.float32)]
            return pair if chance(rng, 0.6) else pair[::-1]
        if style < 0.36:
            step = rng.uniform(max(least * 0.7, 28), 140) * rng.choice((-1, 1))
            middle = rng.uniform(abs(step) / 2, 255 - abs(step) / 2)
            return [
                np.full(3, middle + step / 2, np.float32),
                np.full(3, middle - step / 2, np.float32),
            ]
    colours = [any_colour(rng)]
    while len(colours) < count:
        candidate = any_colour(rng)
        if contrast(candidate, colours[-1]) >= least:
            colours.append(candidate)
    return colours


def ground(canvas: Canvas, colour: Colour) -> Field:
    """Return a ground of about one colour: plain, shaded or textured."""
    rng = canvas.rng
    if canvas.crisp or chance(rng, 0.6):
        return colour[None, None, :]
    if chance(rng, 0.5):
        along, _ = canvas.turned(rng.uniform(0, 360))
        step = rng.uniform(-22, 22, 3).astype(np.float32)
        return colour + along[:, :, None] * step * 2
    cells = int(rng.integers(2, 24))
    faint = smooth_field(rng, canvas.width, canvas.height, (cells, cells))
    return colour + faint[:, :, None] * np.float32(rng.uniform(3, 14))


def paint(canvas: Canvas, mask: Field, colours: list[Colour] | None = None) -> Field:
    """Paint a mask of coverages in a colour over a ground of another."""
    below, above = colours if colours is not None else palette(canvas.rng, 2)
    under = ground(canvas, below)
    return under + mask[:, :, None] * (ground(canvas, above) - under)
