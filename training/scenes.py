"""Draw scenes: one shape somewhere in a wider picture, to see what looking at all of it is worth.

Run as a program, it writes pictures, with the right answers for `of-classify --truth`::

    python -m training.scenes --out scenes
    of-classify --net tiny --views dense --truth scenes/truth.tsv --recursive scenes

With `--plain` it writes the test pictures of `training.evaluate` instead.
"""

import argparse
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from training.canvas import Canvas, Field, chance
from training.classes import CLASSES, SCENES_SEED, TEST_SEED, index_of
from training.degrade import Picture, spoil
from training.draw import draw, painted_on

# Those that have an outline; what the others show has no end.
OUTLINED: Final = ("star", "triangle", "rectangle", "cross", "red disc", "green disc", "blue disc", "gray disc")

WIDTH, HEIGHT = 500, 375

Box = tuple[float, float, float, float]

# Of the picture's area, for the square around the circle around a shape.
AREAS: Final = (0.05, 0.4)


def scene(name: str, number: int) -> Picture:
    """Draw a shape; see `outlined_scene`."""
    picture, _ = outlined_scene(name, number)
    return picture


def outlined_scene(
    name: str, number: int, areas: tuple[float, float] = AREAS, *, whole: bool = True
) -> tuple[Picture, Box]:
    """Draw a shape whose area and whose middle are uniform.

    Ground, colours and faults are those of the training's pictures.

    Parameters
    ----------
    name : str
        One of `OUTLINED`.
    number : int
        Which of the scenes with this shape.
    areas : (float, float)
        The least and the most of the picture that the square around the circle around the shape takes.
    whole : bool
        Whether the shape remains in the picture; else its middle may be anywhere there.
    """
    index = index_of(name)
    rng = np.random.default_rng([index, SCENES_SEED + number])
    radius = float(np.sqrt(rng.uniform(*areas) * WIDTH / HEIGHT)) / 2
    left = radius if whole else 0.0
    middle = rng.uniform(-1, 1, 2) * (WIDTH / HEIGHT / 2 - left, 0.5 - left)
    canvas = Canvas(rng, WIDTH, HEIGHT, crisp=chance(rng, 0.3), shape_radius=radius, shape_middle=tuple(middle))
    painted = painted_on(canvas, index)
    box = box_around(canvas.outlines[0])
    return spoil(rng, painted, gentle=chance(rng, 0.6 if canvas.crisp else 0.12), whole=True), box


def box_around(coverage: Field) -> Box:
    """Give the left, top, right and bottom of what is covered at least by half; the latter two are outside."""
    rows, columns = (np.flatnonzero((coverage > 0.5).any(axis=axis)) for axis in (1, 0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def main() -> None:
    """Write pictures and the list of what they show."""
    parser = argparse.ArgumentParser(description="Draw scenes, or plain test pictures.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write them to")
    parser.add_argument("--per-class", type=int, default=100, help="pictures of each class")
    parser.add_argument("--plain", action="store_true", help="the pictures that training.evaluate draws")
    args = parser.parse_args()
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    with (out / "truth.tsv").open("w", encoding="utf-8") as truth:
        for name in CLASSES if args.plain else OUTLINED:
            for number in range(args.per_class):
                picture = draw(index_of(name), TEST_SEED + number) if args.plain else scene(name, number)
                file = f"{name.replace(' ', '_')}-{number:03}.png"
                Image.fromarray(picture).save(out / file, compress_level=1)
                truth.write(f"{file}\t{name}\n")


if __name__ == "__main__":
    main()
