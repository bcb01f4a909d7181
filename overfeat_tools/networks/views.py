"""Several views of one picture, put together: ten of them, or a network that is slid over it.

`Ten` looks at the four corners and the centre of a picture whose shorter side is scaled to 256, and at their mirror
images; it takes the mean of the probabilities.  `DenseViews` does what section 3.3 of OverFeat's paper does: for each
scale, and for the mirror image, the maximum over all places for each class, then the mean of these maxima.

The paper does not say whether the maximum is that of the scores or of the probabilities.  It is that of the
probabilities here, which can be compared between places: with `tiny`, on drawn scenes, the right class came first in
97.0 % of the pictures, and in 93.3 % with the maximum of the scores.

What a mirror image shows may be another class than the picture: stripes that rise fall there.  `Topology` knows which.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.errors import ImageError
from overfeat_tools.networks.dense import SCALES, USUAL_SIZE, ClassMap, Dense
from overfeat_tools.networks.layers import softmax
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import Topology
from overfeat_tools.pictures import part, scaled_size

_SHORTER_SIDE = 256  # of a picture that is looked at ten times
_CORNERS = ("top left", "top right", "bottom left", "bottom right", "centre")

# What enlarges a picture more shows nothing more of it, but only parts.
_MOST_ENLARGED = 1.5


Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Looks:
    """Looks at one picture: for each its probabilities of the classes, and where it found them.

    Attributes
    ----------
    probabilities : array (looks, classes) float32
    told : sequence of dict
        What records tell of each look.
    windows : array (looks, classes, 4), optional
        Left, top, right and bottom of where a class was found, as parts of the picture's width and height.
    """

    probabilities: FloatArray
    told: Sequence[dict[str, object]]
    windows: Array | None = None

    @property
    def mean(self) -> FloatArray:
        """The answer: the mean of the looks."""
        mean: FloatArray = self.probabilities.mean(axis=0, dtype=np.float32)
        return mean

    def best(self, index: int) -> dict[str, object]:
        """Tell of the look that gave a class the highest probability."""
        look = int(self.probabilities[:, index].argmax())
        if self.windows is None:
            return self.told[look]
        edges = (round(float(edge), 4) for edge in self.windows[look, index])
        return {**self.told[look], "place": dict(zip(("left", "top", "right", "bottom"), edges, strict=True))}


class Views(ABC, Generic[Seen]):
    """A way of looking at pictures several times, with an opened network.

    `side` is the shorter side of the largest picture that is made: one need not be decoded much larger.  `pixels` are
    those of all that are made of one, usually.
    """

    network: Network
    side: int
    pixels: int

    @abstractmethod
    def prepare(self, pixels: Array) -> tuple[Array, ...]:
        """Make of a picture (H, W, 3), uint8 or float32, what is looked at.

        Raises
        ------
        ImageError
            It has no pixels.
        """

    @abstractmethod
    def begin(self, pictures: Sequence[Sequence[Array]]) -> Callable[[], list[Seen]]:
        """Begin to look at pictures from `prepare`, all of the same sizes; what is returned waits for the results.

        Raises
        ------
        MemoryShortageError
            The maps don't fit in the memory that is free.
        """

    @abstractmethod
    def usual_batch(self) -> int:
        """Give the pictures of a batch where nobody says."""

    def look(self, pixels: Array) -> Seen:
        """Look at one picture."""
        return self.begin([self.prepare(pixels)])()[0]


class Ten(Views[Looks]):
    """The corners and the centre, as they are and mirrored.

    Parameters
    ----------
    network : Network
    """

    def __init__(self, network: Network) -> None:
        self.network, self.side = network, _SHORTER_SIDE
        self._input = network.topology.input_size
        self.pixels = len(_CORNERS) * self._input**2
        self._told: list[dict[str, object]] = [
            {"mirror": mirror, "place": name} for mirror in (False, True) for name in _CORNERS
        ]

    def usual_batch(self) -> int:
        """Give the pictures of a batch: fewer, as each is ten."""
        return max(1, self.network.usual_batch() // 8)

    def prepare(self, pixels: Array) -> tuple[Array, ...]:
        """Cut out the corners, by rows, and the centre."""
        _check(pixels)
        height, width = scaled_size(pixels, _SHORTER_SIDE)
        bottom, right = height - self._input, width - self._input
        corners = (0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)
        return tuple(part(pixels, (height, width), corner, (self._input, self._input)) for corner in corners)

    def begin(self, pictures: Sequence[Sequence[Array]]) -> Callable[[], list[Looks]]:
        """Begin to look at pictures; see `Views`."""
        crops = np.stack([np.stack(views) for views in pictures])
        stack = np.concatenate([crops, crops[:, :, :, ::-1]], axis=1)
        self.network.check_memory(len(pictures) * len(self._told), self._input, self._input)
        wait = self.network.begin(stack.reshape(-1, *stack.shape[2:]))

        def looks() -> list[Looks]:
            found = wait().reshape(len(pictures), len(self._told), -1)
            mirrored, classes = found[:, len(_CORNERS) :], seen_in_mirror(self.network.topology, found.shape[2])
            mirrored[...] = mirrored[:, :, classes]
            return [Looks(each, self._told) for each in found]

        return looks


class DenseViews(Views[Looks]):
    """The network slid over each scale of a picture, as it is and mirrored.

    Parameters
    ----------
    network : Network
    scales : sequence of int
        Keys of `dense.SIZES`.  Those that would enlarge a picture more than 1.5 times are left out, except the first.
    fine : bool
        Whether the last pool is taken at all offsets.
    """

    def __init__(self, network: Network, scales: Sequence[int] = SCALES, *, fine: bool = True) -> None:
        self.dense = Dense(network, scales, fine=fine, most_enlarged=_MOST_ENLARGED)
        self.network = self.dense.network
        sizes = self.dense.sizes(*USUAL_SIZE)
        self.side, self.pixels = min(sizes[-1]), sum(height * width for height, width in sizes)

    def usual_batch(self) -> int:
        """Give the pictures of a batch; see `Dense.usual_batch`."""
        return self.dense.usual_batch()

    def prepare(self, pixels: Array) -> tuple[Array, ...]:
        """Scale a picture to each scale."""
        _check(pixels)
        return self.dense.prepare(pixels)

    def begin(self, pictures: Sequence[Sequence[Array]]) -> Callable[[], list[Looks]]:
        """Begin to look at pictures; see `Views`."""
        wait = self.dense.begin(pictures)
        return lambda: [self._looks(maps) for maps in wait()]

    def _looks(self, maps: Sequence[ClassMap]) -> Looks:
        found = [self._find(each) for each in maps]
        told: list[dict[str, object]] = [{"scale": each.scale, "mirror": each.mirrored} for each in maps]
        return Looks(np.stack([best for best, _ in found]), told, np.stack([windows for _, windows in found]))

    def _find(self, each: ClassMap) -> tuple[FloatArray, Array]:
        """Give the highest probability of each class on a map, and the window that has it."""
        rows, columns, classes = each.scores.shape
        probabilities = softmax(each.scores.reshape(-1, classes), np, axis=1)
        if each.mirrored:
            probabilities = probabilities[:, seen_in_mirror(self.network.topology, classes)]
        places = probabilities.argmax(axis=0)
        windows = each.windows().reshape(rows * columns, 4)[places]
        return probabilities.max(axis=0), windows


def open_views(
    network: Network, kind: str, scales: Sequence[int] = SCALES, *, fine: bool = True
) -> Views[Looks] | None:
    """Give the views of a kind, "ten" or "dense"; None for any other."""
    if kind == "dense":
        return DenseViews(network, scales, fine=fine)
    return Ten(network) if kind == "ten" else None


def seen_in_mirror(topology: Topology, classes: int) -> Array:
    """Give for each class the one that its mirror image shows."""
    seen = np.arange(classes)
    for one, other in topology.mirrored_classes:
        seen[[one, other]] = other, one
    return seen


def _check(pixels: Array) -> None:
    if not pixels.size:
        height, width = pixels.shape[:2]
        raise ImageError(f"{width}x{height} has no pixels")
