"""Draw pictures of the network's classes, each from its class and seed alone.

Run as a program to look at a sheet of them::

    python -m training.draw --out sheet.png --class spiral
"""

import argparse
from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image

from training import bands, fields, pages, shapes, tiles
from training.canvas import Canvas, Field, chance, log_uniform
from training.classes import CLASSES, SIDE, index_of
from training.degrade import Picture, spoil

_PAINTERS: Final[dict[str, Callable[[Canvas], Field]]] = {
    name: getattr(module, name.replace(" ", "_"))
    for module in (bands, tiles, shapes, fields, pages)
    for name in CLASSES
    if hasattr(module, name.replace(" ", "_"))
}


def _canvas(rng: np.random.Generator) -> Canvas:
    """Choose the size of a picture: often the input's own, else any."""
    if chance(rng, 0.45):
        return Canvas(rng, SIDE, SIDE, crisp=chance(rng, 0.3))
    most = 800 if chance(rng, 0.08) else 420
    shorter = round(log_uniform(rng, 64, most))
    longer = shorter
    if chance(rng, 0.7):
        longer = min(round(shorter * rng.uniform(1, 1.8)), 800)
    crisp = shorter >= SIDE // 2 and chance(rng, 0.25)
    if chance(rng, 0.7):
        return Canvas(rng, longer, shorter, crisp)
    return Canvas(rng, shorter, longer, crisp)


def painted_on(canvas: Canvas, class_index: int) -> Field:
    """Paint a class on a canvas, not yet spoilt nor brought to size."""
    painted = _PAINTERS[CLASSES[class_index]](canvas)
    return np.broadcast_to(painted, (canvas.height, canvas.width, 3))


def draw(class_index: int, seed: int) -> Picture:
    """Draw one picture.

    Parameters
    ----------
    class_index : int
        What to draw: an index of `CLASSES`.
    seed : int
        Which of the pictures of that class to draw.

    Returns
    -------
    numpy.ndarray
        Red, green and blue bytes, 231 by 231 by 3.
    """
    rng = np.random.default_rng([class_index, seed])
    canvas = _canvas(rng)
    painted = painted_on(canvas, class_index)
    gentle = chance(rng, 0.6 if canvas.crisp else 0.12)
    return spoil(rng, painted, gentle=gentle)


def sheet(pictures: list[Picture], columns: int) -> Image.Image:
    """Put pictures side by side on one sheet."""
    rows = -(-len(pictures) // columns)
    whole = Image.new("RGB", (columns * (SIDE + 4), rows * (SIDE + 4)), "white")
    for i, picture in enumerate(pictures):
        place = (i % columns * (SIDE + 4), i // columns * (SIDE + 4))
        whole.paste(Image.fromarray(picture), place)
    return whole


def main() -> None:
    """Draw a sheet of pictures of one class, or some of each."""
    parser = argparse.ArgumentParser(description="Draw a sheet of training pictures.")
    parser.add_argument("--out", required=True, help="picture file to write")
    parser.add_argument("--class", dest="name", choices=CLASSES, help="one class only")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--columns", type=int, default=8, help="pictures in a row")
    parser.add_argument("--rows", type=int, default=4, help="rows of one class")
    args = parser.parse_args()
    if args.name is None:
        pairs = [(i, args.seed + k) for i in range(len(CLASSES)) for k in range(args.columns)]
    else:
        count = args.rows * args.columns
        pairs = [(index_of(args.name), args.seed + k) for k in range(count)]
    sheet([draw(i, seed) for i, seed in pairs], args.columns).save(args.out)


if __name__ == "__main__":
    main()
