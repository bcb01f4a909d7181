"""The work on one shard, and the thread that writes what was computed while the next is computed."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from overfeat_tools.batch.computing import Computation, Done, Work
from overfeat_tools.batch.job import Job, Outcome
from overfeat_tools.batch.plan import Shard
from overfeat_tools.batch.reader import Found
from overfeat_tools.batch.rows import DAMAGED, OK, Record, Row
from overfeat_tools.batch.sinks import Sink
from overfeat_tools.errors import ImageError

Written = list[Row] | Outcome
"""The rows that were written now, or a shard that is done."""


class Writing:
    """A thread that does what is put to it, in order, until something fails."""

    def __init__(self) -> None:
        self._thread, self._failed = ThreadPoolExecutor(1, "writer"), False
        self._pending: deque[tuple[int, Future[Written]]] = deque()
        self._rows = 0

    def put(self, write: Callable[[], Written], rows: int = 0) -> None:
        """Have something written, with so many rows."""
        self._pending.append((rows, self._thread.submit(self._do, write)))
        self._rows += rows

    def _do(self, write: Callable[[], Written]) -> Written:
        if self._failed:
            return []  # what failed is told first
        try:
            return write()
        except BaseException:
            self._failed = True
            raise

    def written(self, most: int) -> Iterator[Written]:
        """Give what was written, or raise what failed; wait if more rows are left, beside those put last."""
        while self._pending and (self._pending[0][1].done() or (len(self._pending) > 1 and self._rows > most)):
            yield self._next()

    def finish(self) -> Iterator[Written]:
        """Give what is left, when it is written."""
        while self._pending:
            yield self._next()

    def _next(self) -> Written:
        rows, future = self._pending.popleft()
        self._rows -= rows
        return future.result()

    def close(self) -> None:
        """End the thread, when it has done what it does."""
        self._thread.shutdown(cancel_futures=True)


class ShardWork:
    """The work on one shard, once its pictures are there.

    Parameters
    ----------
    job : Job
    work : Work
    ahead : int
        See `Computation`.
    sink : Sink
    writing : Writing
        Everything is written there.
    shard : Shard
    old : Record, optional
        What is there of it, and may be kept.
    """

    def __init__(
        self, job: Job, work: Work, ahead: int, sink: Sink, writing: Writing, shard: Shard, old: Record | None
    ) -> None:
        self._strict, self._writing = job.strict, writing
        self._outcome = Outcome(shard.number)
        self._writer, self.is_open = sink.writer(shard, old), True
        self._computation = Computation(work, job.batch or work.usual_batch, ahead, self._hand_on)

    def take(self, rows: list[Row], *, kept: bool) -> None:
        """Take rows that need no computing."""
        for row in rows:
            if kept:
                self._computation.keep(row)
            else:
                self._computation.add(row, None)

    def compute(self, found: Found) -> None:
        """Compute the pictures of a file."""
        for row, shown in found:
            if self._strict and row.warning:
                self._computation.add(replace(row, status=DAMAGED, error=row.warning, warning=None), None)
            else:
                self._computation.add(row, shown)

    def end(self, fault: str | None) -> None:
        """Have what there is committed, unless it is not whole."""
        if fault:
            self._writing.put(lambda: self._fail(fault), 1)
        else:
            self._computation.finish()
            self._writing.put(self._commit, 1)
        del self._computation  # each of the two knows the other: all the rows would stay for long

    def _hand_on(self, done: list[Done]) -> None:
        self._writing.put(lambda: self._write(done), len(done))

    def _write(self, done: list[Done]) -> Written:
        rows = []
        for each in done:
            if each.kept:
                self._writer.keep(each.row)
                self._outcome.tally.add(each.row, kept=True)
                continue
            row = self._writer.add(each.row, each.result)
            self._outcome.tally.add(row)
            rows.append(row)
            if self._strict and row.status != OK:
                raise ImageError(f"{row.path}: {row.error}")
        return rows

    def _commit(self) -> Written:
        self._writer.commit()
        self.is_open = False
        return self._outcome

    def _fail(self, fault: str) -> Written:
        self.abandon()
        return Outcome(self._outcome.number, fault=fault)

    def abandon(self) -> None:
        """Leave no trace, unless it is committed."""
        if self.is_open:
            self._writer.abandon()
            self.is_open = False
