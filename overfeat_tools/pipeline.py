"""The loop of every command that runs a network: batches in, answers out, failures counted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeVar

import numpy as np

from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.errors import ImageError, MemoryShortageError
from overfeat_tools.network import Network
from overfeat_tools.stream import Batches, Item, prepared, read_items

# Besides a layer's input and output: unfolded patches, spectra of a round of tiles.
_WORKSPACE_BYTES = 512 << 20

T = TypeVar("T")


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
        try:
            for batch in batches:
                for item, result in self._results(batch):
                    self._pass_on(item, result)
                    if self.strict and self.failed:
                        return ImageError.exit_status
                self._timed("write", self.flush)
        finally:
            batches.stop()
            self.seconds["whole"] = perf_counter() - start
        return ImageError.exit_status if self.failed else 0

    def _results(self, batch: list[Item]) -> Iterator[tuple[Item, FloatArray | ImageError]]:
        if batch[0].error is not None:
            yield batch[0], batch[0].error
            return
        try:
            values = self._timed("compute", lambda: self._compute(batch))
        except MemoryShortageError as error:
            if len(batch) == 1:
                yield batch[0], error
                return
            middle = len(batch) // 2
            yield from self._results(batch[:middle])
            yield from self._results(batch[middle:])
        else:
            yield from zip(batch, values, strict=True)

    def _compute(self, batch: list[Item]) -> FloatArray:
        self.batches += 1
        stack = [item.pixels for item in batch if item.pixels is not None]
        height, width = stack[0].shape[:2]
        check_memory(self.network, self.last, len(batch), height, width)
        try:
            pictures = np.stack(stack)
            return self.network.run(pictures.transpose(0, 3, 1, 2), self.last)
        except MemoryError as error:
            message = f"{width}x{height}: not enough memory"
            raise MemoryShortageError(message) from error

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
    needed = pictures * max(a + b for a, b in zip(sizes, [*sizes[1:], 0], strict=True)) + _WORKSPACE_BYTES
    free = _available_bytes()
    if free is not None and needed > free:
        message = f"{width}x{height} needs {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
        raise MemoryShortageError(message)


def _available_bytes() -> int | None:
    """Give the memory that can be had without swapping, where the system says so (Linux)."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:  # noqa: PTH123 -- not worth importing pathlib
            kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    return int(kilobytes) * 1024
