"""Always the newest frame: a thread reads all, and keeps one."""

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

from overfeat_tools.pictures import Item


@dataclass(frozen=True)
class Frame:
    """A picture, and when its last byte had come, by `perf_counter`."""

    item: Item
    arrived: float


class NewestFrame:
    """The newest of the pictures that a thread reads; none is given twice.

    A picture that can't be used is no frame: all of them are given.

    Parameters
    ----------
    items : iterator of Item
        Run in a thread of its own.
    """

    def __init__(self, items: Iterator[Item]) -> None:
        self.read = self.dropped = 0
        self._newest: Frame | None = None
        self._failed: deque[Frame] = deque()
        self._over = False
        self._failure: BaseException | None = None
        self._change = threading.Condition()
        threading.Thread(target=self._read, args=(items,), name="reader", daemon=True).start()

    def _read(self, items: Iterator[Item]) -> None:
        try:
            for item in items:
                with self._change:
                    self._put(Frame(item, perf_counter()))
                    self._change.notify()
        except BaseException as failure:  # noqa: BLE001 -- carried over to the thread that can report it
            self._failure = failure
        with self._change:
            self._over = True
            self._change.notify()

    def _put(self, frame: Frame) -> None:
        if frame.item.error:
            self._failed.append(frame)
            return
        self.read += 1
        self.dropped += self._newest is not None
        self._newest = frame

    def take(self, timeout_seconds: float) -> Frame | None:
        """Take the newest frame, or wait for one; None if none has come in time, or none will come any more."""
        with self._change:
            self._change.wait_for(lambda: self._newest or self._failed or self._over, timeout_seconds)
            if self._failed:
                return self._failed.popleft()
            frame, self._newest = self._newest, None
        if frame is None and self._failure:
            raise self._failure
        return frame

    @property
    def ended(self) -> bool:
        """Whether all has been taken."""
        with self._change:
            return self._over and self._newest is None and not self._failed
