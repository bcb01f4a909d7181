"""The loop of every command that runs a network: batches in, answers out, failures counted."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeVar

import numpy as np

from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.errors import ImageError, MemoryShortageError
from overfeat_tools.networks.network import Network
from overfeat_tools.pictures import Batches, Item, prepared, read_items

# Besides a layer's input and output, twice: unfolded patches, spectra of a round of tiles.
_WORKSPACE_BYTES = 256 << 20

T = TypeVar("T")

Results = Iterable[tuple[Item, FloatArray | ImageError]]


@dataclass
class Run:
    """One run of a network over pictures.

    `prepare` brings a picture (H, W, 3) to what the network takes, or raises ImageError; it is called
    in the reader's thread.  `decode_side` is the side it scales to, where files may be decoded smaller.
    `answer` prints a picture's result, `report` a picture's error.
    """

    network: Network
    last: int
    prepare: Callable[[Array], Array]
    answer: Callable[[Item, FloatArray], None]
    report: Callable[[Item, ImageError], None]
    flush: Callable[[], None]
    most_pictures: int = 64
    strict: bool = False
    decode_side: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    answered: int = 0
    failed: int = 0
    batches: int = 0

    def over(self, files: Sequence[str]) -> int:
        """Answer every picture of the files, in order; return the exit status."""
        start = perf_counter()
        side = self.network.topology.input_size
        items = prepared(read_items(files, self.seconds, self.decode_side), self.prepare, self.seconds)
        batches = Batches(items, self.most_pictures, self.most_pictures * side * side)
        begun: deque[Callable[[], Results]] = deque()
        try:
            for batch in batches:
                begun.append(self._begin(batch))
                # A batch may compute while the next is brought, but none waits for one that is not there yet.
                while begun and (len(begun) > self.network.backend.ahead or not batches.ready):
                    for item, result in begun.popleft()():
                        self._pass_on(item, result)
                        if self.strict and self.failed:
                            return ImageError.exit_status
                    self._timed("write", self.flush)
        finally:
            batches.stop()
            self.seconds["whole"] = perf_counter() - start
        return ImageError.exit_status if self.failed else 0

    def _begin(self, batch: list[Item]) -> Callable[[], Results]:
        """Begin to compute a batch; give a function that gives its results."""
        if batch[0].error is not None:
            failed = [(batch[0], batch[0].error)]
            return lambda: failed
        try:
            wait = self._timed("compute", lambda: self._compute(batch))
        except MemoryShortageError as error:
            shortage = error.with_traceback(None)  # which would keep the arrays of the failed run
            return lambda: self._in_parts(batch, shortage)
        return lambda: zip(batch, self._timed("compute", wait), strict=True)

    def _in_parts(
        self, batch: list[Item], shortage: MemoryShortageError
    ) -> Iterator[tuple[Item, FloatArray | ImageError]]:
        """Compute each half of a batch that was too large, after all that was begun before it."""
        if len(batch) == 1:
            yield batch[0], shortage
            return
        middle = len(batch) // 2
        for part in (batch[:middle], batch[middle:]):
            yield from self._begin(part)()

    def _compute(self, batch: list[Item]) -> Callable[[], FloatArray]:
        self.batches += 1
        stack = [item.pixels for item in batch if item.pixels is not None]
        height, width = stack[0].shape[:2]
        check_memory(self.network, self.last, len(batch), height, width)
        with contextlib.suppress(MemoryError):
            pictures = np.stack(stack)
            return self.network.begin(pictures.transpose(0, 3, 1, 2), self.last)
        # Not raised from the other one, which holds what the run had taken.
        message = f"{width}x{height}: not enough memory"
        raise MemoryShortageError(message)

    def _pass_on(self, item: Item, result: FloatArray | ImageError) -> None:
        if isinstance(result, ImageError):
            self.failed += 1
            self.report(item, result)
        else:
            self.answered += 1
            self._timed("write", lambda: self.answer(item, result))

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        start = perf_counter()
        try:
            return work()
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - start


def check_memory(network: Network, last: int, pictures: int, height: int, width: int) -> None:
    """Refuse a batch whose maps don't fit in the memory that is free, before they are begun.

    Raises
    ------
    MemoryShortageError
        They don't.
    """
    sizes = [4 * c * h * w for c, h, w in [(3, height, width), *network.topology.shapes(height, width)[: last + 1]]]
    needed = pictures * max(a + b for a, b in zip(sizes, [*sizes[1:], 0], strict=True))
    needed += 2 * network.backend.at_once(_WORKSPACE_BYTES)
    free = network.backend.free_bytes()
    if free is not None and needed > free:
        message = f"{width}x{height} needs {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
        raise MemoryShortageError(message)
