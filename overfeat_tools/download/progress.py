"""How far a long job is: the one door to rich.

A bar with rate and time left on a terminal; a line every tenth where stderr is a file; or nothing.
"""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import TaskID


class Progress(Protocol):
    """What a job tells of itself: `begin`, any number of `reach`, `end`."""

    def begin(self, what: str, total: int | None, done: int = 0, *, brief: bool = False) -> None:
        """Start a job of `total` bytes, `done` of which are done; a brief one is nothing for a log."""

    def reach(self, done: int) -> None:
        """Tell that the first `done` bytes are done."""

    def end(self) -> None:
        """Stop, done or not."""


class Silence:
    """Nothing is shown."""

    def begin(self, what: str, total: int | None, done: int = 0, *, brief: bool = False) -> None:
        """Start."""

    def reach(self, done: int) -> None:
        """Go on."""

    def end(self) -> None:
        """Stop."""


class Lines:
    """A line for each tenth: for logs.

    Parameters
    ----------
    tell : callable
        Prints a line.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._what, self._total, self._tenth = "", 0, 0

    def begin(self, what: str, total: int | None, done: int = 0, *, brief: bool = False) -> None:
        """Start; of a brief job, or one without a known size, nothing is told."""
        self._what, self._total = what, 0 if brief else total or 0
        self._tenth = 10 * done // self._total if self._total else 0

    def reach(self, done: int) -> None:
        """Print a line when another tenth is full."""
        tenth = 10 * done // self._total if self._total else 0
        if tenth > self._tenth:
            self._tenth = tenth
            self._tell(f"{self._what}: {tenth}0 % of {self._total / 1e6:.0f} MB")

    def end(self) -> None:
        """Stop."""


class Bar:
    """A bar that redraws itself on the terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as RichProgress

        def make() -> RichProgress:
            return RichProgress(
                TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), DownloadColumn(),
                TransferSpeedColumn(), TimeRemainingColumn(),
                console=Console(file=sys.stderr, highlight=False), transient=True, redirect_stderr=False,
                redirect_stdout=False,
            )  # fmt: skip

        self._make = make
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def begin(self, what: str, total: int | None, done: int = 0, *, brief: bool = False) -> None:  # noqa: ARG002
        """Show the bar, of a brief job too."""
        self.end()
        self._bar = self._make()
        self._task = self._bar.add_task(what, total=total, completed=done)
        self._bar.start()

    def reach(self, done: int) -> None:
        """Move the bar."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)

    def end(self) -> None:
        """Wipe the bar out, so that a message has the line to itself."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def choose(tell: Callable[[str], None], *, quiet: bool) -> Progress:
    """Choose what suits stderr."""
    if quiet or sys.stderr is None:
        return Silence()
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Bar()
    return Lines(tell)
