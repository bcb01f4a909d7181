"""A line on the terminal that tells how far a run is: rewritten in place, and erased before anything else is printed.

Only a person who waits wants it: it needs a terminal that can erase, and a run that lasts.
"""

import contextlib
import math
import os
import sys
from collections.abc import Callable
from time import perf_counter

from overfeat_tools.cli.streams import show

PATIENCE_SECONDS = 2.0  # of who waits without being told anything
_INTERVAL_SECONDS = 0.25


class Progress:
    """The progress line of a program, if it is wanted and standard error is a terminal that can show it."""

    def __init__(self, program: str, *, wanted: bool) -> None:
        shown = wanted and sys.stderr is not None and sys.stderr.isatty()
        shown = shown and os.environ.get("TERM") not in (None, "", "dumb")
        self._program = program
        self._next = perf_counter() + PATIENCE_SECONDS if shown else math.inf

    def update(self, tell: Callable[[], str]) -> None:
        """Show the text that `tell` gives, unless one was shown a moment ago."""
        now = perf_counter()
        if now < self._next:
            return
        self._next = now + _INTERVAL_SECONDS
        terminal = sys.stderr.fileno()
        with contextlib.suppress(OSError):  # it is nobody's: there is no job control
            if os.tcgetpgrp(terminal) != os.getpgrp():
                return  # in the background, where others use the terminal
        columns = 80
        with contextlib.suppress(OSError):
            columns = os.get_terminal_size(terminal).columns or columns
        show(f"{self._program}: {tell()}"[: columns - 1], transient=True)

    def erase(self) -> None:
        """Erase the line."""
        show("")
