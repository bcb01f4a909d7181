"""Draw the pictures of the folder `samples`, from seeds kept for them.

Run as a program::

    python -m training.make_samples --out samples
"""

import argparse
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from training.canvas import Canvas
from training.classes import SAMPLES_SEED, index_of
from training.degrade import to_image
from training.draw import painted_on

# Class, seed, width and height, chosen as clear examples that the network gets right.
_PICTURES: Final = (
    ("horizontal stripes", 9, 231, 231),
    ("rising stripes", 5, 231, 231),
    ("checkerboard", 5, 320, 240),
    ("bricks", 4, 231, 231),
    ("maze", 3, 231, 231),
    ("polka dots", 1, 320, 240),
    ("spiral", 8, 231, 231),
    ("star", 5, 231, 231),
    ("red disc", 4, 240, 320),
    ("blue disc", 1, 231, 231),
    ("text", 14, 320, 240),
    ("bar chart", 8, 231, 231),
)
_STREAM: Final = (
    ("concentric rings", 7, 231, 231),
    ("linear gradient", 7, 160, 120),
    ("falling stripes", 3, 200, 200),
    ("green disc", 6, 320, 240),
)


def sample(name: str, seed: int, width: int, height: int) -> Image.Image:
    """Draw one clean picture of a class at a size of its own."""
    index = index_of(name)
    rng = np.random.default_rng([index, SAMPLES_SEED + seed])
    return to_image(painted_on(Canvas(rng, width, height, crisp=False), index))


def main() -> None:
    """Write the single pictures and the stream of several."""
    parser = argparse.ArgumentParser(description="Draw the sample pictures.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write them to")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, seed, width, height in _PICTURES:
        image = sample(name, seed, width, height)
        image.save(out / f"{name.replace(' ', '_')}.png", optimize=True)
    with (out / "stream.ppm").open("wb") as stream:
        for name, seed, width, height in _STREAM:
            image = sample(name, seed, width, height)
            stream.write(b"P6\n%d %d\n255\n" % (width, height) + image.tobytes())


if __name__ == "__main__":
    main()
