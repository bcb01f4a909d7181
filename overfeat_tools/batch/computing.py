"""From pictures to results, in batches that depend on the list of pictures alone, never on when they came.

Pictures of one size are computed together; results come in the order of the pictures.  How many wait for others of
their size is bounded, by their pixels: maps grow with them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from overfeat_tools.backend import FloatArray
from overfeat_tools.batch.rows import NO_MEMORY, Row, Shown
from overfeat_tools.errors import MemoryShortageError
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.opening import open_network
from overfeat_tools.networks.parts import begin_in_parts, begin_layers
from overfeat_tools.networks.views import Looks, Views, open_views

_BATCHES_AHEAD = 8


@dataclass
class Result:
    """What was computed of a picture: maps (C, H, W), and the probabilities of classes if they were asked for."""

    maps: Sequence[FloatArray]
    probabilities: FloatArray | None = None


Begin = Callable[[Sequence[Shown]], Callable[[], Iterable[Result]]]
"""Begins to compute pictures of the same sizes; gives what waits for the result of each."""


@dataclass(frozen=True)
class Looking:
    """A kind of views, `ten` or `dense`, for any process to open; it needs the weights only where it computes."""

    kind: str
    network: str
    folder: str | Path | None

    def open(self, network: Network | None = None) -> Views[Looks]:
        """Open the views, on a network or to prepare pictures only."""
        views = open_views(network or open_network(self.network, self.folder, "cpu", 1), self.kind)
        assert views  # noqa: S101 -- for the type checker: it is one of two kinds
        return views


@dataclass(frozen=True)
class Layers:
    """What to compute: outputs of layers, and the probabilities of classes, of the same picture or of views of it."""

    numbers: tuple[int, ...]
    classes: bool = False
    looking: Looking | None = None

    def on(self, network: Network) -> "Work":
        """Give what computes them on a network."""
        side, most = network.topology.input_size, network.usual_batch()
        if self.looking is None:
            return Work(partial(self._begin, network), most, side**2)
        views = self.looking.open(network)
        begin = partial(self._begin_with_views, network, views)
        return Work(begin, min(most, views.usual_batch()), side**2 + views.pixels)

    def _begin(self, network: Network, pictures: Sequence[Shown]) -> Callable[[], Iterable[Result]]:
        last = network.topology.last_layer
        numbers = (*self.numbers, last) if self.classes and self.looking is None else self.numbers
        wait = begin_layers(network, tuple(dict.fromkeys(numbers)), [shown[0] for shown in pictures])

        def results() -> Iterable[Result]:
            for maps in wait():
                found = [maps[number].transpose(2, 0, 1) for number in self.numbers]
                yield Result(found, maps[last][0, 0] if last in numbers and self.classes else None)

        return results

    def _begin_with_views(
        self, network: Network, views: Views[Looks], pictures: Sequence[Shown]
    ) -> Callable[[], Iterable[Result]]:
        wait, look = self._begin(network, pictures), views.begin([shown[1:] for shown in pictures])
        return lambda: [Result(result.maps, looks.mean) for result, looks in zip(wait(), look(), strict=True)]


@dataclass(frozen=True)
class Work:
    """What computes pictures: so many at a time usually, of so many pixels each."""

    begin: Begin
    usual_batch: int
    pixels: int


@dataclass(eq=False)
class _Slot:
    """A picture's place in the order of results."""

    row: Row
    shown: Shown | None = None
    result: Result | None = None
    kept: bool = False
    ready: bool = False
    size: int = 0
    kind: object = None


@dataclass(frozen=True)
class Done:
    """A row with its result, None for a picture that failed; or one that is `kept`, whose result was there before."""

    row: Row
    result: Result | None
    kept: bool


@dataclass
class Computation:
    """The computation of one shard.

    Parameters
    ----------
    work : Work
    most : int
        The most pictures of a batch.
    ahead : int
        How many batches may be begun before one is waited for.
    hand_on : callable
        Takes rows that are done, in order.
    """

    work: Work
    most: int
    ahead: int
    hand_on: Callable[[list[Done]], None]
    _slots: deque[_Slot] = field(default_factory=deque)
    _pixels: int = 0  # of all slots
    _waiting: dict[object, list[_Slot]] = field(default_factory=dict)
    _begun: deque[tuple[list[_Slot], Callable[[], Iterable[Result | MemoryShortageError]]]] = field(
        default_factory=deque
    )

    def keep(self, row: Row) -> None:
        """Take a row whose result is there."""
        self._slots.append(_Slot(row, kept=True, ready=True))
        self._hand_on()

    def add(self, row: Row, shown: Shown | None) -> None:
        """Take a picture, or one that failed and shows nothing."""
        slot = _Slot(row, shown, ready=shown is None)
        self._slots.append(slot)
        if shown is None:
            self._hand_on()
            return
        slot.kind = tuple((pixels.shape, pixels.dtype.str) for pixels in shown)
        slot.size = sum(pixels.shape[0] * pixels.shape[1] for pixels in shown)
        self._pixels += slot.size
        group = self._waiting.setdefault(slot.kind, [])
        group.append(slot)
        most_pixels = self.most * self.work.pixels
        if len(group) >= self.most or (len(group) + 1) * slot.size > most_pixels:
            self._begin(slot.kind)
        while self._pixels > _BATCHES_AHEAD * most_pixels and (self._waiting or self._begun):
            self._hurry()

    def finish(self) -> None:
        """Compute what is left."""
        while self._slots:
            self._hurry()

    def _hurry(self) -> None:
        """Bring on what all others wait for."""
        first = self._slots[0]
        if first.shown is not None and not any(first in group for group, _ in self._begun):
            self._begin(first.kind)
        self._end(0)

    def _begin(self, kind: object) -> None:
        group = self._waiting.pop(kind)
        pictures = [slot.shown for slot in group if slot.shown is not None]
        self._begun.append((group, begin_in_parts(self.work.begin, pictures)))
        self._end(self.ahead)

    def _end(self, ahead: int) -> None:
        """Wait for batches that were begun, all but so many, and hand their results on."""
        while len(self._begun) > ahead:
            group, wait = self._begun.popleft()
            for slot, result in zip(group, wait(), strict=True):
                if isinstance(result, MemoryShortageError):
                    slot.row = replace(slot.row, status=NO_MEMORY, error=str(result))
                else:
                    slot.result = result
                slot.shown, slot.ready = None, True
        self._hand_on()

    def _hand_on(self) -> None:
        done = []
        while self._slots and self._slots[0].ready:
            slot = self._slots.popleft()
            self._pixels -= slot.size
            done.append(Done(slot.row, slot.result, slot.kept))
        if done:
            self.hand_on(done)
