"""The processor: numpy, FFTW and threads; the one door to pyfftw and threadpoolctl.

Threads: BLAS runs with one thread in each of our own, because the products of the engine are
many and small: one product a thread ran 1.5 to 2 times as fast as one two-threaded product after
the other.
"""

import contextlib
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend.arrays import Array, ComplexArray, FloatArray
from overfeat_tools.backend.compiler import Compiler, open_compiler

if TYPE_CHECKING:
    from types import ModuleType

_PLANS_KEPT = 64

# A line of the cache, which is the longest vector, too.
_LINE_BYTES = 64

# Work cut finer than for this cache costs more in calls than it saves in memory traffic.
_LEAST_CACHE_BYTES = 1 << 20


class CpuBackend:
    """numpy and FFTW on `threads` threads.

    Parameters
    ----------
    threads : int, optional
        Threads to compute with; by default the processors this process may run on.
    compiling : bool
        Whether loops may be compiled for this processor; without it numpy does everything.
    """

    name = "cpu"
    batched = False
    ahead = 0

    def __init__(self, threads: int | None = None, *, compiling: bool = True) -> None:
        self.xp: ModuleType = np
        self.threads = threads or _processors()
        self.cache_bytes = _cache_bytes() // 2
        self._pool: ThreadPoolExecutor | None = None
        self._scratch: dict[str, Array] = {}
        self._blas: Any = None
        self._blas_is_held = False
        self._local = threading.local()
        self._compiling = compiling
        # FFTW's planner is one global thing: two threads must not plan at once.
        self._planning = threading.Lock()

    def __str__(self) -> str:
        return f"{self.name}, {self.threads} threads"

    @cached_property
    def compiler(self) -> Compiler | None:
        """What compiles loops for this processor, or None."""
        return open_compiler() if self._compiling else None

    def drop_compiler(self) -> None:
        """Go on with numpy alone."""
        self.compiler = None

    def share(self, work: Callable[[int], object], count: int) -> None:
        """Call `work(0)` to `work(count - 1)`, each once, on all threads.

        Parameters
        ----------
        work : callable
            Takes the number of the piece.  The pieces must not depend on each other.
        count : int
            How many pieces.
        """
        with self.one_blas_thread():
            if self.threads == 1 or count <= 1:
                for piece in range(count):
                    work(piece)
            else:
                self._share(work, count)

    def _share(self, work: Callable[[int], object], count: int) -> None:
        pieces = iter(range(count))  # `next` on a range iterator is atomic

        def worker() -> None:
            for piece in pieces:
                work(piece)

        helpers = [self._threads().submit(worker) for _ in range(min(self.threads, count) - 1)]
        try:
            worker()
        finally:
            # A failed piece must not leave others writing into arrays their owner has given up.
            failures = [helper.exception() for helper in helpers]
        for failure in filter(None, failures):
            raise failure

    def pieces(self, length: int, least: int = 1) -> list[slice]:
        """Cut `range(length)` into slices to share out: a few a thread, none below `least`."""
        count = max(1, min(2 * self.threads if self.threads > 1 else 1, length // max(least, 1)))
        edges = [length * i // count for i in range(count + 1)]
        return [slice(a, b) for a, b in itertools.pairwise(edges)]

    def at_once(self, cached: int) -> int:
        """Tell how much to work on at a time: what the caller thinks right for a thread's cache."""
        return cached

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="overfeat")
        return self._pool

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
        """Give a new, uninitialised array that begins with a line of the cache.

        numpy's begin 16 bytes behind one: a vector as long as a line would always lie on two, and take twice the time.
        Bulk took 1.08 times as long.
        """
        import pyfftw

        array: Array = pyfftw.empty_aligned(shape, dtype, n=_LINE_BYTES)
        return array

    def scratch(self, use: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Give an uninitialised array in memory that is kept for one use and handed out again.

        For large intermediate results within a step: memory fresh from the system has to be
        zeroed page by page, which took a tenth of a bulk run's time.

        Parameters
        ----------
        use : str
            What for; the array is valid until the next call for the same use.
        shape, dtype
            As of `numpy.empty`.
        """
        return self._room(self._scratch, use, shape, dtype)

    def thread_scratch(self, use: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Give memory like `scratch`, but each thread its own."""
        return self._room(self._local.__dict__.setdefault("scratch", {}), use, shape, dtype)

    def _room(self, kept: dict[str, Array], use: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        wanted = math.prod(shape) * np.dtype(dtype).itemsize
        room = kept.get(use)
        if room is None or room.nbytes < wanted:
            kept.pop(use, None)
            room = kept[use] = self.empty((wanted,), np.uint8)
        array: Array = room[:wanted].view(dtype).reshape(shape)
        return array

    @contextlib.contextmanager
    def one_blas_thread(self) -> Iterator[None]:
        """Hold BLAS to one thread inside: `share` is what uses the others.

        May be nested; holding it around a whole run saves setting it for every step.
        """
        if self._blas_is_held:
            yield
            return
        if self._blas is None:
            from threadpoolctl import ThreadpoolController

            self._blas = ThreadpoolController()
        self._blas_is_held = True
        try:
            with self._blas.limit(limits=1, user_api="blas"):
                yield
        finally:
            self._blas_is_held = False

    def computing(self) -> contextlib.AbstractContextManager[None]:
        """Hold BLAS to one thread while a batch is computed."""
        return self.one_blas_thread()

    def array(self, host: Array) -> Array:
        """Give the array itself: it is where it is computed with."""
        return host

    def upload(self, pictures: Array) -> Array:
        """Give the batch itself."""
        return pictures

    def download(self, x: FloatArray) -> Callable[[], FloatArray]:
        """Give a function that gives the result, which is there."""
        return lambda: x

    def free_bytes(self) -> int | None:
        """Give the memory that can be had without swapping, where the system says so (Linux).

        What is kept for intermediate results counts, as it will be used for them again.
        """
        try:
            with open("/proc/meminfo", encoding="ascii") as lines:  # noqa: PTH123 -- not worth importing pathlib
                kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        except (OSError, StopIteration):
            return None
        return int(kilobytes) * 1024 + sum(room.nbytes for room in self._scratch.values())

    def memory_bytes(self) -> int:
        """Give the size of the machine's memory."""
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def fourier_plan(self, height: int, width: int, columns: int) -> "FourierPlan":
        """Give this thread's plan for maps of one size, making it the first time.

        Parameters
        ----------
        height, width : int
            Size of the maps to transform.
        columns : int
            How many maps are transformed at once.
        """
        plans: dict[tuple[int, int, int], FourierPlan] = self._local.__dict__.setdefault("plans", {})
        key = (height, width, columns)
        plan = plans.pop(key, None)
        if plan is None:
            while len(plans) >= _PLANS_KEPT:
                del plans[next(iter(plans))]
            with self._planning:
                plan = FourierPlan(height, width, columns)
        plans[key] = plan  # last in the dict: the most recently used
        return plan


def _cache_bytes() -> int:
    """Find the size of the second-level cache, each thread's own; where it isn't told, a common one."""
    try:
        with open("/sys/devices/system/cpu/cpu0/cache/index2/size", encoding="ascii") as told:  # noqa: PTH123 -- not worth importing pathlib
            size = told.read().strip()
        return max(_LEAST_CACHE_BYTES, int(size.removesuffix("K")) << 10)
    except (OSError, ValueError):
        return _LEAST_CACHE_BYTES


def _processors() -> int:
    """Count the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class FourierPlan:
    """Complex transforms, in place, of a stack of equal maps.

    The maps stand in `tiles`, shape (height, width, columns), complex64: the columns last, so
    that FFTW's vector instructions work across them.  `inverse` does not divide by the size.
    """

    def __init__(self, height: int, width: int, columns: int) -> None:
        import pyfftw

        self.tiles: ComplexArray = pyfftw.zeros_aligned((height, width, columns), "complex64")
        # Estimated plans: measuring costs 10 to 100 ms each and gained 0 to 25 % of a few percent.
        plan = {"axes": (0, 1), "flags": ("FFTW_ESTIMATE",), "threads": 1}
        self.forward: Callable[[], None] = pyfftw.FFTW(self.tiles, self.tiles, **plan).execute
        self.inverse: Callable[[], None] = pyfftw.FFTW(
            self.tiles, self.tiles, direction="FFTW_BACKWARD", **plan
        ).execute
