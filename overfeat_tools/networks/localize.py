"""Where in a picture the classes are, by what windows of several sizes see.

The network is slid over the picture, with a margin around it, in windows whose sides are 1, 0.7 and 0.5 times its
shorter side.  A window that shows the whole of an object says so with a high probability; one that cuts it, with a
lower one.  So what such windows have in common is the object: the *support* of a class.  OverFeat's paper trains a
regressor to tell the box from each window; its weights were never published.

Measured with `training/locate.py` while this was made: the supports of the sizes one by one, merged as in the paper,
are far worse than that of all windows together; so are the mean probability over the windows that show a place, and
quantiles of the windows' edges.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.errors import ImageError
from overfeat_tools.networks.dense import Dense, Size, nearest_length
from overfeat_tools.networks.layers import softmax
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.views import Views
from overfeat_tools.pictures import part

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels; the latter two are outside."""

K = 5
"""Classes that are looked for: the paper's k."""

T = 0.0
"""Boxes are merged as long as a pair's match score is below: the paper's t."""

# Sides of windows in shorter sides of the picture, and how much they count for the probability of a box.
_SIDES = (1.0, 0.7, 0.5)
_SHARES = (0.7, 0.3, 0.0)

# Of the picture's sides, for the margin on each side of it: an object at the edge is in the middle of some window.
_MARGIN = 0.25

# Longer pictures are squeezed.
_MOST_ASPECT = 4.0

# What of the highest support belongs to a box, and the least probability of a further one.
_COMMON, _LEAST = 0.8, 0.1
_MOST_OF_A_CLASS = 4

_CELLS = 64


@dataclass(frozen=True)
class Found:
    """A class and where it is."""

    index: int
    probability: float
    box: Box


@dataclass(frozen=True)
class Windows:
    """What windows of a picture show.

    Attributes
    ----------
    height, width : int
        Of the picture.
    edges : array (windows, 4)
        Left, top, right and bottom of each window, in pixels of the picture; it may reach beyond it.
    probabilities : array (windows, classes) float32
    scales : array (windows,)
        Which of the sizes each has, the largest first.
    """

    height: int
    width: int
    edges: Array
    probabilities: FloatArray
    scales: Array

    def classes(self) -> FloatArray:
        """Give the probability of each class: that of the windows of each size that show it best, weighed."""
        return self._weighed(np.ones(len(self.edges), bool), self.probabilities)

    def find(self, count: int, index: int | None = None) -> list[Found]:
        """Find the boxes of the most probable classes, or of one class, the most probable first."""
        classes = [index] if index is not None else np.argsort(-self.classes(), kind="stable")[:K]
        found = [box for each in classes for box in merge(list(self._of_a_class(int(each))))]
        return sorted(found, key=lambda each: -each.probability)[:count]

    def support_map(self, index: int) -> FloatArray:
        """Give how much each of the cells that the picture is divided into belongs to a class, 0 to 1."""
        support = self._support(self.probabilities[:, index])
        highest = float(support.max())
        return support / np.float32(highest) if highest > 0 else support

    def _support(self, values: FloatArray) -> FloatArray:
        rows, columns = self._covered
        support: FloatArray = (rows.T * np.square(values)) @ columns
        return support

    @cached_property
    def _covered(self) -> tuple[FloatArray, FloatArray]:
        """Tell which rows and columns of cells each window covers."""
        middles = (np.arange(_CELLS) + 0.5) / _CELLS
        left, top, right, bottom = self.edges.T[..., None]
        x, y = middles * self.width, middles * self.height
        return ((top <= y) & (y < bottom)).astype(np.float32), ((left <= x) & (x < right)).astype(np.float32)

    def _weighed(self, which: Array, values: FloatArray) -> FloatArray:
        """Weigh the largest values of the windows of each size."""
        best = [values[which & (self.scales == scale)].max(axis=0, initial=0) for scale in range(len(_SIDES))]
        weighed: FloatArray = np.tensordot(np.array(_SHARES, np.float32), np.stack(best), 1)
        return weighed

    def _of_a_class(self, index: int) -> Iterator[Found]:
        """Find the boxes of a class: the support of all windows, then that of those that don't show it, and so on."""
        values = self.probabilities[:, index].copy()
        rows, columns = self._covered
        for number in range(_MOST_OF_A_CLASS):
            if number and values.max() < _LEAST:
                return
            down, across = _region(self._support(values))
            showing = (rows[:, sum(down) // 2] > 0) & (columns[:, sum(across) // 2] > 0)
            edges = np.array([across, down], float).T * (self.width, self.height) / _CELLS
            (left, top), (right, bottom) = edges.tolist()
            yield Found(index, float(self._weighed(showing, values)), (left, top, right, bottom))
            values[showing] = 0


class Localizer(Views[Windows]):
    """Looks at pictures through windows.

    Parameters
    ----------
    network : Network
    """

    def __init__(self, network: Network) -> None:
        self._dense = _Slid(network)
        self.network = self._dense.network
        self.side, self.pixels = 0, 1 << 20

    def usual_batch(self) -> int:
        """Give the pictures of a batch; see `Dense.usual_batch`."""
        return self._dense.usual_batch()

    def prepare(self, pixels: Array) -> tuple[Array, ...]:
        """Give the picture, and it with a margin at each scale."""
        height, width = pixels.shape[:2]
        if not pixels.size:
            raise ImageError(f"{width}x{height} has no pixels")
        return pixels, *self._dense.prepare(pixels)

    def begin(self, pictures: Sequence[Sequence[Array]]) -> Callable[[], list[Windows]]:
        """Begin to look at pictures; see `Views`."""
        wait = self._dense.begin([views[1:] for views in pictures])
        height, width = pictures[0][0].shape[:2]
        down, across = height * _MARGIN, width * _MARGIN

        def windows() -> list[Windows]:
            looked = []
            for maps in wait():
                parts = np.concatenate([each.windows().reshape(-1, 4) for each in maps])
                whole = np.array([width + 2 * across, height + 2 * down] * 2)
                edges = parts * whole - np.array([across, down] * 2)
                scores = [each.scores.reshape(-1, each.scores.shape[2]) for each in maps]
                scales = np.repeat(np.arange(len(maps)), [len(each) for each in scores])
                looked.append(Windows(height, width, edges, softmax(np.concatenate(scores), np, axis=1), scales))
            return looked

        return windows


class _Slid(Dense):
    """A network slid over pictures with a margin, in windows of some sizes."""

    def __init__(self, network: Network) -> None:
        super().__init__(network, range(1, len(_SIDES) + 1), mirrored=False)

    def sizes(self, height: int, width: int) -> list[Size]:
        """Give the rows and columns of each scale of a picture with its margin."""
        aspect = min(max(height, width) / min(height, width), _MOST_ASPECT)
        whole = (1 + 2 * _MARGIN) * self._topology.input_size
        longest = (1.0, aspect) if width >= height else (aspect, 1.0)
        down, across = (
            [nearest_length(self._topology, length * whole / side) for side in _SIDES] for length in longest
        )
        return list(zip(down, across, strict=True))

    def prepare(self, pixels: Array) -> tuple[Array, ...]:
        """Scale a picture (H, W, 3) to each scale, with its edges continued all around it."""
        height, width = pixels.shape[:2]
        made = []
        for rows, columns in self.sizes(height, width):
            down, across = (round(length * _MARGIN / (1 + 2 * _MARGIN)) for length in (rows, columns))
            inner = rows - 2 * down, columns - 2 * across
            scaled = part(pixels, inner, (0, 0), inner)
            made.append(np.pad(scaled, ((down, down), (across, across), (0, 0)), "edge"))
        return tuple(made)


def merge(found: Sequence[Found], most: float = T) -> list[Found]:
    """Merge boxes of one class as in section 4.3 of OverFeat's paper.

    The pair with the lowest match score is replaced by its mean, until no score is below `most`.  The paper adds up
    their probabilities, for its boxes are those of one scale each; here each has those of all scales, and the higher
    one is kept.

    Notes
    -----
    The paper's match score is "the sum of the distance between centers of the two bounding boxes and the intersection
    area of the boxes".  Taken as it stands, boxes that overlap more would be merged later.  So the overlap is
    subtracted here, and both are made independent of the picture's size: the distance is divided by the mean side,
    the overlap by the smaller area.
    """
    boxes = list(found)
    while len(boxes) > 1:
        pairs = ((j, i) for j in range(len(boxes)) for i in range(j))
        score, j, i = min((match_score(boxes[i].box, boxes[j].box), j, i) for j, i in pairs)
        if score >= most:
            break
        other, one = boxes.pop(j), boxes.pop(i)
        total = one.probability + other.probability
        share = one.probability / total if total else 0.5
        left, top, right, bottom = (share * a + (1 - share) * b for a, b in zip(one.box, other.box, strict=True))
        boxes.append(Found(one.index, max(one.probability, other.probability), (left, top, right, bottom)))
    return boxes


def match_score(one: Box, other: Box) -> float:
    """Give how far two boxes are from being one: the distance of their centres, less what they share of the smaller."""
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    if min(areas) <= 0:
        return math.inf
    across, down = ((one[i] + one[i + 2] - other[i] - other[i + 2]) / 2 for i in (0, 1))
    shared = [max(0.0, min(one[i + 2], other[i + 2]) - max(one[i], other[i])) for i in (0, 1)]
    side = (math.sqrt(areas[0]) + math.sqrt(areas[1])) / 2
    return math.hypot(across, down) / side - shared[0] * shared[1] / min(areas)


def _region(support: FloatArray) -> tuple[tuple[int, int], tuple[int, int]]:
    """Give the first row and the one after the last, and so the columns, of the region around the highest support."""
    belongs = support >= _COMMON * support.max()
    region = np.zeros_like(belongs)
    region[np.unravel_index(support.argmax(), support.shape)] = True
    while True:
        grown = region.copy()
        grown[1:] |= region[:-1]
        grown[:-1] |= region[1:]
        grown[:, 1:] |= region[:, :-1]
        grown[:, :-1] |= region[:, 1:]
        grown &= belongs
        if (grown == region).all():
            break
        region = grown
    rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    return (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)

