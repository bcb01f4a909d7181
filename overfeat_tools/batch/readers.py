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
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from overfeat_tools.batch.reader import MOST_SECONDS, Found, Reading, Task, bytes_of
from overfeat_tools.batch.rows import KILLER, UNREADABLE, Row
from overfeat_tools.batch.storage import StorageError, fetch, is_remote
from overfeat_tools.errors import OverfeatError, reason

_MOST_AHEAD_BYTES = 512 << 20
_PIPE_BYTES = 1 << 20  # a fitted picture in one piece
_FETCHERS = 8  # threads for each process, where files have to be brought
_MOST_FAULTS = 8  # of storage, one after the other: it is not the files then

T = TypeVar("T")


@dataclass(frozen=True)
class Piece(Generic[T]):
    """A file to read for an owner, or None and only a sign of the owner's, which keeps its place among the files."""

    owner: T
    task: Task | None = None
    stamp: str | None = None


class Readers:
    """Processes that decode.

    Parameters
    ----------
    reading : Reading
    processes : int
    most_ahead : int
        The most files that are read ahead.
    remote : bool
        Whether files have to be brought from elsewhere.
    """

    def __init__(self, reading: Reading, processes: int, most_ahead: int, *, remote: bool = False) -> None:
        self._reading, self._most_ahead = reading, most_ahead
        self._idle: queue.SimpleQueue[_Process | None] = queue.SimpleQueue()
        self._work: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._faults, self._closed = 0, False
        for _ in range(processes):
            self._idle.put(None)
        self._count, self._threads = processes, processes * (_FETCHERS if remote else 1)
        for number in range(self._threads):
            threading.Thread(target=self._serve, name=f"fetcher {number}", daemon=True).start()

    def read(self, pieces: Iterable[Piece[T]]) -> Iterator[tuple[T, Found | None]]:
        """Give the pictures of each file in order, and None for each sign; `pieces` is run in a thread of its own.

        Raises
        ------
        OverfeatError
            What the pieces raised, after all that came before it; or storage keeps failing.
        """
        ahead = _Ahead(self._most_ahead)
        threading.Thread(target=self._feed, args=(iter(pieces), ahead), name="feeder", daemon=True).start()
        try:
            while (entry := ahead.next()) is not None:
                yield entry.piece.owner, entry.wait()
                ahead.release(entry)
        finally:
            ahead.stop()

    def _feed(self, pieces: Iterator[Piece[T]], ahead: "_Ahead") -> None:
        try:
            for piece in pieces:
                entry = _Entry(piece, ahead)
                if not ahead.admit(entry):
                    return
                if piece.task:
                    self._work.put(entry)
                else:
                    entry.arrive()
        except BaseException as error:  # noqa: BLE001 -- carried over to the thread that can report it
            failed = _Entry(Piece(None), ahead)
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


class _Entry:
    """A piece that was asked for, and what has come of it."""

    def __init__(self, piece: Piece[Any], ahead: "_Ahead") -> None:
        self.piece, self.size = piece, len(piece.task.data or b"") if piece.task else 0
        self._ahead = ahead
        self._found: Found | None = None
        self._error: BaseException | None = None
        self._there = threading.Lock()
        self._there.acquire()

    def arrive(self, found: Found | None = None, error: BaseException | None = None) -> None:
        """Have it there."""
        self._found, self._error = found, error
        self._ahead.grow(self, sum(bytes_of(shown) for _, shown in found or ()))
        self._there.release()

    def wait(self) -> Found | None:
        """Wait until it is there."""
        self._there.acquire()
        if self._error:
            raise self._error
        return self._found


class _Ahead:
    """What has been asked for and not been used yet, in order, within limits."""

    def __init__(self, most: int) -> None:
        self._most, self._count, self._bytes, self._stopped = most, 0, 0, False
        self._change = threading.Condition()
        self._entries: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()

    def admit(self, entry: _Entry) -> bool:
        """Wait until there is room, and add an entry; tell whether anybody still wants it."""
        with self._change:
            if self._count >= self._most or self._bytes >= _MOST_AHEAD_BYTES:
                self._change.wait_for(self._has_much_room)
            self._count += 1
            self._bytes += entry.size
        self._entries.put(entry)
        return not self._stopped

    def _has_much_room(self) -> bool:
        """Tell whether it is worth while to go on: one by one would take too many turns."""
        half = self._count <= self._most // 2 and self._bytes <= _MOST_AHEAD_BYTES // 2
        return self._stopped or half

    def grow(self, entry: _Entry, size: int) -> None:
        """Count what has arrived."""
        with self._change:
            entry.size += size
            self._bytes += size

    def release(self, entry: _Entry) -> None:
        """Make room."""
        with self._change:
            self._count -= 1
            self._bytes -= entry.size
            if self._has_much_room():
                self._change.notify()

    def stop(self) -> None:
        """Let the feeder end."""
        with self._change:
            self._stopped = True
            self._change.notify()

    def end(self) -> None:
        """Tell that no more will come."""
        self._entries.put(None)

    def next(self) -> _Entry | None:
        """Wait for the next entry; None at the end."""
        return self._entries.get()


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
