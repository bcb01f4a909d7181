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
from overfeat_tools.networks.dense import USUAL_SIZE, Size, nearest_length
from overfeat_tools.networks.layers import FragmentPool, softmax
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
MARGIN = 0.25

# Longer pictures are squeezed.
_MOST_ASPECT = 4.0

# What of the highest support belongs to a box, and the least probability of a further one.
_COMMON, _LEAST = 0.8, 0.1
_MOST_OF_A_CLASS = 4

_CELLS = 64

# Larger batches are hardly quicker where a picture is many maps.
_BATCH = 8


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

    def find(self, count: int, indices: Sequence[int] = ()) -> list[Found]:
        """Find the boxes of some classes, by default of the most probable ones, the most probable boxes first."""
        classes = indices or np.argsort(-self.classes(), kind="stable")[:K].tolist()
        found = [box for each in classes for box in merge(list(self._of_a_class(each)))]
        return sorted(found, key=lambda each: -each.probability)[:count]

    def support_map(self, index: int | None = None) -> FloatArray:
        """Give how much each of the cells that the picture is divided into belongs to a class, 0 to 1.

        By default the class is the most probable one.
        """
        support = self._support(self.probabilities[:, int(self.classes().argmax()) if index is None else index])
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

    Notes
    -----
    Of the last pool's offsets only those on the diagonal are taken: every second window, as on the squares of one
    colour of a chessboard (in `accurate`, every third).  Boxes lost nothing by that, see `training/locate.py`; with
    windows that lie twice as far apart on both axes they did.
    """

    def __init__(self, network: Network) -> None:
        self.network = network.in_fragments(diagonal=True)
        self.side, self.pixels = 0, 1 << 20
        self._topology = self.network.topology
        pool = self._topology.layers[self._topology.last_pool]
        assert isinstance(pool, FragmentPool)  # noqa: S101 -- for the type checker
        self._pool = pool

    def usual_batch(self) -> int:
        """Give the pictures of a batch: half as many as long as their maps would take too much."""
        return min(_BATCH, self.network.usual_batch(*self.sizes(*USUAL_SIZE)[-1]) // 2 or 1)

    def sizes(self, height: int, width: int) -> list[Size]:
        """Give the rows and columns of a picture with its margin, for each side of windows."""
        aspect = min(max(height, width) / min(height, width), _MOST_ASPECT)
        whole = (1 + 2 * MARGIN) * self._topology.input_size
        longest = (1.0, aspect) if width >= height else (aspect, 1.0)
        down, across = (
            [nearest_length(self._topology, length * whole / side) for side in _SIDES] for length in longest
        )
        return list(zip(down, across, strict=True))

    def prepare(self, pixels: Array) -> tuple[Array, ...]:
        """Give the picture, and it at each scale, with its edges continued all around it."""
        height, width = pixels.shape[:2]
        if not pixels.size:
            raise ImageError(f"{width}x{height} has no pixels")
        made = [pixels]
        for rows, columns in self.sizes(height, width):
            down, across = (round(length * MARGIN / (1 + 2 * MARGIN)) for length in (rows, columns))
            inner = rows - 2 * down, columns - 2 * across
            scaled = part(pixels, inner, (0, 0), inner)
            made.append(np.pad(scaled, ((down, down), (across, across), (0, 0)), "edge"))
        return tuple(made)

    def begin(self, pictures: Sequence[Sequence[Array]]) -> Callable[[], list[Windows]]:
        """Begin to look at pictures; see `Views`."""
        (originals, *scaled), last = zip(*pictures, strict=True), self._topology.last_layer - 1  # the scores
        height, width = originals[0].shape[:2]
        stacks = [np.stack(views) for views in scaled]
        for stack in stacks:
            self.network.check_memory(len(stack), *stack.shape[1:3], last)
        waits = [self.network.begin(stack, last) for stack in stacks]

        def windows() -> list[Windows]:
            maps = [wait() for wait in waits]
            parts = [self._parts(*stack.shape[1:3], *y.shape[1:3]) for stack, y in zip(stacks, maps, strict=True)]
            edges = ((1 + 2 * MARGIN) * np.concatenate(parts) - MARGIN) * ([width, height] * 2)
            scales = np.repeat(np.arange(len(parts)), [len(each) for each in parts])
            scores = np.concatenate([y.reshape(len(pictures), -1, y.shape[3]) for y in maps], axis=1)
            return [Windows(height, width, edges, softmax(each, np, axis=1), scales) for each in scores]

        return windows

    def _parts(self, height: int, width: int, rows: int, columns: int) -> Array:
        """Give the edges of windows, as parts of a scaled picture's sides, in the order of the places of its map."""
        fine, (down, right) = self._topology.stride_before_last_pool, np.array(self._pool.offsets).T[..., None]
        top, left = ((np.arange(n) * self._pool.size + at) * fine for n, at in ((rows, down), (columns, right)))
        top, left = np.broadcast_arrays(top[:, :, None], left[:, None])
        side = self._topology.input_size
        edges = left / width, top / height, (left + side) / width, (top + side) / height
        return np.stack(edges, axis=-1).reshape(-1, 4)


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

