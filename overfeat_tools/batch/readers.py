"""Processes that decode pictures for this one: ahead of it, in order, within limits.

Each thread here brings a file, where it lies elsewhere, and has a process decode it.  A process that dies leaves no
doubt which picture it died of, as it has one at a time; that is tried once more, in a new process, since something else
may have ended the first.
"""

import fcntl
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import Any, TypeVar

from overfeat_tools.batch.ahead import Ahead, Entry, Piece
from overfeat_tools.batch.reader import MOST_SECONDS, Found, Reading, Task
from overfeat_tools.batch.rows import KILLER, UNREADABLE, Row
from overfeat_tools.batch.storage import StorageError, fetch, is_remote
from overfeat_tools.errors import OverfeatError, reason

_PIPE_BYTES = 1 << 20  # a fitted picture in one piece
_FETCHERS = 8  # threads for each process, where files have to be brought
_FIRST_SECONDS, _MOST_SECONDS = 0.5, 0.05  # to wait for the first picture, and for all others, with one process
_MOST_FAULTS = 8  # of storage, one after the other: it is not the files then

T = TypeVar("T")


class Readers:
    """Processes that decode.

    Parameters
    ----------
    reading : Reading
    processes : int
        The most: there is one until it has kept its user waiting, as starting more takes time from computing.
    most_ahead : int
        The most files that are read ahead.
    remote : bool
        Whether files have to be brought from elsewhere.
    """

    def __init__(self, reading: Reading, processes: int, most_ahead: int, *, remote: bool = False) -> None:
        self._reading, self._most_ahead = reading, most_ahead
        self._idle: queue.SimpleQueue[_Process | None] = queue.SimpleQueue()
        self._work: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._faults, self._closed = 0, False
        self._count, self._most = 0, processes
        self._allow(1)
        self._threads = processes * (_FETCHERS if remote else 1)
        for number in range(self._threads):
            threading.Thread(target=self._serve, name=f"fetcher {number}", daemon=True).start()

    def _allow(self, count: int) -> None:
        """Let there be so many processes, which are started when there is something to read for them."""
        for _ in range(count - self._count):
            self._idle.put(None)
        self._count = count

    def read(self, pieces: Iterable[Piece[T]]) -> Iterator[tuple[T, Found | None]]:
        """Give the pictures of each file in order, and None for each sign; `pieces` is run in a thread of its own.

        Raises
        ------
        OverfeatError
            What the pieces raised, after all that came before it; or storage keeps failing.
        """
        ahead = Ahead(self._most_ahead)
        threading.Thread(target=self._feed, args=(iter(pieces), ahead), name="feeder", daemon=True).start()
        patience = _FIRST_SECONDS
        try:
            while (entry := ahead.next()) is not None:
                start = perf_counter()
                if not entry.is_there(patience):
                    self._allow(self._most)
                found = entry.result()
                patience = max(0.0, min(_MOST_SECONDS, patience - perf_counter() + start))
                yield entry.piece.owner, found
                ahead.release(entry)
        finally:
            ahead.stop()

    def _feed(self, pieces: Iterator[Piece[T]], ahead: Ahead) -> None:
        try:
            for piece in pieces:
                entry = Entry(piece, ahead)
                if not ahead.admit(entry):
                    return
                if piece.task:
                    self._work.put(entry)
                else:
                    entry.arrive()
        except BaseException as error:  # noqa: BLE001 -- carried over to the thread that can report it
            failed = Entry(Piece(None), ahead)
            ahead.admit(failed)
            failed.arrive(error=error)
        finally:
            ahead.end()

    def _serve(self) -> None:
        while (entry := self._work.get()) is not None:
            if not self._closed:
                try:
                    entry.arrive(self._found(entry.piece))
                except BaseException as error:  # noqa: BLE001 -- as above
                    entry.arrive(error=error)

    def _found(self, piece: Piece[Any]) -> Found:
        task = piece.task
        assert task  # noqa: S101 -- a sign is never given to be read
        if task.data is None and is_remote(str(task.place)):
            try:
                task = replace(task, data=fetch(str(task.place)))
                self._faults = 0
            except StorageError as error:
                self._faults += 1
                if self._faults >= _MOST_FAULTS:
                    raise
                return [(Row(task.name, UNREADABLE, str(error), stamp=piece.stamp), None)]
            except OSError as error:
                return [(Row(task.name, UNREADABLE, reason(error), stamp=piece.stamp), None)]
        return [(replace(row, stamp=piece.stamp), shown) for row, shown in self._decoded(task)]

    def _decoded(self, task: Task) -> Found:
        """Have a file decoded; a second process tries what a first died of."""
        for last in (False, True):
            process = self._idle.get()
            try:
                process = process or _Process(self._reading)
                return process.ask(task)
            except _DiedError as error:
                process = None
                if last:
                    return [(Row(task.name, KILLER, str(error)), None)]
            finally:
                self._idle.put(process)
        raise AssertionError  # the second try returns

    def close(self) -> None:
        """End the processes."""
        self._closed = True
        for _ in range(self._threads):
            self._work.put(None)
        for _ in range(self._count):
            with suppress(queue.Empty):
                process = self._idle.get(timeout=0.05)
                if process:
                    process.end()


class _DiedError(Exception):
    """A reader died; the message says how."""


class _Process:
    """A process that decodes, at the other end of two pipes."""

    def __init__(self, reading: Reading) -> None:
        # As this one finds modules, whatever its working folder and however it was started.
        code = f"import sys; sys.path[:] = {sys.path!a}; from overfeat_tools.batch.reader import main; main()"
        try:
            self._process = subprocess.Popen(  # noqa: S603 -- Python itself
                [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise OverfeatError(f"can't start a process to decode pictures: {reason(error)}") from error
        assert self._process.stdout  # noqa: S101 -- for the type checker
        with suppress(OSError, AttributeError):  # not every system can, and a user may have only so much of it
            fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        with suppress(BrokenPipeError):
            self._send(reading)

    def _send(self, what: object) -> None:
        assert self._process.stdin  # noqa: S101 -- for the type checker
        pickle.dump(what, self._process.stdin, protocol=5)
        self._process.stdin.flush()

    def ask(self, task: Task) -> Found:
        """Have a file decoded.

        Raises
        ------
        _DiedError
            It didn't survive.
        """
        assert self._process.stdout  # noqa: S101 -- for the type checker
        try:
            self._send(task)
            found: Found = pickle.load(self._process.stdout)  # noqa: S301 -- our own process
        except (BrokenPipeError, EOFError, pickle.UnpicklingError):
            raise _DiedError(self._how()) from None
        return found

    def _how(self) -> str:
        self.end()
        status = self._process.wait()
        if status == -signal.SIGALRM:
            return f"its decoder took longer than {MOST_SECONDS} seconds"
        if status < 0:
            return f"its decoder died of {signal.Signals(-status).name}"
        return f"its decoder ended with status {status}"

    def end(self) -> None:
        """End it: without tasks it does so by itself."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
