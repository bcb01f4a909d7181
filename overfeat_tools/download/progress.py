"""How a run reports: lines of log and, on a terminal, a progress line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from overfeat_tools import cli


@dataclass(frozen=True)
class Reporter:
    """Where a run reports to: a function that prints a line, and whether to show progress."""

    log: Callable[[str], None]
    shows_progress: bool = False

    @contextmanager
    def progress(self, description: str, total: int | None, completed: int = 0) -> Iterator[Callable[[int], None]]:
        """Show progress while the block runs; give it a function to call with the number of bytes just done."""
        line, start, done = cli.Progress("of-download", wanted=self.shows_progress), perf_counter(), completed

        def so_far() -> str:
            speed = (done - completed) / (perf_counter() - start)
            rest = f" of {total / 1e6:.1f}" if total else ""
            left = f", {(total - done) / speed:.0f} s left" if total and speed else ""
            return f"{description} {done / 1e6:.1f}{rest} MB, {speed / 1e6:.1f} MB/s{left}"

        def advance(count: int) -> None:
            nonlocal done
            done += count
            line.update(so_far)

        try:
            yield advance
        finally:
            line.erase()
