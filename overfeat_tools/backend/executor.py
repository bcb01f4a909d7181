"""The executor: threads that live in compiled code and carry out programs of compiled calls (`executor.ll`)."""

import ctypes
import os
import sys
import threading
import weakref
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from overfeat_tools.backend.arrays import Array, aligned_empty
from overfeat_tools.backend.calls import Compiled, address
from overfeat_tools.backend.compiler import Compiler, is_arm
from overfeat_tools.backend.machine import threads_with_room
from overfeat_tools.backend.program import Program

_SOURCE = Path(__file__).with_name("executor.ll")

_STATE_WORDS, _MUTEX, _CONDITION, _FINISHED = 112, 80, 96, 48
_STAGE, _STAGES, _TABLE, _TIMES, _SCRATCH, _SHARE, _CANCELLED, _, _SPINS, _BEGIN, _OVER = range(66, 77)

# The longest line of a cache that there is: scratch memories of two threads should have none in common.
_LONG_LINE_BYTES = 128

# How often an idle thread looks before it sleeps: for 50 to 150 microseconds, about what waking one takes.  Where there
# are more threads than processors, those that look keep others from computing.
_MOST_SPINS = 2000
_FEW_SPINS = 20


class Executor:
    """Up to `count` threads, the calling one among them; as many of the others as the system starts.

    Only one thread may run a program at a time.

    Parameters
    ----------
    compiler : Compiler
    count : int
        Threads.
    processors : int
        How many of them can run at the same time.
    """

    def __init__(self, compiler: Compiler, count: int, processors: int) -> None:
        self._compiler, self._count = compiler, count
        self.threads = 1  # that have been started, the caller's included
        self._spins = _MOST_SPINS if count <= processors else _FEW_SPINS
        self._stop: weakref.finalize[..., Executor] | None = None
        self._scratch = np.empty(0, np.uint8)
        if hasattr(os, "register_at_fork"):
            forget = weakref.WeakMethod(self.forget)

            def after_in_child() -> None:
                if forget_now := forget():
                    forget_now()

            os.register_at_fork(after_in_child=after_in_child)

    def run(self, program: Program) -> Array:
        """Carry out a program; return the times at which each stage began, and the last ended, in nanoseconds.

        Whatever is raised meanwhile (by a signal's handler), no thread is at work any more when this returns.
        """
        if self._stop is None:
            self._start()
        state, times = self._state, np.empty(len(program.stages) + 1, np.int64)
        self._provide_scratch(program.scratch_bytes)
        state[[_FINISHED, _OVER, _STAGE, _STAGES, _TABLE, _TIMES, _CANCELLED, _BEGIN]] = (
            0, 0, -1, len(program.stages), address(program.stages), address(times), 0, 1
        )  # fmt: skip
        raised: BaseException | None = None
        while not state[_OVER]:
            try:
                self._work(state, 0)
            except BaseException as error:  # noqa: BLE001 -- raised below; a second one must not end the wait, either
                state[_CANCELLED], raised = 1, raised or error
        if raised:
            raise raised
        return times

    def _provide_scratch(self, size_bytes: int) -> None:
        share = -(-size_bytes // _LONG_LINE_BYTES) * _LONG_LINE_BYTES
        if share > self._state[_SHARE]:
            self._scratch = np.empty(0, np.uint8)  # given back before more is asked for
            self._scratch = aligned_empty((share * self.threads,), np.uint8)
            self._state[[_SHARE, _SCRATCH]] = share, address(self._scratch)

    def _start(self) -> None:
        self._work = self._compiler.function("executor", _SOURCE.read_bytes() + repr(_instructions()).encode(), build)
        self._state = aligned_empty((_STATE_WORDS,), np.int64)
        self._state[:] = 0
        self._state[_SPINS] = self._spins
        for name, word in (("mutex", _MUTEX), ("cond", _CONDITION)):
            initialise = getattr(ctypes.CDLL(None), f"pthread_{name}_init")
            initialise(ctypes.c_void_p(address(self._state[word:])), None)
        self._scratch = np.empty(0, np.uint8)
        threads: list[threading.Thread] = []
        for number in range(1, threads_with_room(self._count)):
            thread = threading.Thread(target=self._work, args=(self._state, number), daemon=True, name="overfeat")
            try:
                thread.start()
            except RuntimeError:  # "can't start new thread"
                break
            threads.append(thread)
        self.threads = 1 + len(threads)
        # At the end of the process, too: the machine code must not go while threads are in it.
        self._stop = weakref.finalize(self, _stop, self._work, self._state, threads)

    def forget(self) -> None:
        """Forget the threads of the parent process, in a child that has none of them."""
        if self._stop:
            self._stop.detach()
        self._stop = None


def _stop(work: Compiled, state: Array, threads: list[threading.Thread]) -> None:
    work(state, -1)
    for thread in threads:
        thread.join()


def build(module: Any, symbol: str) -> str:  # noqa: ANN401, ARG001 -- llvmlite is untyped
    """Return the source of the threads' function for this system."""
    return Template(_SOURCE.read_text("ascii")).substitute(_instructions(), symbol=symbol)


def _instructions() -> dict[str, str]:
    """Return what of the source differs between systems.

    On ARM `isb` takes about as long as `pause` on x86; `yield`, which is meant for it, takes no time at all, as these
    processors don't run two threads on a core.
    """
    barrier, pause = "void @llvm.aarch64.isb(i32 15)", "void @llvm.x86.sse2.pause()"
    clock = "6" if sys.platform == "darwin" else "1"  # CLOCK_MONOTONIC
    if is_arm():
        call, declaration = f"call {barrier}", "declare void @llvm.aarch64.isb(i32)"
        return {"declaration": declaration, "pause": call, "synchronise": call, "clock": clock}
    return {"declaration": f"declare {pause}", "pause": f"call {pause}", "synchronise": "", "clock": clock}
