"""The loop of of-webcam: take the newest frame, answer it, show it."""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from overfeat_tools import cli
from overfeat_tools.errors import ImageError, OverfeatError
from overfeat_tools.networks import opening
from overfeat_tools.networks.classes import read_classes
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.preparation import to_one_answer
from overfeat_tools.pictures import Item, read_items
from overfeat_tools.results.ranking import rank
from overfeat_tools.webcam import views
from overfeat_tools.webcam.ffmpeg import Child, Source
from overfeat_tools.webcam.frames import Frame, NewestFrame

if TYPE_CHECKING:
    from overfeat_tools.backend import FloatArray
    from overfeat_tools.commands.webcam import Options

PROGRAM = "of-webcam"

# How long a camera may give nothing; and how long a key or a new size of the window may have to wait.
PATIENCE_SECONDS, _LOOK_SECONDS = 15.0, 0.05
_AGES_KEPT, _RATE_SECONDS = 1000, 1.0


def watch(options: "Options", source: Source) -> int:
    """Watch a source that ffmpeg reads, to its end; return the exit status."""
    with Child(source) as child:
        frames = NewestFrame(_named(read_items([child.path], {}), source.name))
        watching = Watching(options, frames, PATIENCE_SECONDS if source.is_live else None)
        watching.carry_out(source.name)
        if watching.came_to_end and (fault := child.fault(frames.read)):
            raise OverfeatError(f"{source.name}: {fault}")
    return 0


def _named(items: Iterator[Item], name: str) -> Iterator[Item]:
    """Give the frames that came whole, with the name of their source in place of the pipe's."""
    for item in items:
        if item.error:  # ffmpeg was cut off: why, it says itself
            return
        yield replace(item, file=name, place=f"{name}: picture {item.number}")


def watch_pictures(options: "Options") -> int:
    """Watch pictures on standard input, to their end; return the exit status."""
    told: list[str] = []
    watching = Watching(options, NewestFrame(read_items(["-"], {}, tell=told.append)), None)
    watching.carry_out("standard input")
    for line in told:
        cli.say(PROGRAM, line)
    return ImageError.exit_status if watching.failed else 0


class Watching:
    """Answers the newest frame, again and again."""

    def __init__(self, options: "Options", frames: NewestFrame, patience_seconds: float | None) -> None:
        self._options, self._frames, self._patience_seconds = options, frames, patience_seconds
        self._network = _open_network(options)
        self._classes = read_classes(self._network.topology)
        self._values: deque[FloatArray] = deque(maxlen=options.mean)
        self._moments: deque[float] = deque()
        self._ages: deque[float] = deque(maxlen=_AGES_KEPT)
        self._start = perf_counter()
        self.answered = self.failed = 0
        self.came_to_end = False
        self._faults: list[str] = []

    def carry_out(self, name: str) -> None:
        """Answer frames to the end of the source, or until somebody asks for the end."""
        try:
            with self._view() as view:
                self.came_to_end = self._over(view, name)
        finally:
            for fault in self._faults:
                cli.say(PROGRAM, fault)
            if self._options.verbose and sys.exc_info()[0] in (None, KeyboardInterrupt):
                for line in self._summary():
                    cli.say(PROGRAM, line)

    def _view(self) -> AbstractContextManager[views.View]:
        options = self._options
        if options.is_live:
            return views.live(options.name, options.graphics)
        if options.draw:
            return nullcontext(views.Drawing(options.name))
        return nullcontext(views.Records(options.form or "text", header=options.header))

    def _over(self, view: views.View, name: str) -> bool:
        """Answer frames; tell whether the source came to its end."""
        waited = 0.0
        while not view.idle():
            frame = self._frames.take(_LOOK_SECONDS)
            if frame:
                waited = 0.0
                self._answer(frame, view)
            elif self._frames.ended:
                return True
            else:  # counted and not measured: the program may have been stopped in the meantime
                waited += _LOOK_SECONDS
                if self._patience_seconds and waited > self._patience_seconds:
                    raise OverfeatError(f"{name}: no picture for {self._patience_seconds:g} seconds")
        return False

    def _answer(self, frame: Frame, view: views.View) -> None:
        item, topology = frame.item, self._network.topology
        try:
            if item.error or item.pixels is None:
                raise item.error or ImageError("no pixels")
            fitted = to_one_answer(item.pixels, topology, topology.input_size)
        except ImageError as error:
            self._fail(item.failed(error), view)
            return
        self._values.append(self._network.run(fitted[None])[0, 0, 0])
        best = rank(np.mean(self._values, axis=0), self._classes, self._options.count)
        age_seconds = perf_counter() - frame.arrived
        self.answered += 1  # before it is seen: whoever stops the program then counts with it
        view.show(views.Answer(item, item.pixels, best, age_seconds, self._frames.dropped, self._a_second()))
        self._ages.append(perf_counter() - frame.arrived)
        if item.warning:
            self._tell(f"{item.place}: {item.warning}")

    def _fail(self, item: Item, view: views.View) -> None:
        self.failed += 1
        view.fail(item)
        self._tell(f"{item.place}: {item.error}")

    def _tell(self, line: str) -> None:
        """Say a line; on a terminal that is taken over, the last one when it is given back."""
        if self._options.is_live:
            self._faults = [line]
        else:
            cli.say(PROGRAM, line)

    def _a_second(self) -> float:
        """Count this answer; give how many there are a second."""
        now = perf_counter()
        self._moments.append(now)
        while len(self._moments) > 2 and now - self._moments[0] > _RATE_SECONDS:  # noqa: PLR2004 -- two ends
            self._moments.popleft()
        return (len(self._moments) - 1) / (now - self._moments[0] or 1.0)

    def _summary(self) -> list[str]:
        seconds, frames = perf_counter() - self._start, self._frames
        lines = [
            f"{self._network.topology.name} on {self._network.backend}",
            f"frames answered: {self.answered} in {seconds:.2f} s, {self.answered / seconds:.1f} a second",
            f"frames dropped: {frames.dropped}; pictures failed: {self.failed}",
        ]
        if self._ages:
            lines.append(f"median time from a frame to its answer: {1000 * median(self._ages):.1f} ms")
        return lines


def _open_network(options: "Options") -> Network:
    open_network = partial(opening.open_network, options.name, options.folder, options.device)
    network = open_network(
        options.threads, options.method, reproducible=options.reproducible, precision=options.precision
    )
    side = network.topology.input_size
    network.check_memory(1, side, side)
    return network
