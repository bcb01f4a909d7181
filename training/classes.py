"""The classes of the demonstration network, in the order of its outputs."""

from typing import Final

CLASSES: Final[tuple[str, ...]] = (
    "horizontal stripes",
    "vertical stripes",
    "rising stripes",
    "falling stripes",
    "checkerboard",
    "grid",
    "bricks",
    "maze",
    "polka dots",
    "concentric rings",
    "spiral",
    "star",
    "triangle",
    "rectangle",
    "cross",
    "red disc",
    "green disc",
    "blue disc",
    "gray disc",
    "linear gradient",
    "radial gradient",
    "clouds",
    "noise",
    "text",
    "bar chart",
    "line plot",
)

# Seeds of the five sets of pictures: none may ever reach into the next.
TRAINING_SEED: Final = 0
VALIDATION_SEED: Final = 10_000_000
TEST_SEED: Final = 20_000_000
SAMPLES_SEED: Final = 30_000_000
SCENES_SEED: Final = 40_000_000

# Pictures are squares of this many pixels a side, the network's input.
SIDE: Final = 231


def index_of(name: str) -> int:
    """Return the output that stands for a class name."""
    return CLASSES.index(name)
