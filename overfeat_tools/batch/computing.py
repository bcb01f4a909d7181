"""From pictures to results, in batches that depend on the list of pictures alone, never on when they came.

Pictures of one size are computed together; results come in the order of the pictures.  How many wait for others of
their size is bounded, by their pixels: maps grow with them.
"""

import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.batch.rows import NO_MEMORY, Row
from overfeat_tools.errors import MemoryShortageError
from overfeat_tools.networks.network import Network

_BATCHES_AHEAD = 8


@dataclass
class Result:
    """What was computed of a picture: a map (H, W, C), and the probabilities of classes if they were asked for."""

    values: FloatArray
    probabilities: FloatArray | None = None


class Compute(Protocol):
    """Runs a batch (N, H, W, 3) on a network; gives what waits for the results, of which each picture has one."""

    def __call__(self, network: Network, pictures: Array) -> Callable[[], list[Result]]:
        """Begin a batch."""

    def numbers(self, network: Network) -> list[int]:
        """Give the numbers of the layers that it takes."""


@dataclass(frozen=True)
class Layers:
    """Computes a layer, and the probabilities of classes."""

    number: int
    classes: bool = False

    def __call__(self, network: Network, pictures: Array) -> Callable[[], list[Result]]:
        """Begin a batch."""
        begun = network.begin_layers(pictures, self.numbers(network))

        def wait() -> list[Result]:
            maps = begun()
            if not self.classes:
                return list(map(Result, maps[self.number]))
            probabilities = maps[network.topology.last_layer][:, 0, 0]
            return list(map(Result, maps[self.number], probabilities))

        return wait

    def numbers(self, network: Network) -> list[int]:
        """Give the numbers of the layers, each once."""
        return list(dict.fromkeys([self.number, network.topology.last_layer] if self.classes else [self.number]))


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
        self._begun: deque[tuple[list[_Slot], Callable[[], list[Result]]]] = deque()

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
        self._begun += self._parts(group)
        self._end(self._network.backend.ahead)

    def _parts(self, group: list[_Slot]) -> list[tuple[list[_Slot], Callable[[], list[Result]]]]:
        """Begin to compute a group, or, where there is no memory for it, each half of it."""
        try:
            return [(group, self._run(group))]
        except MemoryShortageError as error:
            if len(group) == 1:
                group[0].row = replace(group[0].row, status=NO_MEMORY, error=str(error))
                group[0].pixels, group[0].ready = None, True
                return []
        self._end(0)
        middle = len(group) // 2
        return [part for half in (group[:middle], group[middle:]) for part in self._parts(half)]

    def _run(self, group: list[_Slot]) -> Callable[[], list[Result]]:
        stack = [slot.pixels for slot in group if slot.pixels is not None]
        height, width = stack[0].shape[:2]
        self._network.check_memory(len(stack), height, width, *self._compute.numbers(self._network))
        with contextlib.suppress(MemoryError):
            return self._compute(self._network, np.stack(stack))
        # Not raised from the other one, which holds what the run had taken.
        raise MemoryShortageError(f"{width}x{height}: not enough memory")

    def _end(self, ahead: int) -> None:
        """Wait for batches that were begun, all but so many, and hand their results on."""
        while len(self._begun) > ahead:
            group, wait = self._begun.popleft()
            for slot, result in zip(group, wait(), strict=True):
                slot.result, slot.pixels, slot.ready = result, None, True
        self._hand_on()

    def _hand_on(self) -> None:
        while self._slots and self._slots[0].ready:
            slot = self._slots.popleft()
            self._pixels -= slot.size
            if slot.kept:
                self._keep(slot.row)
            else:
                self._emit(slot.row, slot.result)
