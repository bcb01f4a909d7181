"""The processor: numpy, FFTW and threads; the one door to threadpoolctl.

Threads: BLAS runs with one thread in each of our own, because the products of the engine are
many and small: one product a thread ran 1.5 to 2 times as fast as one two-threaded product after
the other.
"""

import contextlib
import itertools
import math
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from overfeat_tools.backend import machine
from overfeat_tools.backend.arrays import Array, FloatArray, Item, aligned_empty
from overfeat_tools.backend.calls import Piece
from overfeat_tools.backend.compiler import Compiler, missing, open_compiler
from overfeat_tools.backend.executor import Executor
from overfeat_tools.backend.fftw import FftwPlan
from overfeat_tools.backend.program import Program, Recording
from overfeat_tools.backend.threads import ThreadPool

_PLANS_KEPT = 64

# Chunks of work for each thread: enough that none waits long for the last one.
_CHUNKS = 4


class CpuBackend:
    """numpy and FFTW on `threads` threads.

    Parameters
    ----------
    threads : int, optional
        Threads to compute with; by default the processors this process may run on.
    compiling : bool
        Whether kernels may be compiled for this processor; without them numpy and FFTW do everything.
    """

    name = "cpu"
    ahead, usual_batch, is_cold = 0, 64, False
    precision = "float32"

    def __init__(self, threads: int | None = None, *, compiling: bool = True) -> None:
        self.xp = np
        self._processors = machine.processors()
        self._pool = ThreadPool(threads or self._processors)
        self.cache_bytes = machine.cache_bytes() // 2
        self._workspaces: dict[str, Array] = {}
        self._of_thread = _OfThread()
        # Made before there is a reader thread: it asks the loader for its libraries, under the loader's lock, and is
        # called back in Python.  A thread that is importing a library has Python's lock, and waits for the loader's.
        self._blas = ThreadpoolController()
        self._blas_is_held = False
        self._computing: contextlib.ExitStack | None = None
        self._compiling = compiling
        self.compiler: Compiler | None = open_compiler() if compiling else None
        self._executor: Executor | None = None
        self._recording: Recording | None = None
        # Workspaces and threads serve one batch at a time.
        self._turn = threading.RLock()
        _BACKENDS.add(self)

    def __str__(self) -> str:
        return f"{self.name}, {self.threads} threads" + self._of_kernels()

    def _of_kernels(self) -> str:
        """Tell for what vectors kernels have been compiled, or why none are."""
        if self.compiler is None:
            reason = missing() or "llvmlite or the system refused"
            return f", no kernels compiled: {reason if self._compiling else 'not wanted'}"
        return f", kernels compiled for vectors of {self.compiler.lanes}" if self.compiler.loaded else ""

    @property
    def threads(self) -> int:
        """Threads to compute with."""
        return self._pool.count

    @property
    def parallel(self) -> int:
        """Threads that can run at the same time: work is cut for so many."""
        return min(self.threads, self._processors)

    def parallel_for(self, work: Callable[[Item], object], items: Sequence[Item]) -> None:
        """Call `work` with each of the items, on all threads; the calls must not depend on each other."""
        assert self._recording is None, "done now, it would be missing from the program"  # noqa: S101
        with self.computing():
            if not self._blas_is_held and self._computing:
                self._computing.enter_context(self._holding_blas())
            self._pool.run(work, items)

    def launch(self, pieces: Sequence[Piece], scratch_bytes: int = 0) -> None:
        """Carry out a stage of compiled calls on all threads, or note it where a program is being recorded."""
        recording = self._recording or Recording()
        recording.add(pieces, scratch_bytes)
        if self._recording is None:
            self._execute(Program(recording, {}, ()))

    def records(self, x: Array) -> bool:  # noqa: ARG002 -- whatever the batch
        """Tell whether passes are recorded: where compiled kernels compute all of it."""
        return self.compiler is not None

    def record(self, compute: Callable[[Recording, Array], list[FloatArray]], x: Array) -> Program:
        """Record the stages that `compute` launches, which reads `x` and writes results; nothing is carried out."""
        self._recording = recording = Recording()
        try:
            results = compute(recording, x)
        finally:
            self._recording = None
        buffers = {**self._workspaces, "x": x, **_named(results)}
        return Program(recording, buffers, [y.shape for y in results])

    def replay(self, program: Program, x: Array) -> tuple[list[FloatArray], Array]:
        """Carry out a program; return new arrays and the times at which each stage began, and the last ended."""
        results = [self.empty(shape) for shape in program.shapes]
        given = {"x": x, **_named(results)}
        for name, size_bytes in program.buffer_bytes.items():
            program.move(name, given[name] if name in given else self.workspace(name, (size_bytes,), np.uint8))
        return results, self._execute(program)

    def _execute(self, program: Program) -> Array:
        if self._executor is None:
            assert self.compiler is not None  # noqa: S101 -- it has compiled what is to be called
            self._executor = Executor(self.compiler, self.threads, self._processors)
        return self._executor.run(program)

    def chunks(self, length: int, least: int = 1) -> list[slice]:
        """Cut `range(length)` into slices: a few a thread, none shorter than `least`."""
        count = max(1, min(_CHUNKS * self.parallel if self.parallel > 1 else 1, length // max(least, 1)))
        edges = [length * i // count for i in range(count + 1)]
        return [slice(a, b) for a, b in itertools.pairwise(edges)]

    def block_bytes(self, cached: int) -> int:
        """Tell how much to work on at a time: what the caller thinks right for a thread's cache."""
        return cached

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
        """Give a new, uninitialised array that begins with a line of the cache."""
        return aligned_empty(shape, dtype)

    def workspace(
        self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32, *, of_thread: bool = False
    ) -> Array:
        """Give an uninitialised array in memory that is kept for one use and handed out again.

        For large intermediate results within a step: memory fresh from the system has to be
        zeroed page by page, which took a tenth of a bulk run's time.

        Parameters
        ----------
        name : str
            What for; the array is valid until the next call with the same name.
        shape, dtype
            As of `numpy.empty`.
        of_thread : bool
            Whether each thread of `parallel_for` has another array.
        """
        kept = self._of_thread.workspaces if of_thread else self._workspaces
        wanted = math.prod(shape) * np.dtype(dtype).itemsize
        memory = kept.get(name)
        if memory is None or memory.nbytes < wanted:
            kept.pop(name, None)
            memory = kept[name] = self.empty((wanted,), np.uint8)
        return memory[:wanted].view(dtype).reshape(shape)

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Have the workspaces and threads for what is computed inside; may be nested.

        From the first `parallel_for` on, BLAS is held to one thread: setting that takes longer than many a step.
        """
        with self._turn:
            if self._computing:
                yield
                return
            self._computing = contextlib.ExitStack()
            try:
                with self._computing:
                    yield
            finally:
                self._computing = None

    @contextlib.contextmanager
    def _holding_blas(self) -> Iterator[None]:
        self._blas_is_held = True
        try:
            with self._blas.limit(limits=1, user_api="blas"):
                yield
        finally:
            self._blas_is_held = False

    def hold(self) -> None:
        """Wait for the batch that another thread is computing, and let none begin."""
        self._turn.acquire()

    def release(self, *, in_child: bool) -> None:
        """Let go again; a child of `fork` has none of its parent's threads, and starts its own."""
        if in_child:
            self._pool.forget()
            if self._executor:
                self._executor.forget()
        self._turn.release()

    def to_device(self, host: Array) -> Array:
        """Give the array itself."""
        return host

    def upload(self, pictures: Array | Sequence[Array]) -> Array:
        """Give the batch itself, or the only picture; put several together."""
        if isinstance(pictures, np.ndarray):
            return pictures
        if len(pictures) == 1:
            return np.ascontiguousarray(pictures[0])[None]
        shape = len(pictures), *pictures[0].shape
        return np.stack(pictures, out=self.workspace("pictures", shape, pictures[0].dtype, of_thread=True))

    def download(self, x: FloatArray) -> Callable[[], FloatArray]:
        """Give a function that gives the result, which is there."""
        return lambda: x

    def free_bytes(self) -> int | None:
        """Give the memory that can be had without swapping, where the system tells it.

        Workspaces that are kept count, as they will be used again.
        """
        free = machine.free_bytes()
        return None if free is None else free + sum(memory.nbytes for memory in self._workspaces.values())

    def memory_bytes(self) -> int:
        """Give the size of the memory that this process may use."""
        return machine.memory_bytes()

    def fft_plan(self, height: int, width: int, maps: int) -> FftwPlan:
        """Give this thread's plan for a number of maps of one size, making it the first time."""
        return self._of_thread.fft_plan(height, width, maps)

    library_fft_plan = fft_plan


def _named(results: list[FloatArray]) -> dict[str, Array]:
    """Name a program's results as buffers."""
    return {f"y {number}": y for number, y in enumerate(results)}


# A fork waits for the batches that are being computed: a child would have them half done, and nobody to go on.
_BACKENDS: weakref.WeakSet[CpuBackend] = weakref.WeakSet()
_HELD: list[CpuBackend] = []


def _hold_all() -> None:
    held = sorted(_BACKENDS, key=id)
    for backend in held:
        backend.hold()
    _HELD[:] = held


def _release_all(*, in_child: bool) -> None:
    for backend in _HELD:
        backend.release(in_child=in_child)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_hold_all, after_in_parent=partial(_release_all, in_child=False),
        after_in_child=partial(_release_all, in_child=True),
    )  # fmt: skip


class _OfThread(threading.local):
    """What each thread has of its own: workspaces, and plans, of which those used last are kept."""

    def __init__(self) -> None:
        self.workspaces: dict[str, Array] = {}
        self.fft_plan = lru_cache(_PLANS_KEPT)(FftwPlan)
