"""Patterns of tiles: checkerboard, grid, bricks, maze, dots."""

import numpy as np
from numpy.typing import NDArray

from training.bands import bands, bent, phase_along, tilt
from training.canvas import Canvas, Field, chance, log_uniform, paint, palette


def checkerboard(canvas: Canvas) -> Field:
    """Paint squares of two colours in turn."""
    rng = canvas.rng
    cell = canvas.period(4 if canvas.crisp else 5.5, 0.36)
    aspect = 1.0 if canvas.crisp or chance(rng, 0.6) else log_uniform(rng, 0.65, 1.5)
    turn = 45.0 if not canvas.crisp and chance(rng, 0.12) else tilt(canvas, 30)
    a, b = canvas.turned(turn)
    if canvas.crisp:
        x = np.floor(phase_along(canvas, a, cell))
        y = np.floor(phase_along(canvas, b, cell))
        mask = ((x + y) % 2).astype(np.float32)
    else:
        # The product of two triangle waves is positive on every other cell.
        x = _triangle(a / np.float32(2 * cell) + np.float32(rng.random()))
        y = _triangle(b / np.float32(2 * cell * aspect) + np.float32(rng.random()))
        size = np.minimum(np.abs(x), np.abs(y)) * np.sign(x * y)
        mask = canvas.edge(size * np.float32(cell))
    return paint(canvas, mask, palette(rng, 2, 38))


def _triangle(phase: Field) -> Field:
    """Return a triangle wave, whose zeros are half a period apart."""
    wave: Field = np.abs(phase - np.floor(phase) - np.float32(0.5)) * 2 - np.float32(0.5)
    return wave


def grid(canvas: Canvas) -> Field:
    """Paint thin lines that cross."""
    rng = canvas.rng
    period = canvas.period(4 if canvas.crisp else 6, 0.3)
    aspect = 1.0 if canvas.crisp or chance(rng, 0.6) else log_uniform(rng, 0.6, 1.6)
    least = 1.1 * canvas.visible
    line = least + rng.random() ** 2 * max(0.2 * min(period, period * aspect) - least, 0)
    if canvas.crisp:
        line = canvas.pixel * max(1, round(line * canvas.side * 0.7))
    turn = 45.0 if not canvas.crisp and chance(rng, 0.2) else tilt(canvas, 45)
    if canvas.crisp and chance(rng, 0.3):
        return _crisp_lattice(canvas, period)
    a, b = canvas.turned(turn)
    a, b = bent(canvas, a, b, period), bent(canvas, b, a, period)
    first = bands(canvas, phase_along(canvas, a, period), period, line / period)
    other = period * aspect
    second = bands(canvas, phase_along(canvas, b, other), other, line / other)
    return paint(canvas, np.maximum(first, second), palette(rng, 2, 50))


def _crisp_lattice(canvas: Canvas, period: float) -> Field:
    """Paint a lattice of slanted lines one pixel thick."""
    pixels = max(round(period * canvas.side), 5)
    columns = np.arange(canvas.width)[None, :]
    rows = np.arange(canvas.height)[:, None]
    mask = ((columns + rows) % pixels == 0) | ((columns - rows) % pixels == 0)
    return paint(canvas, mask.astype(np.float32), palette(canvas.rng, 2, 60))


def bricks(canvas: Canvas) -> Field:
    """Paint courses of bricks, each course shifted against the last."""
    rng = canvas.rng
    height = canvas.period(6, 0.24)
    wide = round(rng.uniform(1.6, 3.6), 1)
    if canvas.crisp:
        wide = float(rng.choice((1.5, 2, 2, 2.5, 3)))
    mortar = max(1.1 * canvas.visible, height * rng.uniform(0.05, 0.22))
    if canvas.crisp:
        mortar = canvas.pixel * max(1, int(mortar * canvas.side * 0.6))
    a, b = canvas.turned(tilt(canvas, 6) + (90 if chance(rng, 0.08) else 0))
    y = phase_along(canvas, b, height)
    course = np.floor(y)
    shift = 0.5 if chance(rng, 0.75) else float(rng.uniform(0.25, 0.75))
    x = phase_along(canvas, a, height * wide) + course.astype(np.float32) * np.float32(shift)
    joints = np.maximum(
        bands(canvas, y + np.float32(0.5), height, mortar / height),
        bands(canvas, x, height * wide, mortar / (height * wide)),
    )
    if canvas.crisp or chance(rng, 0.4):
        return paint(canvas, joints, palette(rng, 2, 50))
    return _tinted_bricks(canvas, joints, course, np.floor(x + np.float32(0.5)))


def _tinted_bricks(canvas: Canvas, joints: Field, course: Field, column: Field) -> Field:
    """Paint bricks of which each has its own tint."""
    rng = canvas.rng
    brick, mortar = palette(rng, 2, 55)
    if chance(rng, 0.4):
        brick = np.array([rng.uniform(130, 200), rng.uniform(50, 90), rng.uniform(30, 70)], np.float32)
        gray = rng.uniform(180, 240) if chance(rng, 0.8) else rng.uniform(0, 30)
        mortar = np.full(3, gray, np.float32)
    tints = rng.normal(0, rng.uniform(2, 13), (64, 64)).astype(np.float32)
    tint = tints[course.astype(np.int64) % 64, column.astype(np.int64) % 64]
    body = brick + tint[:, :, None]
    return body + joints[:, :, None] * (mortar - body)


def _carve(rng: np.random.Generator, size: int) -> NDArray[np.bool_]:
    """Return the walls of a maze, by a walk that backs out of dead ends."""
    walls = np.ones((2 * size + 1, 2 * size + 1), bool)
    stack = [(int(rng.integers(size)), int(rng.integers(size)))]
    walls[2 * stack[0][0] + 1, 2 * stack[0][1] + 1] = False
    draws = iter(rng.random(4 * size * size))
    while stack:
        row, column = stack[-1]
        steps = [
            (dr, dc)
            for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0))
            if 0 <= row + dr < size and 0 <= column + dc < size and walls[2 * (row + dr) + 1, 2 * (column + dc) + 1]
        ]
        if not steps:
            stack.pop()
            continue
        dr, dc = steps[int(next(draws) * len(steps))]
        walls[2 * row + 1 + dr, 2 * column + 1 + dc] = False
        walls[2 * (row + dr) + 1, 2 * (column + dc) + 1] = False
        stack.append((row + dr, column + dc))
    return walls


def maze(canvas: Canvas) -> Field:
    """Paint a maze of straight passages."""
    rng = canvas.rng
    most = int(min(22, 1 / (6 * canvas.visible)))
    size = round(log_uniform(rng, 5, max(most, 6)))
    walls = _carve(rng, size)
    if chance(rng, 0.2):
        # Some loops, as in a street plan.
        inner = rng.random(walls[1:-1, 1:-1].shape) < 0.06
        walls[1:-1, 1:-1] &= ~inner
    span = rng.uniform(0.75, 1.25) if chance(rng, 0.6) else 1.0
    thick = rng.uniform(0.15, 0.55) if chance(rng, 0.7) else 0.5
    thick = max(thick, 1.2 * canvas.visible * size / span)
    cell = span / (size + thick)
    a, b = canvas.turned(tilt(canvas, 10))
    x, outside_x = _maze_index(a, span, cell, thick, size)
    y, outside_y = _maze_index(b, span, cell, thick, size)
    mask = (walls[y, x] & ~(outside_x | outside_y)).astype(np.float32)
    return paint(canvas, mask, palette(rng, 2, 50))


def _maze_index(
    along: Field, span: float, cell: float, thick: float, size: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the wall or passage that a coordinate falls in."""
    place = (along + np.float32(span / 2)) / np.float32(cell)
    whole = np.floor(place)
    index = (2 * whole + (place - whole >= thick)).astype(np.int64)
    outside = (index < 0) | (index > 2 * size)
    return np.clip(index, 0, 2 * size), outside


def polka_dots(canvas: Canvas) -> Field:
    """Paint a lattice of dots, sometimes shaken or in several colours."""
    rng = canvas.rng
    pitch = log_uniform(rng, max(10 * canvas.visible, 1 / 22), 1 / 2.6)
    a, b = canvas.turned(rng.uniform(0, 90) if chance(rng, 0.5) else 0.0)
    y = b / np.float32(pitch) + np.float32(rng.random())
    row = np.floor(y)
    shift = 0.5 if chance(rng, 0.5) else 0.0
    x = a / np.float32(pitch) + np.float32(rng.random()) + row * np.float32(shift)
    column = np.floor(x)
    rows, columns = row.astype(np.int64) % 64, column.astype(np.int64) % 64
    size = rng.uniform(0.17, 0.4)
    dx, dy = x - column - np.float32(0.5), y - row - np.float32(0.5)
    if chance(rng, 0.35):
        reach = max(0.46 - size, 0.02)
        shake = rng.uniform(-reach, reach, (2, 64, 64)).astype(np.float32)
        dx, dy = dx + shake[0][rows, columns], dy + shake[1][rows, columns]
    sizes = np.float32(size)
    if chance(rng, 0.2):
        sizes = (size * rng.uniform(0.6, 1, (64, 64)).astype(np.float32))[rows, columns]
    inside = (sizes - np.sqrt(dx * dx + dy * dy)) * np.float32(pitch)
    if chance(rng, 0.1):
        line = max(1.5 * canvas.visible, 0.2 * size * pitch)
        inside = np.minimum(inside, np.float32(line) - inside)
    mask = canvas.edge(inside)
    if chance(rng, 0.7):
        return paint(canvas, mask, palette(rng, 2, 42))
    return _coloured_dots(canvas, mask, rows, columns)


def _coloured_dots(canvas: Canvas, mask: Field, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Field:
    """Paint dots in several colours, each apart from the ground."""
    rng = canvas.rng
    count = int(rng.integers(2, 7))
    below, first = palette(rng, 2, 45)
    colours = [first]
    while len(colours) < count:
        colours.append(palette(rng, 2, 45)[0])
        if np.abs(colours[-1] - below).max() < 80:
            colours.pop()
    chosen = np.array(colours)[rng.integers(0, count, (64, 64))]
    return below + mask[:, :, None] * (chosen[rows, columns] - below)
