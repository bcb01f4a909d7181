"""A pool of threads that shares out the chunks of one piece of work after the other."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from overfeat_tools.backend.arrays import Item
from overfeat_tools.backend.machine import threads_with_room


class ThreadPool:
    """Up to `count` threads, the calling one among them; as many of the others as the system starts."""

    def __init__(self, count: int) -> None:
        self.count = threads_with_room(count)
        self._executor: ThreadPoolExecutor | None = None

    def run(self, work: Callable[[Item], object], items: Sequence[Item]) -> None:
        """Call `work` with each of the items."""
        if len(items) > 1 and self.count > 1 and self._executor is None:
            self._start()
        pending = deque(items)  # its methods are atomic, without an interpreter's lock, too

        def worker() -> None:
            while True:
                try:
                    item = pending.popleft()
                except IndexError:
                    return
                work(item)

        helpers = range(min(self.count, len(items)) - 1)
        started = [self._executor.submit(worker) for _ in helpers] if self._executor else []
        try:
            worker()
        finally:
            # A failed call must not leave others writing into arrays that their owner has given up.
            pending.clear()
            failures = [helper.exception() for helper in started]
        for failure in filter(None, failures):
            raise failure

    def forget(self) -> None:
        """Forget the threads of the parent process, in a child that has none of them."""
        self._executor = None

    def _start(self) -> None:
        """Start the threads that there is room for; half of them, and so on, where the system refuses."""
        self.count = threads_with_room(self.count)
        while self.count > 1:
            executor, gate = ThreadPoolExecutor(self.count - 1, thread_name_prefix="overfeat"), threading.Event()
            try:
                for _ in range(self.count - 1):
                    executor.submit(gate.wait)
            except RuntimeError:  # "can't start new thread"
                self.count = (self.count + 1) // 2
            else:
                self._executor = executor
                return
            finally:
                gate.set()
            executor.shutdown()
