"""Class maps: a network slid over a picture at several scales, as in section 3.3 of OverFeat's paper.

The trunk, all up to the last pool, runs once a scale.  The last pool is taken at all of its offsets (3x3 of them in
`accurate`), the classifier runs on each of these fragments, and the results are interleaved, so that neighbouring
places lie `stride_before_last_pool` pixels apart (12 instead of 36 in `accurate`, 16 instead of 32 in `fast`).

A picture is scaled to sizes of which every pixel is used: with c places on an axis before they are interleaved,

    length(c) = input + (p - 1) d + p d (c - 1)        d pixels between fine places, a pool of p x p.

The paper has six sizes, of which `accurate` uses exactly those, and others the nearest lengths.  They are taken to be
those of pictures of 4:3.  For another ratio a of the longer side to the shorter one, h stays, and w becomes

    h + 3 (a - 1) (w - h)    up to 4:3, so that a square stays one,        3/4 a w    above, with a at most 4,

and then the nearest length that there is.  The picture is stretched to that.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.networks.layers import FragmentPool, MaxPool
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import Topology
from overfeat_tools.pictures import part

Size = tuple[int, int]
"""Rows and columns."""

SIZES: dict[int, Size] = {
    1: (245, 245), 2: (281, 317), 3: (317, 389), 4: (389, 461), 5: (425, 497), 6: (461, 569)
}  # fmt: skip
"""The paper's scales, numbered as in its table 5."""

SCALES = (1, 2, 4, 6)
"""The scales of the paper's best results with a single network of each kind."""

USUAL_SIZE: Size = (3000, 4000)
"""Of a picture that is large enough for all scales."""

# Larger batches are hardly quicker where a picture is many maps.
_BATCH = 8

_ASPECT, _MOST_ASPECT = 4 / 3, 4.0


@dataclass(frozen=True)
class ClassMap:
    """The scores of each class at each place of a picture, at one scale.

    Attributes
    ----------
    scores : array (rows, columns, classes) float32
        Before the softmax.
    scale : int
        A key of `SIZES`.
    mirrored : bool
        Whether the picture was mirrored, left to right, before it was shown to the network; the map is as it saw it.
    size : (int, int)
        Rows and columns of the scaled picture.
    side : int
        Pixels of the side of the square that one place sees.
    step : int
        Pixels from one place to the next.
    """

    scores: FloatArray
    scale: int
    mirrored: bool
    size: Size
    side: int
    step: int

    def windows(self) -> Array:
        """Give what each place sees, as parts of the width and height of the picture before it was mirrored.

        Returns
        -------
        array (rows, columns, 4)
            Left, top, right, bottom.
        """
        height, width = self.size
        top, left = np.mgrid[: self.scores.shape[0], : self.scores.shape[1]] * self.step
        if self.mirrored:
            left = width - self.side - left
        edges = left / width, top / height, (left + self.side) / width, (top + self.side) / height
        return np.stack(edges, axis=2)


class Dense:
    """A network that is slid over pictures.

    Parameters
    ----------
    network : Network
    scales : sequence of int
        Keys of `SIZES`.
    fine : bool
        Whether the last pool is taken at all offsets.
    mirrored : bool
        Whether the mirror image is looked at, too.
    most_enlarged : float
        Scales that would enlarge a picture more than this are left out, except the first.
    """

    def __init__(
        self,
        network: Network,
        scales: Sequence[int] = SCALES,
        *,
        fine: bool = True,
        mirrored: bool = True,
        most_enlarged: float = math.inf,
    ) -> None:
        self.network = network.in_fragments() if fine else network
        self.scales, self.fine, self.mirrored = sorted(scales), fine, mirrored
        self._most_enlarged = most_enlarged
        self._topology = network.topology
        pool = self._topology.layers[self._topology.last_pool]
        assert isinstance(pool, MaxPool)  # noqa: S101 -- for the type checker
        self._pool_size = pool.size

    def sizes(self, height: int, width: int) -> list[Size]:
        """Give the rows and columns of each scale of a picture; fewer than there are scales where it is small."""
        sizes = [size_of_scale(self._topology, scale, height, width) for scale in self.scales]
        most = self._most_enlarged * min(height, width)
        return [size for size in sizes if size == sizes[0] or min(size) <= most]

    def usual_batch(self) -> int:
        """Give the pictures of a batch: half as many as long as their maps would take too much."""
        return min(_BATCH, self.network.usual_batch(*self.sizes(*USUAL_SIZE)[-1]) // 2 or 1)

    def prepare(self, pixels: Array) -> tuple[Array, ...]:
        """Scale a picture (H, W, 3), which must have pixels, to each scale."""
        height, width = pixels.shape[:2]
        return tuple(part(pixels, size, (0, 0), size) for size in self.sizes(height, width))

    def begin(self, pictures: Sequence[Sequence[Array]]) -> Callable[[], list[list[ClassMap]]]:
        """Begin to compute the maps of pictures from `prepare`, all of the same sizes; see `Network.begin`.

        Returns
        -------
        callable
            Waits, and gives the maps of each picture: of each scale, first as it is, then mirrored.

        Raises
        ------
        MemoryShortageError
            They don't fit in the memory that is free.
        """
        stacks = [self._stack(views) for views in zip(*pictures, strict=True)]
        last = self._topology.last_layer - 1  # the scores
        for stack in stacks:
            self.network.check_memory(len(stack), stack.shape[1], stack.shape[2], last)
        waits = [self.network.begin(stack, last) for stack in stacks]

        def wait() -> list[list[ClassMap]]:
            maps = [self._maps(*each) for each in zip(self.scales, stacks, waits, strict=False)]
            return [[each for scale in maps for each in scale[number]] for number in range(len(pictures))]

        return wait

    def maps(self, pixels: Array) -> list[ClassMap]:
        """Compute the maps of one picture (H, W, 3): of each scale, first as it is, then mirrored."""
        return self.begin([self.prepare(pixels)])()[0]

    def _stack(self, pictures: Sequence[Array]) -> Array:
        stack = np.stack(pictures)
        return np.concatenate([stack, stack[:, :, ::-1]]) if self.mirrored else stack

    def _maps(self, scale: int, stack: Array, wait: Callable[[], FloatArray]) -> list[list[ClassMap]]:
        """Give the maps of one scale, for each picture."""
        y, offsets = wait(), self._pool_size if self.fine else 1
        _, rows, columns, classes = y.shape
        fragments = y.reshape(len(stack), offsets, offsets, rows, columns, classes)
        scores = fragments.transpose(0, 3, 1, 4, 2, 5).reshape(len(stack), rows * offsets, columns * offsets, classes)
        step = self._topology.stride_before_last_pool * (1 if self.fine else self._pool_size)
        size, side = (stack.shape[1], stack.shape[2]), self._topology.input_size
        pictures = len(stack) // (1 + self.mirrored)
        return [
            [
                ClassMap(scores[number + pictures * mirrored], scale, bool(mirrored), size, side, step)
                for mirrored in range(1 + self.mirrored)
            ]
            for number in range(pictures)
        ]


def size_of_scale(topology: Topology, scale: int, height: int, width: int) -> Size:
    """Give the rows and columns of a scale of a picture, by the rule that stands above."""
    shorter, longer = SIZES[scale]
    aspect = min(max(height, width) / min(height, width), _MOST_ASPECT)
    if aspect <= _ASPECT:
        wanted = shorter + (aspect - 1) / (_ASPECT - 1) * (longer - shorter)
    else:
        wanted = longer * aspect / _ASPECT
    size = nearest_length(topology, shorter), nearest_length(topology, wanted)
    return size if width >= height else size[::-1]


def nearest_length(topology: Topology, length: float) -> int:
    """Give the nearest length of which every pixel is used."""
    pool = topology.layers[topology.last_pool]
    assert isinstance(pool, MaxPool | FragmentPool)  # noqa: S101 -- for the type checker
    fine = topology.stride_before_last_pool
    least, step = topology.input_size + (pool.size - 1) * fine, pool.size * fine
    return least + step * max(0, round((length - least) / step))
