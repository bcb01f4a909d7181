"""A queue of pictures that several threads decode: their order is kept, what is under way is bounded.

The threads are daemons: what one is still decoding must not delay the end of the process.

Ctrl-C raises KeyboardInterrupt in the main thread wherever that is, and `threading.Condition` is Python: if it has the
lock and is interrupted before it says so, nobody ever gives the lock back.  So the thread that takes, which is the main
one, uses locks alone, as those are C.
"""

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from overfeat_tools.backend.machine import free_bytes
from overfeat_tools.errors import ImageError
from overfeat_tools.pictures.decoders import wait_for_room
from overfeat_tools.pictures.item import Item

# Pictures that are being decoded or wait for the network: of 24 million pixels, two at a time and their like.
_MOST_PIXELS = 1 << 26
_BYTES_OF_PIXEL = 16  # in all arrays that a decoder and the fitting have of it
# Files that have been read, for each thread: two that a camera makes.
_MOST_FILE_BYTES = 32 << 20


@dataclass(frozen=True)
class Task:
    """Work that gives an item, and the bytes that wait with it."""

    work: Callable[[], Item]
    size_bytes: int = 0


class _Place:
    """A place in the order: an item, or a failure to be raised, or neither yet."""

    def __init__(self) -> None:
        self.item: Item | None = None
        self.failure: BaseException | None = None
        self.claimed_pixels = 0

    @property
    def is_done(self) -> bool:
        return self.item is not None or self.failure is not None


class Pool:
    """Items in order, some of them still made by threads.

    One thread puts, another takes.  What waits is bounded by the number of items, by their pixels and by the bytes of
    files that are not decoded yet.  Whatever its size, the next picture to be taken is always decoded.

    Parameters
    ----------
    threads : int
        The most threads to start, as they are needed.
    most_items, most_pixels : int
        Nothing more is put while so many wait.
    """

    def __init__(self, threads: int, most_items: int, most_pixels: int) -> None:
        self._most_threads, self._most_items, self._most_pixels = threads, most_items, most_pixels
        free = free_bytes()
        self._room_pixels = min(_MOST_PIXELS, (math.inf if free is None else free) / 2 / _BYTES_OF_PIXEL)
        self._places: deque[_Place] = deque()
        self._todo: deque[tuple[_Place, Task]] = deque()
        self._threads = self._idle = self._file_bytes = self._pixels = self._claimed_pixels = 0
        self._ended = self._stopped = False
        self._lock = threading.Lock()
        self._room, self._work = threading.Condition(self._lock), threading.Condition(self._lock)
        self._arrival = threading.Lock()  # held unless there may be something new to take
        self._arrival.acquire()

    @property
    def is_ready(self) -> bool:
        """Tell whether the next item can be taken without waiting; a failure is none."""
        return bool(self._places) and self._places[0].item is not None

    def put(self, one: Item | Task | BaseException) -> bool:
        """Append an item, or work that will give it, or a failure, when there is room; tell whether it is wanted."""
        place = _Place()
        with self._room:
            self._room.wait_for(lambda: self._stopped or not self._is_full())
            if self._stopped:
                return False
            self._places.append(place)
            if isinstance(one, Task):
                self._todo.append((place, one))
                self._file_bytes += one.size_bytes
                if self._idle < len(self._todo):
                    self._start_thread()
                self._work.notify()
            else:
                self._settle(place, one)
        if isinstance(one, Task) and not self._threads:
            self._carry_out(*self._todo.popleft())
        return True

    def end(self) -> None:
        """Tell that nothing more will be put."""
        with self._room:
            self._ended = True
            self._tell()
            self._work.notify_all()

    def stop(self) -> None:
        """Let everything end: nothing more is taken."""
        with self._lock:
            self._stopped = True
            self._room.notify_all()
            self._work.notify_all()

    def take(self, belongs: Callable[[list[Item], Item], bool]) -> list[Item]:
        """Wait for the next item, and take it and those behind it that are there and belong to it; none at the end."""
        while True:
            with self._lock:
                if self._places[0].is_done if self._places else self._ended:
                    return self._taken(belongs)
            self._arrival.acquire()

    def _taken(self, belongs: Callable[[list[Item], Item], bool]) -> list[Item]:
        taken: list[Item] = []
        while self.is_ready and (item := self._places[0].item) and (not taken or belongs(taken, item)):
            taken.append(item)
            self._pixels -= pixels_of(item)
            del self._places[0]
        self._room.notify_all()
        if not taken and self._places and (failure := self._places[0].failure):
            raise failure
        return taken

    def _tell(self) -> None:
        """Have `take` look whether there is something; with the lock."""
        if self._arrival.locked():
            self._arrival.release()

    def _is_full(self) -> bool:
        return (
            len(self._places) >= self._most_items
            or self._pixels >= self._most_pixels
            or self._file_bytes >= _MOST_FILE_BYTES * self._most_threads
        )

    def _settle(self, place: _Place, outcome: Item | BaseException) -> None:
        if isinstance(outcome, Item):
            place.item = outcome
            self._pixels += pixels_of(outcome)
        else:
            place.failure = outcome
        if place is self._places[0]:
            self._tell()

    def _start_thread(self) -> None:
        if self._threads < self._most_threads:
            try:
                threading.Thread(target=self._serve, name="decoder", daemon=True).start()
            except RuntimeError:  # "can't start new thread": those that there are will do, or the reader's own
                self._most_threads = max(1, self._threads)
            else:
                self._threads += 1

    def _serve(self) -> None:
        while True:
            with self._work:
                self._idle += 1
                self._work.wait_for(lambda: self._todo or self._ended or self._stopped)
                self._idle -= 1
                if self._stopped or not self._todo:
                    return
                place, task = self._todo.popleft()
            self._carry_out(place, task)
            del place, task  # which would keep the picture while this thread waits

    def _carry_out(self, place: _Place, task: Task) -> None:
        token = wait_for_room.set(lambda pixels: self._claim(place, pixels))
        try:
            outcome: Item | BaseException = task.work()
        except BaseException as failure:  # noqa: BLE001 -- carried over to the thread that can report it
            outcome = failure
        finally:
            wait_for_room.reset(token)
        with self._room:
            self._claimed_pixels -= place.claimed_pixels
            self._file_bytes -= task.size_bytes
            self._settle(place, outcome)
            self._room.notify_all()

    def _claim(self, place: _Place, pixels: int) -> None:
        """Wait until a picture may be decoded: there is room for it, or it is the next to be taken."""

        def may_go() -> bool:
            others = self._pixels + self._claimed_pixels - place.claimed_pixels
            return self._stopped or place is self._places[0] or others + pixels <= self._room_pixels

        with self._room:
            self._room.wait_for(may_go)
            if self._stopped:
                raise ImageError("not wanted any more")
            self._claimed_pixels += pixels - place.claimed_pixels
            place.claimed_pixels = pixels


def pixels_of(item: Item) -> int:
    """Count the pixels that an item holds, in all views of a picture."""
    held = item.views or (() if item.pixels is None else (item.pixels,))
    return sum(pixels.shape[0] * pixels.shape[1] for pixels in held)
