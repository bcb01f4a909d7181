"""Patterns of bands: stripes, rings and spirals."""

import numpy as np

from training.canvas import Canvas, Field, chance, log_uniform, paint, palette


def bands(canvas: Canvas, phase: Field, period: float, duty: float) -> Field:
    """Return the coverage of the bands of a phase counted in periods."""
    away = np.abs(phase - np.floor(phase) - np.float32(0.5))
    return canvas.edge((np.float32(duty / 2) - away) * np.float32(period))


def _duty(canvas: Canvas, period: float) -> float:
    """Draw the share of a period that a band takes, a pixel at least."""
    least = min(1.2 * canvas.visible / period, 0.5)
    if canvas.crisp:
        pixels = max(round(period * canvas.side), 2)
        wide = int(canvas.rng.integers(1, pixels))
        return (1 if chance(canvas.rng, 0.5) else wide) / pixels
    if chance(canvas.rng, 0.5):
        return 0.5
    return float(canvas.rng.uniform(max(least, 0.08), max(1 - least, 0.5)))


def phase_along(canvas: Canvas, along: Field, period: float) -> Field:
    """Count periods along a coordinate from a random start."""
    if canvas.crisp:
        # Half a pixel off the grid, so that no pixel centre lies on an edge.
        pixels = round(period * canvas.side)
        start = int(canvas.rng.integers(0, pixels)) / pixels
        shift = 0.25 / pixels if canvas.side % 2 else 0.75 / pixels
        return along / np.float32(period) + np.float32(start + shift)
    return along / np.float32(period) + np.float32(canvas.rng.random())


def _colour_bands(canvas: Canvas, phase: Field) -> Field:
    """Paint every period in several colours, in turn or in any order."""
    rng = canvas.rng
    count = int(rng.integers(3, 7))
    colours = np.array(palette(rng, count, 35))
    table = np.arange(1024) % count
    if chance(rng, 0.4):
        table = (np.cumsum(rng.integers(1, count, 1024))) % count
    step = np.floor(phase * 2).astype(np.int64) % 1024
    return colours[table[step]].astype(np.float32)


def bent(canvas: Canvas, along: Field, across: Field, period: float) -> Field:
    """Let a coordinate swing a little along the other one, sometimes."""
    rng = canvas.rng
    if canvas.crisp or chance(rng, 0.85):
        return along
    swing = min(0.3 * period, 0.02)
    waves = rng.uniform(3, 18)
    bent: Field = along + np.float32(swing) * np.sin(across * np.float32(waves))
    return bent


def _paint_bands(canvas: Canvas, phase: Field, period: float) -> Field:
    """Paint bands: hard or soft, in two colours or in several."""
    rng = canvas.rng
    fine = period < 10 * canvas.visible
    style = rng.random()
    if not canvas.crisp and not fine and style < 0.2:
        return _colour_bands(canvas, phase)
    if not canvas.crisp and style < 0.4:
        mask = np.sin(phase * np.float32(2 * np.pi)) * np.float32(0.5) + np.float32(0.5)
        return paint(canvas, mask, palette(rng, 2, 70))
    if not canvas.crisp and not fine and style < 0.46:
        mask = phase - np.floor(phase)
        return paint(canvas, mask, palette(rng, 2, 80))
    mask = bands(canvas, phase, period, _duty(canvas, period))
    return paint(canvas, mask, palette(rng, 2, 60 if fine else 45))


def _stripes(canvas: Canvas, angle: float) -> Field:
    """Paint stripes whose normal is turned by an angle from the abscissa."""
    period = canvas.period(2.0 if canvas.crisp else 3.2, 0.36)
    along, across = canvas.turned(angle)
    along = bent(canvas, along, across, period)
    return _paint_bands(canvas, phase_along(canvas, along, period), period)


def tilt(canvas: Canvas, most: float) -> float:
    """Draw a small turn, none in half of the pictures."""
    if canvas.crisp or chance(canvas.rng, 0.5):
        return 0.0
    return float(canvas.rng.uniform(-most, most))


def horizontal_stripes(canvas: Canvas) -> Field:
    """Paint stripes that lie."""
    return _stripes(canvas, 90 + tilt(canvas, 9))


def vertical_stripes(canvas: Canvas) -> Field:
    """Paint stripes that stand."""
    return _stripes(canvas, tilt(canvas, 9))


def _slant(canvas: Canvas) -> float:
    """Draw the angle of a slanted stripe, near enough to 45 degrees."""
    if canvas.crisp or chance(canvas.rng, 0.35):
        return 45.0
    return float(canvas.rng.uniform(24, 66))


def _crisp_slant(canvas: Canvas, sign: int) -> Field:
    """Paint slanted stripes of whole pixels: columns shift row by row."""
    pixels = max(round(canvas.period(4, 0.25) * canvas.side), 3)
    columns = np.arange(canvas.width)[None, :]
    rows = np.arange(canvas.height)[:, None]
    wide = 1 if chance(canvas.rng, 0.6) else int(canvas.rng.integers(1, pixels))
    start = int(canvas.rng.integers(0, pixels))
    mask = (columns + sign * rows + start) % pixels < wide
    return paint(canvas, mask.astype(np.float32), palette(canvas.rng, 2, 60))


def rising_stripes(canvas: Canvas) -> Field:
    """Paint stripes that climb from left to right."""
    return _crisp_slant(canvas, 1) if canvas.crisp else _stripes(canvas, _slant(canvas))


def falling_stripes(canvas: Canvas) -> Field:
    """Paint stripes that drop from left to right."""
    if canvas.crisp:
        return _crisp_slant(canvas, -1)
    return _stripes(canvas, -_slant(canvas))


def concentric_rings(canvas: Canvas) -> Field:
    """Paint rings around a point."""
    rng = canvas.rng
    x, y = rng.uniform(-0.2, 0.2, 2) if chance(rng, 0.6) else (0.0, 0.0)
    aspect = log_uniform(rng, 0.7, 1.4) if chance(rng, 0.4) else 1.0
    distance = canvas.radius(x, y, aspect)
    period = canvas.period(6, 0.2)
    start = canvas.edge(np.float32(rng.uniform(0.4, 0.7)) - distance)
    phase = distance / np.float32(period) + np.float32(rng.random())
    painted = _paint_bands(canvas, phase, period)
    if canvas.crisp or chance(rng, 0.7):
        return painted
    # Rings that end: a target on a plain ground.
    below = painted[:1, :1]
    return below + start[:, :, None] * (painted - below)


def spiral(canvas: Canvas) -> Field:
    """Paint one to four arms that wind around a point, either way."""
    rng = canvas.rng
    x, y = rng.uniform(-0.15, 0.15, 2) if chance(rng, 0.6) else (0.0, 0.0)
    aspect = log_uniform(rng, 0.8, 1.25) if chance(rng, 0.3) else 1.0
    distance, angle = canvas.polar(x, y, aspect)
    arms = int(rng.choice((1, 1, 1, 1, 2, 2, 3, 4)))
    turns = angle * np.float32(arms * rng.choice((-1, 1)) / (2 * np.pi))
    if chance(rng, 0.75):
        period = log_uniform(rng, max(12 * canvas.visible, 0.055), 0.22)
        phase = distance / np.float32(period)
    else:
        pace = rng.uniform(0.9, 2.2)
        phase = np.log(distance + np.float32(0.01)) * np.float32(pace)
        period = 0.25 / pace
    painted = _arm(canvas, phase + turns + np.float32(rng.random()), period)
    if chance(rng, 0.65):
        return painted
    below = painted[:1, :1]
    end = canvas.edge(np.float32(rng.uniform(0.36, 0.6)) - distance)
    return below + end[:, :, None] * (painted - below)


def _arm(canvas: Canvas, phase: Field, period: float) -> Field:
    """Paint the arms of a spiral in one colour, as lines or bands."""
    rng = canvas.rng
    if chance(rng, 0.25):
        mask = np.sin(phase * np.float32(2 * np.pi)) * np.float32(0.5) + np.float32(0.5)
    else:
        line = max(1.3 * canvas.visible / period, rng.uniform(0.06, 0.85))
        mask = bands(canvas, phase, period, min(line, 0.85))
    return paint(canvas, mask, palette(rng, 2, 45))
