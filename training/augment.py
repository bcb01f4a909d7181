"""Turn one drawn picture into others of known class, at little cost."""

from typing import Final

import numpy as np

from training.classes import CLASSES, index_of
from training.degrade import Picture

_UPRIGHT: Final = frozenset(index_of(n) for n in ("text", "bar chart", "line plot"))
_LYING: Final = _UPRIGHT | {index_of("bricks")}
_COLOURED: Final = frozenset(index_of(n) for n in ("red disc", "green disc", "blue disc"))


def _swap(first: str, second: str) -> tuple[int, ...]:
    """Return the classes' indices with two of them exchanged."""
    order = list(range(len(CLASSES)))
    a, b = index_of(first), index_of(second)
    order[a], order[b] = b, a
    return tuple(order)


_TRANSPOSED: Final = _swap("horizontal stripes", "vertical stripes")
_MIRRORED: Final = _swap("rising stripes", "falling stripes")


def vary(rng: np.random.Generator, picture: Picture, label: int) -> tuple[Picture, int]:
    """Mirror, transpose and recolour a picture as far as its class allows.

    Mirroring turns rising stripes into falling ones and transposing turns
    lying stripes into standing ones: the label follows. Writing and charts
    stay as they are, and the named colours keep their channels.
    """
    across, down, over, mix, invert = rng.random(5) < (0.5, 0.5, 0.5, 0.4, 0.2)
    if label not in _UPRIGHT:
        if across:
            picture, label = picture[:, ::-1], _MIRRORED[label]
        if down:
            picture, label = picture[::-1], _MIRRORED[label]
        if over and label not in _LYING:
            picture, label = picture.transpose(1, 0, 2), _TRANSPOSED[label]
    if label not in _COLOURED:
        if mix:
            picture = picture[:, :, rng.permutation(3)]
        if invert:
            picture = np.bitwise_not(picture)
    return picture, label
