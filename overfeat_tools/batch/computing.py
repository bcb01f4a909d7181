"""From pictures to results, in batches that depend on the list of pictures alone, never on when they came.

Pictures of one size are computed together; results come in the order of the pictures.  How many wait for others of
their size is bounded, by their pixels: maps grow with them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.batch.rows import NO_MEMORY, Row
from overfeat_tools.errors import MemoryShortageError
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.parts import begin_in_parts, begin_layers

_BATCHES_AHEAD = 8


@dataclass
class Result:
    """What was computed of a picture: a map (H, W, C), and the probabilities of classes if they were asked for."""

    values: FloatArray
    probabilities: FloatArray | None = None


class Compute(Protocol):
    """Begins to compute pictures (H, W, 3) of one size on a network; gives what waits for the result of each."""

    def __call__(self, network: Network, pictures: Sequence[Array]) -> Callable[[], Iterable[Result]]:
        """Begin a batch."""


@dataclass(frozen=True)
class Layers:
    """Computes a layer, and the probabilities of classes."""

    number: int
    classes: bool = False

    def __call__(self, network: Network, pictures: Sequence[Array]) -> Callable[[], Iterable[Result]]:
        """Begin a batch."""
        last = network.topology.last_layer
        numbers = (self.number, last) if self.classes else (self.number,)
        wait = begin_layers(network, tuple(dict.fromkeys(numbers)), pictures)
        return lambda: [Result(maps[self.number], maps[last][0, 0] if self.classes else None) for maps in wait()]


@dataclass(eq=False)
class _Slot:
    """A picture's place in the order of results."""

    row: Row
    pixels: Array | None = None
    result: Result | None = None
    kept: bool = False
    ready: bool = False
    size: int = 0


class Computation:
    """The computation of one shard.

    Parameters
    ----------
    network : Network
    compute : Compute
    most : int
        The most pictures of a batch.
    emit : callable
        Takes each row with its result, None for a picture that failed, in order.
    keep : callable
        Takes each row that was there before, in the same order.
    """

    def __init__(
        self, network: Network, compute: Compute, most: int,
        emit: Callable[[Row, Result | None], None], keep: Callable[[Row], None],
    ) -> None:  # fmt: skip
        self._network, self._compute, self._most = network, compute, most
        self._emit, self._keep = emit, keep
        self._most_pixels = most * network.topology.input_size**2
        self._slots: deque[_Slot] = deque()
        self._pixels = 0  # of all slots
        self._waiting: dict[object, list[_Slot]] = {}
        self._begun: deque[tuple[list[_Slot], Callable[[], Iterable[Result | MemoryShortageError]]]] = deque()

    def keep(self, row: Row) -> None:
        """Take a row whose result is there."""
        self._slots.append(_Slot(row, kept=True, ready=True))
        self._hand_on()

    def add(self, row: Row, pixels: Array | None) -> None:
        """Take a picture, or one that failed and has no pixels."""
        slot = _Slot(row, pixels, ready=pixels is None)
        self._slots.append(slot)
        if pixels is None:
            self._hand_on()
            return
        kind = pixels.shape, pixels.dtype.str
        slot.size = pixels.shape[0] * pixels.shape[1]
        self._pixels += slot.size
        group = self._waiting.setdefault(kind, [])
        group.append(slot)
        if len(group) >= self._most or (len(group) + 1) * slot.size > self._most_pixels:
            self._begin(kind)
        while self._pixels > _BATCHES_AHEAD * self._most_pixels and (self._waiting or self._begun):
            self._hurry()

    def finish(self) -> None:
        """Compute what is left."""
        while self._slots:
            self._hurry()

    def _hurry(self) -> None:
        """Bring on what all others wait for."""
        first = self._slots[0]
        if first.pixels is not None and not any(first in group for group, _ in self._begun):
            self._begin((first.pixels.shape, first.pixels.dtype.str))
        self._end(0)

    def _begin(self, kind: object) -> None:
        group = self._waiting.pop(kind)
        pictures = [slot.pixels for slot in group if slot.pixels is not None]
        self._begun.append((group, begin_in_parts(partial(self._compute, self._network), pictures)))
        self._end(self._network.backend.ahead)

    def _end(self, ahead: int) -> None:
        """Wait for batches that were begun, all but so many, and hand their results on."""
        while len(self._begun) > ahead:
            group, wait = self._begun.popleft()
            for slot, result in zip(group, wait(), strict=True):
                if isinstance(result, MemoryShortageError):
                    slot.row = replace(slot.row, status=NO_MEMORY, error=str(result))
                else:
                    slot.result = result
                slot.pixels, slot.ready = None, True
        self._hand_on()

    def _hand_on(self) -> None:
        while self._slots and self._slots[0].ready:
            slot = self._slots.popleft()
            self._pixels -= slot.size
            if slot.kept:
                self._keep(slot.row)
            else:
                self._emit(slot.row, slot.result)
