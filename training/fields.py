"""Pictures without edges: gradients, clouds and noise."""

import numpy as np
from PIL import Image

from training.canvas import Canvas, Field, chance, log_uniform, palette, smooth_field


def _ramp(canvas: Canvas, share: Field) -> Field:
    """Colour shares of 0 to 1 by two or three colours, evenly or not."""
    rng = canvas.rng
    share = np.clip(share, 0, 1)
    style = rng.random()
    if style < 0.15:
        share = share ** np.float32(log_uniform(rng, 0.6, 1.7))
    elif style < 0.3:
        share = share * share * (3 - 2 * share)
    count = 3 if chance(rng, 0.25) else 2
    colours = palette(rng, count, 75)
    knots = np.linspace(0, 1, count)
    if count > 2:
        knots[1] = rng.uniform(0.3, 0.7)
    channels = [np.interp(share, knots, [colour[i] for colour in colours]).astype(np.float32) for i in range(3)]
    return np.stack(channels, axis=2)


def linear_gradient(canvas: Canvas) -> Field:
    """Paint a passage from a colour to another in a straight direction."""
    rng = canvas.rng
    turn = 90.0 * int(rng.integers(4))
    if chance(rng, 0.5):
        turn = float(rng.uniform(0, 360))
    along, _ = canvas.turned(turn)
    reach = 0.5 * (abs(np.cos(np.radians(turn))) + abs(np.sin(np.radians(turn))))
    if chance(rng, 0.4):
        reach *= rng.uniform(0.55, 1.2)
    middle = rng.uniform(-0.1, 0.1) if chance(rng, 0.3) else 0.0
    return _ramp(canvas, (along - np.float32(middle)) / np.float32(2 * reach) + np.float32(0.5))


def radial_gradient(canvas: Canvas) -> Field:
    """Paint a passage from a colour to another outward from a point."""
    rng = canvas.rng
    x, y = rng.uniform(-0.22, 0.22, 2) if chance(rng, 0.6) else (0.0, 0.0)
    aspect = log_uniform(rng, 0.75, 1.33) if chance(rng, 0.4) else 1.0
    reach = 0.5 if chance(rng, 0.3) else rng.uniform(0.36, 0.8)
    return _ramp(canvas, canvas.radius(x, y, aspect) / np.float32(reach))


def _fractal(canvas: Canvas) -> Field:
    """Return cloudy values of spread 1: ever finer noise, ever fainter."""
    rng = canvas.rng
    wide = round(canvas.width * 1.45)
    high = round(canvas.height * 1.45)
    across, down = (int(n) for n in rng.integers(2, 8, 2))
    keep = rng.uniform(0.36, 0.72)
    total = np.zeros((high, wide), np.float32)
    weight = 1.0
    for _ in range(int(rng.integers(4, 9))):
        if max(across, down) > min(wide, high):
            break
        total = total + smooth_field(rng, wide, high, (across, down)) * np.float32(weight)
        across, down, weight = 2 * across, 2 * down, weight * keep
    if chance(rng, 0.5):
        image = Image.fromarray(total).rotate(rng.uniform(-60, 60), Image.Resampling.BILINEAR)
        total = np.asarray(image)
    top, left = (high - canvas.height) // 2, (wide - canvas.width) // 2
    total = total[top : top + canvas.height, left : left + canvas.width]
    if chance(rng, 0.4):
        along, _ = canvas.turned(rng.uniform(0, 360))
        total = total / total.std() + along * np.float32(rng.uniform(1, 4))
    even: Field = (total - total.mean()) / (total.std() + np.float32(1e-3))
    return even


def clouds(canvas: Canvas) -> Field:
    """Paint a plasma: clouds in two or three colours, or in all."""
    rng = canvas.rng
    if chance(rng, 0.45):
        return _ramp(canvas, _fractal(canvas) * np.float32(rng.uniform(0.18, 0.4)) + np.float32(0.5))
    fields = [_fractal(canvas) for _ in range(3)]
    shared = rng.uniform(0, 0.7) if chance(rng, 0.5) else 0.0
    mixed = [(1 - shared) * f + shared * fields[0] for f in fields]
    spread = rng.uniform(30, 85, 3) if chance(rng, 0.5) else np.full(3, rng.uniform(30, 85))
    middle = rng.uniform(60, 195, 3)
    return np.stack(
        [f * np.float32(s) + np.float32(m) for f, s, m in zip(mixed, spread, middle, strict=True)],
        axis=2,
    )


def noise(canvas: Canvas) -> Field:
    """Paint grains that know nothing of each other."""
    rng = canvas.rng
    grain = 1.0
    if chance(rng, 0.5):
        grain = log_uniform(rng, 1, max(4.5 * canvas.visible / canvas.pixel, 1.01))
    size = (max(int(canvas.height / grain), 8), max(int(canvas.width / grain), 8))
    channels = 1 if chance(rng, 0.4) else 3
    style = rng.random()
    if style < 0.4:
        values = rng.normal(rng.uniform(70, 185), rng.uniform(32, 90), (*size, channels)).astype(np.float32)
    elif style < 0.7:
        low = rng.uniform(0, 80)
        values = rng.uniform(low, rng.uniform(low + 130, 255), (*size, channels)).astype(np.float32)
    elif style < 0.85:
        values = (rng.random((*size, channels)) < rng.uniform(0.2, 0.8)) * np.float32(255)
    else:
        below, above = palette(rng, 2, 90)
        share = rng.random((*size, 1), np.float32)
        if chance(rng, 0.5):
            share = np.round(share)
        values = below + share * (above - below)
    grains = np.broadcast_to(np.clip(values, 0, 255), (*size, 3)).astype(np.uint8)
    how = Image.Resampling.NEAREST if chance(rng, 0.6) else Image.Resampling.BILINEAR
    image = Image.fromarray(grains).resize((canvas.width, canvas.height), how)
    return np.asarray(image).astype(np.float32)
