"""What the commands that run a network share: open it, answer picture after picture, tell of the run."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from overfeat_tools import cli
from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.backend.machine import processors, threads_with_room
from overfeat_tools.errors import ImageError
from overfeat_tools.networks import opening
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.parts import Begin, Given, begin_batch, begin_in_parts
from overfeat_tools.networks.tables import describe_plans
from overfeat_tools.pictures import (
    Batches,
    Item,
    Prepare,
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

if TYPE_CHECKING:
    from overfeat_tools.networks.views import Views

STAGES = "read", "decode", "fit", "compute", "write"

Result = Any
"""A map, or what several views saw."""

Results = Iterable[tuple[Item, Result | ImageError]]


def open_network(options: cli.NetworkOptions) -> Network:
    """Open the network that the options name, on the device that they name."""
    asked = options
    return opening.open_network(
        asked.name, asked.folder, asked.device, asked.threads, asked.method,
        reproducible=asked.reproducible, precision=asked.precision,
    )  # fmt: skip


@dataclass
class Run:
    """One run of a program's network over pictures: batches in, answers out, failures counted.

    `prepare` brings a picture (H, W, 3) to what the network takes, or raises ImageError; several threads call it at a
    time.  `decode_side` is the side it scales to, where files may be decoded smaller.  `answer` prints a picture's
    result on standard output; `fail` prints its error there, if errors belong there.  Where there are `views`, they
    have made `prepare` and compute the results; else `results` makes those of a batch's maps (N, H, W, C).
    """

    program: str
    options: cli.NetworkOptions
    network: Network
    last: int
    prepare: Prepare
    answer: Callable[[Item, Any], None]
    fail: Callable[[Item, ImageError], None]
    decode_side: int | None = None
    views: "Views[Any] | None" = None
    results: Callable[[FloatArray], Iterable[Result]] = iter
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
        if self.network.backend.is_cold:
            cli.say(self.program, "the first answer takes some seconds more, once: the card's kernels are compiled")
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
        most = self.options.batch or (self.views or self.network).usual_batch()
        pixels = self.views.pixels if self.views else self.network.topology.input_size**2
        decoders = threads_with_room(self.options.threads or processors())
        # Nothing is packed for a single picture: the first answer comes soon, and kernels are packed once, for many.
        batches = Batches(self._read(files), most, most * pixels, decoders, first=1)
        begun: deque[Callable[[], Results]] = deque()
        try:
            for batch in batches:
                begun.append(self._begin(batch))
                # A batch may compute while the next is brought, but none waits for one that is not there yet.
                while begun and (len(begun) > self.network.backend.ahead or not batches.ready):
                    with cli.gathered() as flush:
                        for item, result in begun.popleft()():
                            self._pass_on(item, result)
                            progress.update(lambda: self._so_far(total))
                            if self.options.strict and self.failed:
                                return ImageError.exit_status
                        with core_seconds(self.seconds, "write"):
                            flush()
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
        if self.views:
            wait = begin_in_parts(partial(self._timed, self.views.begin), [item.views for item in batch])
        else:
            pictures = [item.pixels for item in batch if item.pixels is not None]
            wait = begin_in_parts(partial(self._timed, self._begin_maps), pictures)
        return lambda: zip(batch, wait(), strict=True)

    def _timed(self, begin: Begin[Given, Result], pictures: Sequence[Given]) -> Callable[[], Iterable[Result]]:
        self.batches += 1
        with core_seconds(self.seconds, "compute"):
            wait = begin(pictures)
        return partial(self._waited_for, wait)

    def _waited_for(self, wait: Callable[[], Iterable[Result]]) -> Iterable[Result]:
        with core_seconds(self.seconds, "compute"):
            return wait()

    def _begin_maps(self, pictures: Sequence[Array]) -> Callable[[], Iterable[Result]]:
        wait = begin_batch(self.network, (self.last,), pictures)
        return lambda: self.results(wait()[self.last])

    def _pass_on(self, item: Item, result: Result | ImageError) -> None:
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
