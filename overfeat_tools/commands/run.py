"""What the commands that run a network share: open it, answer picture after picture, tell of the run."""

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter, process_time

import numpy as np

from overfeat_tools import cli
from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.backend.machine import processors, threads_with_room
from overfeat_tools.errors import ImageError, MemoryShortageError
from overfeat_tools.networks import opening
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.tables import describe_plans
from overfeat_tools.pictures import (
    Batches,
    Item,
    Task,
    Wanted,
    colour,
    core_seconds,
    find_sources,
    fitted,
    read_undecoded,
    seconds_of_threads,
    tasks,
)
from overfeat_tools.results.table import table

STAGES = "read", "decode", "fit", "compute", "write"

Results = Iterable[tuple[Item, FloatArray | ImageError]]


def open_network(options: cli.NetworkOptions) -> Network:
    """Open the network that the options name, on the device that they name."""
    asked = options
    return opening.open_network(
        asked.name, asked.folder, asked.device, asked.threads, asked.method, reproducible=asked.reproducible
    )


@dataclass
class Run:
    """One run of a program's network over pictures: batches in, answers out, failures counted.

    `prepare` brings a picture (H, W, 3) to what the network takes, or raises ImageError; several threads call it at a
    time.  `decode_side` is the side it scales to, where files may be decoded smaller.  `answer` prints a picture's
    result on standard output; `fail` prints its error there, if errors belong there.
    """

    program: str
    options: cli.NetworkOptions
    network: Network
    last: int
    prepare: Callable[[Array], Array]
    answer: Callable[[Item, FloatArray], None]
    fail: Callable[[Item, ImageError], None]
    decode_side: int | None = None
    start: float = field(default_factory=perf_counter)
    core_seconds_before: float = field(default_factory=process_time)
    seconds: dict[str, float] = field(default_factory=dict)
    answered: int = 0
    failed: int = 0
    file: str | None = None
    files_begun: int = 0
    batches: int = 0

    def carry_out(self, files: Sequence[str]) -> int:
        """Answer every picture of the files and, with -v, tell of the run; return the exit status."""
        cli.started()
        try:
            status = self.over(files)
            self.network.ledger.close()
            return status
        finally:
            if self.options.verbose and sys.exc_info()[0] in (None, KeyboardInterrupt):
                for line in self.summary():
                    cli.say(self.program, line)

    def over(self, files: Sequence[str]) -> int:
        """Answer every picture of the files, in order; return the exit status."""
        progress = cli.Progress(self.program, wanted=sys.stdout is not None and not sys.stdout.isatty())
        total = 0 if "-" in files or self.options.names_from or self.options.recursive else len(files)
        side = self.network.topology.input_size
        most = self.options.batch or self.network.usual_batch()
        decoders = threads_with_room(self.options.threads or processors())
        batches = Batches(self._read(files), most, most * side * side, decoders)
        begun: deque[Callable[[], Results]] = deque()
        try:
            for batch in batches:
                begun.append(self._begin(batch))
                # A batch may compute while the next is brought, but none waits for one that is not there yet.
                while begun and (len(begun) > self.network.backend.ahead or not batches.ready):
                    for item, result in begun.popleft()():
                        self._pass_on(item, result)
                        progress.update(lambda: self._so_far(total))
                        if self.options.strict and self.failed:
                            return ImageError.exit_status
        finally:
            batches.stop()
        return ImageError.exit_status if self.failed else 0

    def _read(self, files: Sequence[str]) -> Iterator[Item | Task]:
        asked = self.options
        sources = find_sources(files, asked.names_from, recursive=asked.recursive)
        background = None if asked.background is None else colour(asked.background)
        wanted = Wanted(self.decode_side, asked.most_frames, background)
        pictures = read_undecoded(sources, self.seconds, wanted, partial(cli.say, self.program))
        return tasks(pictures, self._finish, self.seconds)

    def _finish(self, item: Item) -> Item:
        item = fitted(item, self.prepare, self.seconds)
        return item.failed(ImageError(item.warning)) if self.options.strict and item.warning else item

    def _begin(self, batch: list[Item]) -> Callable[[], Results]:
        """Begin to compute a batch; give a function that gives its results."""
        if batch[0].error is not None:
            failed = [(batch[0], batch[0].error)]
            return lambda: failed
        try:
            with core_seconds(self.seconds, "compute"):
                wait = self._compute(batch)
        except MemoryShortageError as error:
            shortage = error.with_traceback(None)  # which would keep the arrays of the failed run
            return lambda: self._in_parts(batch, shortage)
        return lambda: zip(batch, self._waited_for(wait), strict=True)

    def _waited_for(self, wait: Callable[[], FloatArray]) -> FloatArray:
        with core_seconds(self.seconds, "compute"):
            return wait()

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
        self.network.check_memory(len(batch), height, width, self.last)
        with contextlib.suppress(MemoryError):
            return self.network.begin(np.stack(stack), self.last)
        # Not raised from the other one, which holds what the run had taken.
        raise MemoryShortageError(f"{width}x{height}: not enough memory")

    def _pass_on(self, item: Item, result: FloatArray | ImageError) -> None:
        self.files_begun += item.file != self.file
        self.file = item.file
        if isinstance(result, ImageError):
            self.failed += 1
            self.fail(item, result)
        else:
            self.answered += 1
            with core_seconds(self.seconds, "write"):
                self.answer(item, result)
        if trouble := result if isinstance(result, ImageError) else item.warning:
            cli.say(self.program, f"{item.place}: {trouble}")

    def _so_far(self, files: int) -> str:
        """Tell of the run while it lasts."""
        done = self.answered + self.failed
        among = f", file {self.files_begun} of {files}" if files else ""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"picture {done}{among}, {done / (perf_counter() - self.start):.1f} a second{failed}"

    def summary(self) -> list[str]:
        """Tell of the run, a line each: what was computed where, and the time it took."""
        whole = perf_counter() - self.start
        seconds = dict.fromkeys(STAGES, 0.0) | self.seconds  # a copy: others may still be counting
        seconds["compute"] += seconds_of_threads("overfeat")
        seconds["all"] = process_time() - self.core_seconds_before
        backend = self.network.backend
        lines = [
            f"{self.network.topology.name} on {backend}",
            f"pictures answered: {self.answered} in {whole:.2f} s, {self.answered / whole:.1f} a second",
            f"batches: {self.batches}; pictures failed: {self.failed}",
            "core-seconds: " + ", ".join(f"{stage} {spent:.2f}" for stage, spent in seconds.items()),
        ]
        return lines + (table(describe_plans(self.network)).splitlines() if self.batches else [])
