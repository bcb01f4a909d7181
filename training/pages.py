"""Pages that are written or plotted: text, bar charts, line plots."""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training.canvas import Canvas, Colour, Field, chance, log_uniform, paint, palette
from training.classes import SIDE

Points = NDArray[np.float64]

_LETTERS: Final = "etaoinshrdlcumwfgypbvkjxqz"
_WEIGHTS: Final = np.array(
    [12, 9, 8, 8, 7, 7, 6, 6, 6, 4, 4, 3, 3, 2.4, 2.4, 2.2, 2, 2, 1.9, 1.5, 1, 0.8, 0.2, 0.2, 0.1,
     0.1]
)  # fmt: skip


@lru_cache(maxsize=256)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font, the one that is the same everywhere."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        message = "Pillow lacks FreeType: text cannot be drawn at a size"
        raise TypeError(message)
    return font


def _words(rng: np.random.Generator, count: int) -> list[str]:
    """Draw made-up words, a few of them capitalised or numbers."""
    lengths = rng.integers(1, 11, count)
    letters = "".join(rng.choice(list(_LETTERS), int(lengths.sum()), p=_WEIGHTS / _WEIGHTS.sum()))
    ends = np.cumsum(lengths)
    words = [letters[e - n : e] for n, e in zip(lengths, ends, strict=True)]
    kinds = rng.random(count)
    for i, kind in enumerate(kinds):
        if kind < 0.12:
            words[i] = words[i].capitalize()
        elif kind < 0.16:
            words[i] = words[i].upper()
        elif kind < 0.2:
            words[i] = str(int(kind * 1e7) % 9973)
        elif kind < 0.3:
            words[i] += ",."[int(kind * 1e5) % 2]
    return words


def _glyph(rng: np.random.Generator, size: int, pen: int) -> Image.Image:
    """Draw a made-up letter of two to four strokes in a box of x-height."""
    image = Image.new("L", (max(round(size * rng.uniform(0.35, 0.7)), 2), size))
    draw = ImageDraw.Draw(image)
    width, height = image.size
    base, top = 0.78 * height, 0.32 * height
    low = base if chance(rng, 0.8) else 0.97 * height
    high = top if chance(rng, 0.7) else 0.05 * height
    for _ in range(int(rng.integers(2, 4))):
        style = rng.random()
        if style < 0.35:
            x = float(rng.choice((0.12, 0.5, 0.85))) * width
            draw.line([(x, high), (x, low)], fill=255, width=pen)
        elif style < 0.6:
            box = (0.08 * width, top, 0.9 * width, base)
            start = float(rng.uniform(0, 360))
            draw.arc(box, start, start + float(rng.uniform(150, 360)), fill=255, width=pen)
        elif style < 0.8:
            y = float(rng.choice((top, 0.55 * height, base - pen)))
            draw.line([(0.08 * width, y), (0.9 * width, y)], fill=255, width=pen)
        else:
            ends = rng.permutation([0.1 * width, 0.85 * width])
            draw.line([(ends[0], top), (ends[1], base)], fill=255, width=pen)
    return image


def _write_glyphs(canvas: Canvas, image: Image.Image, lines: list[str], size: int, at: Field) -> None:
    """Write lines in an alphabet made up for this page alone."""
    rng = canvas.rng
    pen = max(round(size * rng.uniform(0.05, 0.13)), 1)
    alphabet = [_glyph(rng, size, pen) for _ in range(16)]
    gap = max(round(size * rng.uniform(0.05, 0.15)), 1)
    for line, (left, top) in zip(lines, at, strict=True):
        x = float(left)
        for letter in line:
            glyph = alphabet[ord(letter) % 16]
            if letter != " ":
                image.paste(glyph, (round(x), round(float(top))), glyph)
            x += glyph.width + gap
            if x > image.width:
                break


def _layout(canvas: Canvas, size: float) -> tuple[list[str], Field]:
    """Break words into lines, and return the lines and their places."""
    rng = canvas.rng
    spacing = size * rng.uniform(1.05, 1.9)
    middle_x, middle_y = canvas.width / 2, canvas.height / 2
    margin = canvas.side * (rng.uniform(0, 0.14) if chance(rng, 0.8) else -0.05)
    left, right = middle_x - canvas.side / 2 + margin, middle_x + canvas.side / 2 - margin
    top, bottom = middle_y - canvas.side / 2 + margin, middle_y + canvas.side / 2 - margin
    count = max(int((bottom - top - 0.2 * size) / spacing), 1)
    if chance(rng, 0.25):
        count = max(round(count * rng.uniform(0.3, 0.9)), min(count, 2))
        if chance(rng, 0.4):
            top += rng.uniform(0, 1) * (bottom - top - count * spacing)
    across = max(int((right - left) / (0.52 * size)), 4)
    centred = chance(rng, 0.2)
    words = iter(_words(rng, count * (across // 3 + 2)))
    lines: list[str] = []
    places: list[tuple[float, float]] = []
    for i in range(count):
        room = across if chance(rng, 0.8) else max(int(across * rng.uniform(0.3, 1)), 3)
        line = ""
        for word in words:
            line = f"{line} {word}" if line else word
            if len(line) >= room - 4:
                break
        line = line[:room]
        if chance(rng, 0.06) and i > 0:
            line = ""
        start = (left + right) / 2 - len(line) * 0.26 * size if centred else left
        lines.append(line)
        places.append((start, top + i * spacing))
    return lines, np.array(places, np.float32)


def text(canvas: Canvas) -> Field:
    """Paint lines of writing, from a full page to a few large words."""
    rng = canvas.rng
    least = 7.5 * canvas.side / min(canvas.side, SIDE)
    page = chance(rng, 0.62)
    most = 0.1 * canvas.side if page else 0.4 * canvas.side
    size = log_uniform(rng, least if page else 0.1 * canvas.side, max(most, 1.3 * least))
    scale = 1 if canvas.crisp or chance(rng, 0.7) or size > 40 else 2
    lines, places = _layout(canvas, size)
    image = Image.new("L", (canvas.width * scale, canvas.height * scale))
    pixels = max(round(size * scale), 6)
    if chance(rng, 0.25):
        _write_glyphs(canvas, image, lines, pixels, places * scale)
    else:
        draw = ImageDraw.Draw(image)
        font = _font(pixels if pixels < 24 else pixels // 4 * 4)
        bold = round(pixels * rng.uniform(0.03, 0.07)) if chance(rng, 0.3) else 0
        for line, (x, y) in zip(lines, places * scale, strict=True):
            draw.text((float(x), float(y)), line, fill=255, font=font, stroke_width=bold)
    image = _reshaped(canvas, image).reduce(scale)
    mask = np.asarray(image).astype(np.float32) / np.float32(255)
    return paint(canvas, mask, palette(rng, 2, 60))


def _reshaped(canvas: Canvas, image: Image.Image) -> Image.Image:
    """Stretch, slant or turn writing a little, as other fonts would."""
    rng = canvas.rng
    if canvas.crisp or chance(rng, 0.4):
        return image
    wide = rng.uniform(0.8, 1.35) if chance(rng, 0.6) else 1.0
    lean = rng.uniform(-0.05, 0.3) if chance(rng, 0.35) else 0.0
    turn = np.radians(rng.uniform(-5, 5)) if chance(rng, 0.25) else 0.0
    x, y = image.width / 2, image.height / 2
    a, b = np.cos(turn) / wide, (np.sin(turn) + lean) / wide
    d, e = -np.sin(turn), np.cos(turn)
    matrix = (a, b, x - a * x - b * y, d, e, y - d * x - e * y)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


class _Plot:
    """The frame of a chart: a drawing, its plotting area and its colours."""

    def __init__(self, canvas: Canvas) -> None:
        """Lay out the frame in the visible square of a canvas."""
        rng = canvas.rng
        self.canvas = canvas
        self.rng = rng
        self.scale = 1 if canvas.crisp or canvas.side > 480 else 2
        self.unit = canvas.side * self.scale
        size = (canvas.width * self.scale, canvas.height * self.scale)
        self.ink: Colour
        self.paper: Colour
        if chance(rng, 0.5):
            self.paper, self.ink = np.full(3, 255.0), np.full(3, rng.uniform(0, 80))
        else:
            self.paper, self.ink = palette(rng, 2, 80)
        self.image = Image.new("RGB", size, self.rgb(self.paper))
        self.draw = ImageDraw.Draw(self.image)
        self.x0 = size[0] / 2 + self.unit * rng.uniform(-0.46, -0.3)
        self.x1 = size[0] / 2 + self.unit * rng.uniform(0.36, 0.48)
        self.y0 = size[1] / 2 + self.unit * rng.uniform(-0.46, -0.3)
        self.y1 = size[1] / 2 + self.unit * rng.uniform(0.3, 0.47)
        self.pen = max(round(1.1 * canvas.visible * self.unit * rng.uniform(0.8, 1.8)), 1)

    @staticmethod
    def rgb(colour: NDArray[np.floating]) -> tuple[int, int, int]:
        """Return a colour as Pillow wants it."""
        red, green, blue = (int(value) for value in np.clip(colour, 0, 255))
        return red, green, blue

    def colours(self, count: int) -> list[tuple[int, int, int]]:
        """Draw colours that stand apart from the paper."""
        rng = self.rng
        if chance(rng, 0.15):
            return [self.rgb(self.ink)] * count
        chosen: list[tuple[int, int, int]] = []
        while len(chosen) < count:
            for colour in palette(rng, 2, 45):
                step = np.abs(colour - self.paper)
                if step.max() > 80 and step.mean() > 36 and len(chosen) < count:
                    chosen.append(self.rgb(colour))
        return chosen

    def axes(self, share: float) -> None:
        """Draw the axes, ticks, rules and labels, each by chance."""
        rng = self.rng
        ink, faint = self.rgb(self.ink), self.rgb(0.75 * self.paper + 0.25 * self.ink)
        steps = int(rng.integers(3, 9))
        ys = np.linspace(self.y1, self.y0, steps)
        xs = np.linspace(self.x0, self.x1, int(rng.integers(3, 9)))
        rules = [[(self.x0, float(y)), (self.x1, float(y))] for y in ys] * chance(rng, 0.3)
        rules += [[(float(x), self.y0), (float(x), self.y1)] for x in xs] * chance(rng, 0.15)
        for rule in rules:
            self.draw.line(rule, fill=faint, width=self.pen)
        if not chance(rng, share):
            return
        ends = [(self.x0, self.y0), (self.x0, self.y1), (self.x1, self.y1)]
        if chance(rng, 0.3):
            ends = [*ends, (self.x1, self.y0), (self.x0, self.y0)]
        self.draw.line(ends, fill=ink, width=self.pen)
        tick = self.unit * 0.015
        if chance(rng, 0.5):
            for y in ys:
                self.draw.line([(self.x0 - tick, y), (self.x0, y)], fill=ink, width=self.pen)
            for x in xs:
                self.draw.line([(x, self.y1), (x, self.y1 + tick)], fill=ink, width=self.pen)
        if chance(rng, 0.45):
            self._labels(xs, ys, ink)

    def _labels(self, xs: Points, ys: Points, ink: tuple[int, int, int]) -> None:
        """Write numbers along the axes and a title, small."""
        size = max(round(self.unit * 0.045), 6)
        font = _font(size)
        for i, y in enumerate(ys):
            self.draw.text((self.x0 - 2.2 * size, y - size / 2), str(5 * i), fill=ink, font=font)
        for i, x in enumerate(xs):
            self.draw.text((x - size / 3, self.y1 + size * 0.4), str(i), fill=ink, font=font)
        if chance(self.rng, 0.5):
            title = " ".join(_words(self.rng, 2))
            place = ((self.x0 + self.x1) / 2 - size * 3, self.y0 - 1.5 * size)
            self.draw.text(place, title, fill=ink, font=font)

    def done(self) -> Field:
        """Return the picture at the size of the canvas."""
        return np.asarray(self.image.reduce(self.scale)).astype(np.float32)


def _heights(rng: np.random.Generator, count: int) -> Field:
    """Draw heights of bars, 0 to 1, that clearly differ."""
    while True:
        style = rng.random()
        if style < 0.6:
            heights = rng.uniform(0.06, 1, count)
        elif style < 0.8:
            heights = np.linspace(0.1, 1, count) + rng.normal(0, 0.08, count)
            heights = heights[:: int(rng.choice((-1, 1)))]
        else:
            middle = rng.uniform(0.2, 0.8) * count
            heights = np.exp(-(((np.arange(count) - middle) / (0.3 * count)) ** 2))
        heights = np.clip(heights / heights.max(), 0.03, 1)
        if heights.std() > 0.14:
            return np.asarray(heights, np.float32)


def bar_chart(canvas: Canvas) -> Field:
    """Paint bars of several heights on one base."""
    rng = canvas.rng
    plot = _Plot(canvas)
    plot.axes(0.75)
    count = int(rng.integers(3, 15))
    heights = _heights(rng, count)
    fill = rng.uniform(0.45, 0.92)
    colours = plot.colours(count if chance(rng, 0.35) else 1)
    outline = plot.rgb(plot.ink) if chance(rng, 0.25) else None
    lying = chance(rng, 0.15)
    for i, height in enumerate(heights):
        near, far = (i + 0.5 - fill / 2) / count, (i + 0.5 + fill / 2) / count
        long = float(height)
        box = (0.0, near, long, far) if lying else (near, 1 - long, far, 1.0)
        wide, high = plot.x1 - plot.x0, plot.y1 - plot.y0
        corners = (
            plot.x0 + box[0] * wide, plot.y0 + box[1] * high,
            plot.x0 + box[2] * wide, plot.y0 + box[3] * high,
        )  # fmt: skip
        plot.draw.rectangle(corners, colours[i % len(colours)], outline, plot.pen)
    return plot.done()


def _curve(rng: np.random.Generator) -> Field:
    """Draw a curve: a walk, a wave or a bent line, heights 0 to 1."""
    style = rng.random()
    count = int(rng.integers(5, 80))
    x = np.linspace(0, 1, count)
    y: Points
    if style < 0.45:
        y = np.cumsum(rng.normal(0, 1, count))
    elif style < 0.75:
        x = np.linspace(0, 1, 80)
        y = np.sin(x * rng.uniform(4, 30) + rng.uniform(0, 6)) * np.exp(-x * rng.uniform(-1, 3))
    elif style < 0.9:
        y = np.asarray(np.polyval(rng.normal(0, 1, 4), 2 * x - 1), np.float64)
    else:
        y = x * rng.choice((-1, 1)) + rng.normal(0, 0.08, count)
    spread = y.max() - y.min() + 1e-6
    return np.stack([np.linspace(0, 1, len(y)), (y - y.min()) / spread], axis=1).astype(np.float32)


def line_plot(canvas: Canvas) -> Field:
    """Paint one to four curves, mostly between axes."""
    rng = canvas.rng
    plot = _Plot(canvas)
    plot.axes(0.88)
    count = int(rng.choice((1, 1, 1, 2, 2, 3, 4)))
    pen = max(round(plot.pen * rng.uniform(1, 3)), 1)
    for colour in plot.colours(count):
        low, high = sorted(rng.uniform(0, 1, 2)) if count > 1 else (0.05, 0.95)
        high = max(high, low + 0.25)
        points = _curve(rng)
        xs = plot.x0 + points[:, 0] * (plot.x1 - plot.x0)
        ys = plot.y1 - (low + points[:, 1] * (high - low)) * (plot.y1 - plot.y0)
        line = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
        plot.draw.line(line, fill=colour, width=pen, joint="curve")
        if len(line) < 30 and chance(rng, 0.4):
            mark = pen * rng.uniform(1.5, 2.5)
            for x, y in line:
                plot.draw.ellipse((x - mark, y - mark, x + mark, y + mark), fill=colour)
    return plot.done()
