"""What readers were asked for and nobody has used yet: in order, and within limits."""

import queue
import threading
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from overfeat_tools.batch.reader import Found, Task, bytes_of

_MOST_BYTES = 512 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class Piece(Generic[T]):
    """A file to read for an owner, or None and only a sign of the owner's, which keeps its place among the files."""

    owner: T
    task: Task | None = None
    stamp: str | None = None


class Entry:
    """A piece that was asked for, and what has come of it."""

    def __init__(self, piece: Piece[Any], ahead: "Ahead") -> None:
        self.piece, self.size = piece, len(piece.task.data or b"") if piece.task else 0
        self._ahead = ahead
        self._found: Found | None = None
        self._error: BaseException | None = None
        self._there = threading.Lock()
        self._there.acquire()

    def arrive(self, found: Found | None = None, error: BaseException | None = None) -> None:
        """Note what has come of it, or why nothing has."""
        self._found, self._error = found, error
        self._ahead.grow(self, sum(bytes_of(shown) for _, shown in found or ()))
        self._there.release()

    def is_there(self, seconds: float) -> bool:
        """Tell whether it is there after so many seconds."""
        if is_there := self._there.acquire(timeout=seconds):
            self._there.release()
        return is_there

    def result(self) -> Found | None:
        """Wait until it is there."""
        self._there.acquire()
        if self._error:
            raise self._error
        return self._found


class Ahead:
    """What has been asked for and not been used yet, in order, within limits."""

    def __init__(self, most: int) -> None:
        self._most, self._count, self._bytes, self._stopped = most, 0, 0, False
        self._change = threading.Condition()
        self._entries: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()

    def admit(self, entry: Entry) -> bool:
        """Wait until there is room, and add an entry; tell whether anybody still wants it."""
        with self._change:
            if self._count >= self._most or self._bytes >= _MOST_BYTES:
                self._change.wait_for(self._has_much_room)
            self._count += 1
            self._bytes += entry.size
        self._entries.put(entry)
        return not self._stopped

    def _has_much_room(self) -> bool:
        """Tell whether it is worth while to go on: one by one would take too many turns."""
        half = self._count <= self._most // 2 and self._bytes <= _MOST_BYTES // 2
        return self._stopped or half

    def grow(self, entry: Entry, size: int) -> None:
        """Count what has arrived."""
        with self._change:
            entry.size += size
            self._bytes += size

    def release(self, entry: Entry) -> None:
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

    def next(self) -> Entry | None:
        """Wait for the next entry; None at the end."""
        return self._entries.get()
