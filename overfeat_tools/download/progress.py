"""How a run reports: lines of log and, on a terminal, progress bars.  The one door to rich."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Reporter:
    """Where a run reports to: a function that prints a line, and whether to show progress bars."""

    log: Callable[[str], None]
    bars: bool = False

    @contextmanager
    def progress(self, description: str, total: int | None, completed: int = 0) -> Iterator[Callable[[int], None]]:
        """Show a bar while the block runs; give it a function to call with the number of bytes just done."""
        from rich import console, progress

        columns = (*progress.Progress.get_default_columns(), progress.DownloadColumn(), progress.TransferSpeedColumn())
        stderr = console.Console(stderr=True, highlight=False)
        with progress.Progress(*columns, console=stderr, transient=True, disable=not self.bars) as bar:
            task = bar.add_task(description, total=total, completed=completed)
            yield lambda count: bar.advance(task, count)
