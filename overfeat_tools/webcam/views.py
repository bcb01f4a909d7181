"""The ways to show an answer: a record, a picture in a stream, or the live screen."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from overfeat_tools.backend import Array
from overfeat_tools.cli import write
from overfeat_tools.pictures import Item
from overfeat_tools.results import ranking
from overfeat_tools.results.records import failure_record
from overfeat_tools.webcam.screen import Screen, taken_over


@dataclass(frozen=True)
class Answer:
    """A frame's classes, its age when they were known, and how the run goes."""

    item: Item
    pixels: Array
    best: ranking.Ranking
    age_seconds: float
    dropped: int
    a_second: float

    def status(self, network: str) -> str:
        """Tell how the run goes."""
        age_ms = round(1000 * self.age_seconds)
        return f"{network}  {self.a_second:.1f} pictures/s  age {age_ms} ms  {self.dropped} dropped"


class Records:
    """Prints a record a frame."""

    def __init__(self, form: str, *, header: bool) -> None:
        self._form = form
        if header:
            write(ranking.TSV_HEADING)

    def show(self, answer: Answer) -> None:
        """Print a frame's classes."""
        item = answer.item
        match self._form:
            case "text":
                write(ranking.ranking_text(answer.best))
            case "tsv":
                write(ranking.ranking_tsv(answer.best, item.number, item.file))
            case _:
                told: dict[str, Any] = {"dropped": answer.dropped, **item.told}
                told["age_seconds"] = round(answer.age_seconds, 4)
                write(ranking.ranking_json(answer.best, item.number, item.file, **told))

    def fail(self, item: Item) -> None:
        """Print what stands for a picture without classes."""
        if record := failure_record(
            self._form, item.number, item.file, ranking.TSV_HEADING, **item.told, error=str(item.error)
        ):
            write(record)

    def idle(self) -> bool:
        """Tell that nobody can ask for the end."""
        return False


class Drawing(Records):
    """Prints the frames themselves, PPM, with a panel below."""

    def __init__(self, network: str) -> None:
        super().__init__("text", header=False)
        self._network = network

    def show(self, answer: Answer) -> None:
        """Print a frame with its classes."""
        from overfeat_tools.pictures.annotation import annotated

        lines = [(item.name, probability) for item, probability in answer.best]
        drawn = annotated(as_bytes(answer.pixels), lines, answer.status(self._network))
        write(b"P6\n%d %d\n255\n" % (drawn.shape[1], drawn.shape[0]) + drawn.tobytes())


class Live:
    """Shows frames on a terminal."""

    def __init__(self, screen: Screen, network: str) -> None:
        self._screen, self._network = screen, network
        self._last: Answer | None = None

    def show(self, answer: Answer) -> None:
        """Show a frame with its classes, in place of the one before."""
        self._last = answer
        self._screen.show(as_bytes(answer.pixels), answer.best, answer.status(self._network) + "  q quits")

    def fail(self, item: Item) -> None:
        """Leave the last frame where it is."""

    def idle(self) -> bool:
        """Fit a window that has changed; tell whether q was typed."""
        if self._last and self._screen.is_stale:
            self.show(self._last)
        return self._screen.asked_to_end()


View: TypeAlias = Records | Live
"""What shows answers and failures; `idle` looks for other changes, and tells whether somebody wants the end."""


@contextmanager
def live(network: str, kind: str) -> Iterator[Live]:
    """Show frames on the terminal that is standard output, which is taken over in the meantime."""
    with taken_over() as terminal:
        yield Live(Screen(terminal, kind), network)


def as_bytes(pixels: Array) -> Array:
    """Round a picture to what screens show."""
    return pixels if pixels.dtype == np.uint8 else np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
