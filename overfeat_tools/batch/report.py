"""What a person is told of a run: how far it is, what came of it, and a file with all failures."""

import sys
from time import perf_counter

from overfeat_tools import cli
from overfeat_tools.batch.job import Outcome
from overfeat_tools.batch.output import OWN, Output
from overfeat_tools.batch.rows import Tally
from overfeat_tools.results.records import unbroken

_INTERVAL_SECONDS = 60.0
_FEW = 64  # pictures, of which no time can be told yet


class Report:
    """Tells of a run on standard error.

    Parameters
    ----------
    program : str
    shards, files : int
        How much there is to do; 0 where nobody knows.  `files` are those that are no archives.
    quiet : bool
        Whether to tell of nothing but faults.
    """

    def __init__(self, program: str, shards: int, files: int, *, quiet: bool) -> None:
        self._program, self._shards, self._files, self._quiet = program, shards, files, quiet
        self._line = cli.Progress(program, wanted=not quiet)
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self.start = perf_counter()
        self._next = self.start + _INTERVAL_SECONDS
        self._rows = self._shards_done = self._before = 0
        self.tally, self.faults = Tally(), 0

    def row(self, *_: object) -> None:
        """Count a picture that was done now."""
        self._rows += 1
        self._tell()

    def shard(self, outcome: Outcome, *, count_rows: bool = False) -> None:
        """Count a shard; its pictures, too, if nobody else did."""
        self._shards_done += 1
        self.tally.join(outcome.tally)
        if count_rows:
            self._rows += outcome.tally.answered
        self._before = max(0, self.tally.answered + self.tally.kept + len(self.tally.failures) - self._rows)
        if outcome.fault:
            self.faults += 1
            cli.say(self._program, f"{outcome.fault}; not done")
        self._tell()

    def _tell(self) -> None:
        self._line.update(self._so_far)
        if not (self._quiet or self._terminal) and perf_counter() >= self._next:
            self._next += _INTERVAL_SECONDS
            cli.say(self._program, self._so_far())

    def _so_far(self) -> str:
        seconds = perf_counter() - self.start
        rate = self._rows / seconds
        done = self._before + self._rows
        of, left = "", None
        if self._files:
            of = f" of {self._files}"
            left = (self._files - done) / rate if self._rows > _FEW else None
        elif self._shards:
            of = f", shard {min(self._shards_done + 1, self._shards)} of {self._shards}"
            left = seconds / self._shards_done * (self._shards - self._shards_done) if self._shards_done else None
        failed = f", {len(self.tally.failures)} failed" if self.tally.failures else ""
        return f"{done} pictures{of}{failed}, {rate:.1f} a second{'' if left is None else f', {_time(left)} left'}"

    def summary(self) -> str:
        """Tell what came of it."""
        tally, seconds = self.tally, max(perf_counter() - self.start, 1e-9)
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.kinds.items()))
        parts = [f"{tally.answered} done"]
        parts += [f"{tally.kept} done before"] if tally.kept else []
        parts += [f"{len(tally.failures)} failed ({kinds})"] if tally.failures else ["none failed"]
        parts += [f"{self.faults} shard(s) not done"] if self.faults else []
        return f"{', '.join(parts)}; {self._rows / seconds:.1f} pictures a second"


def write_failures(output: Output, name: str, tally: Tally) -> str | None:
    """Write the list of failures, if there are any; give the name of its file."""
    file = f"{OWN}/{name}"
    if not tally.failures:
        output.remove(file)
        return None
    lines = ("\t".join(map(unbroken, failure)) + "\n" for failure in sorted(tally.failures))
    output.write(file, (line.encode("utf-8", "surrogateescape") for line in lines))
    return f"{output.place}/{file}"


def _time(seconds: float) -> str:
    if seconds < 90:  # noqa: PLR2004 -- a minute and a half
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004
