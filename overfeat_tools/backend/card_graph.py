"""A pass captured as a CUDA graph, to be launched again and again: what a recorded program is on a processor.

A pass of one picture is a hundred kernels of a few microseconds, and queueing each from Python takes longer than it
computes.  A graph is queued at once.  It computes in the memory that was asked for while it was captured, which is a
pool of its own, so that nobody else is given any of it; its input is copied to where it was then, its results are
copied from where they are.

Not run on a card yet: see `cuda.Paths`.  cupy refuses to capture its own products; see `cublas`.

Source: docs.cupy.dev, cupy.cuda.Stream.begin_capture; CUDA programming guide, "CUDA Graphs".
"""

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import numpy as np

from overfeat_tools.backend.arrays import Array, FloatArray
from overfeat_tools.backend.program import Recording


class CardGraph:
    """A captured pass.

    Parameters
    ----------
    compute : callable
        Queues the pass, reading the array that it is given.
    x : array
        A batch such as it will be launched with.
    cuda : module
        cupy's.
    stream : cupy stream
        The current one.
    """

    def __init__(self, compute: Callable[[Recording, Array], list[FloatArray]], x: Any, cuda: Any, stream: Any) -> None:  # noqa: ANN401 -- cupy's are untyped
        self._x, self._stream, self._pool = x.copy(), stream, cuda.MemoryPool()
        recording = Recording()
        with cuda.using_allocator(self._pool.malloc):
            # Once for real: what compiles kernels or brings tables to the card can't be captured.  The memory that it
            # leaves in the pool is then used again, so that none need be asked for meanwhile.
            compute(Recording(), self._x)
            stream.begin_capture()
            try:
                self._results = compute(recording, self._x)
            finally:
                self._graph = stream.end_capture()
        self._steps = len(recording.step_ends)

    def launch(self, x: Array) -> tuple[list[FloatArray], Array]:
        """Queue the pass for a batch; give new arrays, and when it was begun and had been queued, in nanoseconds."""
        begun = perf_counter_ns()
        self._x[...] = x
        self._graph.launch(self._stream)
        return [y.copy() for y in self._results], np.array([begun, perf_counter_ns()], np.int64)

    def step_seconds(self, times: Array) -> list[float]:
        """Tell how long each step took to queue: equal parts of the whole."""
        return [float(times[1] - times[0]) * 1e-9 / self._steps] * self._steps
