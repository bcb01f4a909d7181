"""Single shapes on a ground: star, triangle, rectangle, cross, discs."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training.canvas import (
    Canvas,
    Colour,
    Field,
    any_colour,
    chance,
    contrast,
    from_hsv,
    log_uniform,
    paint,
    palette,
)

Points = NDArray[np.float64]


def oversampling(canvas: Canvas) -> int:
    """Return how many times finer a mask is drawn than the canvas."""
    if canvas.crisp:
        return 1
    return 3 if canvas.side <= 260 else 2 if canvas.side <= 480 else 1


def to_pixels(canvas: Canvas, points: Points, scale: int) -> list[tuple[float, float]]:
    """Return points in pixels of a mask that is `scale` times finer."""
    moved = points * canvas.side + (canvas.width / 2, canvas.height / 2)
    return [(float(x), float(y)) for x, y in moved * scale]


def polygon(canvas: Canvas, points: Points, line: float | None) -> Field:
    """Return the coverage of a polygon, or of its outline of some width."""
    scale = oversampling(canvas)
    image = Image.new("L", (canvas.width * scale, canvas.height * scale))
    draw = ImageDraw.Draw(image)
    corners = to_pixels(canvas, points, scale)
    if line is None:
        draw.polygon(corners, fill=255)
    else:
        width = max(round(line * canvas.side * scale), 1)
        draw.line([*corners, *corners[:2]], fill=255, width=width, joint="curve")
    return np.asarray(image.reduce(scale)).astype(np.float32) / np.float32(255)


def _place(canvas: Canvas, size: float) -> Points:
    """Draw the middle of a shape so that it lies mostly in the picture."""
    if canvas.shape_middle is not None:
        return np.array(canvas.shape_middle)
    room = max(0.5 - size, 0.0)
    if chance(canvas.rng, 0.15):
        room += 0.25 * size
    if chance(canvas.rng, 0.25):
        room = 0.0
    return canvas.rng.uniform(-room, room, 2)


def _line(canvas: Canvas, size: float, share: float = 0.36) -> float | None:
    """Draw the width of an outline, or none for a filled shape."""
    if not chance(canvas.rng, share):
        return None
    return max(1.4 * canvas.visible, size * log_uniform(canvas.rng, 0.03, 0.2))


def _turn(points: Points, angle: float) -> Points:
    """Turn points about the origin by an angle in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    turned: Points = points @ np.array([[cos, sin], [-sin, cos]])
    return turned


def _paint_polygon(canvas: Canvas, points: Points, size: float) -> Field:
    """Paint a shape about the origin at a random place."""
    mask = polygon(canvas, points + _place(canvas, size), _line(canvas, size))
    canvas.outlines.append(mask)
    return paint(canvas, mask, palette(canvas.rng, 2, 42))


def _size(canvas: Canvas) -> float:
    """Draw the radius of a shape."""
    if canvas.shape_radius is not None:
        return canvas.shape_radius
    return log_uniform(canvas.rng, max(0.14, 11 * canvas.visible), 0.5)


def star(canvas: Canvas) -> Field:
    """Paint a star of four to nine points."""
    rng = canvas.rng
    count = int(rng.choice((4, 5, 5, 5, 5, 6, 6, 7, 8, 9)))
    inner = rng.uniform(0.25, 0.42) if count == 4 else rng.uniform(0.3, 0.58)
    size = _size(canvas)
    turn = -np.pi / 2 if chance(rng, 0.5) else rng.uniform(0, 2 * np.pi)
    angles = np.arange(2 * count) * np.pi / count + turn
    radii = size * np.where(np.arange(2 * count) % 2, inner, 1.0)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
    if count in {5, 7} and chance(rng, 0.12):
        # A star drawn in one stroke, its lines crossing.
        points = points[::2][np.arange(count) * 2 % count]
    if chance(rng, 0.2):
        points = points * (1, rng.uniform(0.75, 1))
    return _paint_polygon(canvas, points, size)


def _angles_of(points: Points) -> Points:
    """Return the three angles of a triangle in degrees."""
    sides = np.roll(points, -1, axis=0) - points
    back = np.roll(points, 1, axis=0) - points
    dots = (sides * back).sum(axis=1)
    lengths = np.linalg.norm(sides, axis=1) * np.linalg.norm(back, axis=1)
    angles: Points = np.degrees(np.arccos(np.clip(dots / lengths, -1, 1)))
    return angles


def triangle(canvas: Canvas) -> Field:
    """Paint a triangle: equal-sided, or any that is not too sharp."""
    rng = canvas.rng
    size = _size(canvas)
    even = np.radians([-90, 30, 150])
    angles = even + (0 if chance(rng, 0.5) else rng.uniform(0, 2 * np.pi))
    if chance(rng, 0.55):
        while True:
            angles = rng.uniform(0, 2 * np.pi, 3)
            points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
            if _angles_of(points).min() > 30:
                break
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * size
    return _paint_polygon(canvas, points, size)


def rectangle(canvas: Canvas) -> Field:
    """Paint a square or another rectangle, often upright."""
    rng = canvas.rng
    size = _size(canvas)
    high = 1.0 if chance(rng, 0.4) else rng.uniform(0.4, 1)
    half = np.array([1, high]) * size / np.hypot(1, high)
    half = half[::-1] if chance(rng, 0.5) else half
    if chance(rng, 0.3):
        half = half * rng.uniform(1, 1.3)
    points = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    if not canvas.crisp and chance(rng, 0.45):
        points = _turn(points, rng.uniform(0, np.pi))
    return _paint_polygon(canvas, points, size)


def cross(canvas: Canvas) -> Field:
    """Paint two bars that cross in their middles."""
    rng = canvas.rng
    size = _size(canvas)
    arm = size * rng.uniform(0.1, 0.4)
    if chance(rng, 0.12) and canvas.shape_radius is None:
        size, arm = 1.2, rng.uniform(0.02, 0.16)
    arm = max(arm, 1.6 * canvas.visible)
    points = np.array(
        [
            [-arm, -size], [arm, -size], [arm, -arm], [size, -arm],
            [size, arm], [arm, arm], [arm, size], [-arm, size],
            [-arm, arm], [-size, arm], [-size, -arm], [-arm, -arm],
        ]
    )  # fmt: skip
    if chance(rng, 0.2):
        points = points * (1, rng.uniform(0.7, 1))
    if not canvas.crisp and chance(rng, 0.5):
        most = np.pi / 4 if chance(rng, 0.5) else 0.25
        points = _turn(points, rng.uniform(-most, most))
    return _paint_polygon(canvas, points, min(size, 0.5))


def _apart(rng: np.random.Generator, colour: Colour) -> Colour:
    """Draw a ground that a colour stands out from."""
    while True:
        other = any_colour(rng)
        if contrast(colour, other) > 32 and np.abs(colour - other).max() > 70:
            return other


def _disc(canvas: Canvas, colour: Colour) -> Field:
    """Paint a disc of a colour, sometimes shaded like a ball or hollow."""
    rng = canvas.rng
    size = _size(canvas)
    x, y = _place(canvas, size)
    aspect = log_uniform(rng, 0.85, 1.18) if chance(rng, 0.3) else 1.0
    distance = canvas.radius(x, y, aspect)
    inside = np.float32(size) - distance
    line = _line(canvas, size, 0.12)
    if line is not None:
        line = max(line, 0.12 * size, 3 * canvas.visible)
        inside = np.minimum(inside, np.float32(line) - inside)
    mask = canvas.edge(inside)
    canvas.outlines.append(mask)
    below = _apart(rng, colour)
    if line is None and not canvas.crisp and chance(rng, 0.12):
        light = canvas.radius(x - 0.3 * size, y - 0.3 * size, aspect) / np.float32(size)
        shade = np.clip(1.05 - np.float32(rng.uniform(0.1, 0.3)) * light, 0, 1)[:, :, None]
        ball: Field = below + mask[:, :, None] * (colour * shade - below)
        return ball
    return paint(canvas, mask, [below, colour])


def _hued(canvas: Canvas, low: float, high: float) -> Field:
    """Paint a disc whose hue lies between two angles."""
    rng = canvas.rng
    if chance(rng, 0.25):
        colour = from_hsv((low + high) / 2, 1, rng.choice((1.0, 1.0, 0.5)))
    else:
        colour = from_hsv(rng.uniform(low, high), rng.uniform(0.6, 1), rng.uniform(0.5, 1))
    return _disc(canvas, colour)


def red_disc(canvas: Canvas) -> Field:
    """Paint a red disc."""
    return _hued(canvas, -14, 14)


def green_disc(canvas: Canvas) -> Field:
    """Paint a green disc."""
    return _hued(canvas, 92, 148)


def blue_disc(canvas: Canvas) -> Field:
    """Paint a blue disc."""
    return _hued(canvas, 212, 260)


def gray_disc(canvas: Canvas) -> Field:
    """Paint a disc without colour, black to white."""
    rng = canvas.rng
    style = rng.random()
    value = 0.0 if style < 0.25 else 255.0 if style < 0.55 else rng.uniform(0, 255)
    tint = rng.uniform(-5, 5, 3) if chance(rng, 0.3) else np.zeros(3)
    return _disc(canvas, np.clip(value + tint, 0, 255).astype(np.float32))
