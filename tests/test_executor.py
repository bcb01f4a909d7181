"""Programs of compiled calls: every piece once, stages in their order, whatever the threads and the system do."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from overfeat_tools.backend import Call, Compiled, CpuBackend, FunctionBuilder, Place, Program, Recording, Scratch
from overfeat_tools.backend.executor import Executor

COUNT = {"counter": "table", "step": "integer"}
DELAY = {"counter": "table", "rounds": "integer"}


@pytest.fixture(scope="module")
def cpu() -> CpuBackend:
    """Give a backend that compiles."""
    backend = CpuBackend(2)
    if backend.compiler is None or not backend.compiler.usable():
        pytest.skip("nothing is compiled for this processor")
    return backend


def function(cpu: CpuBackend, name: str) -> Compiled:
    """Compile `counter = counter * 3 + step`, or a loop that takes as long as it is told."""
    assert cpu.compiler is not None
    compiler = cpu.compiler

    def build(module: object, symbol: str) -> None:
        builder = FunctionBuilder(compiler, module, symbol, COUNT if name == "count" else DELAY)
        emit, a = builder.emit, builder.arguments
        if name == "count":
            emit.store(builder.plus(builder.times(emit.load(a.counter), 3), a.step), a.counter)
        else:
            with builder.loop(builder.integer(0), a.rounds):
                emit.load(a.counter, align=8).volatile = True
                emit.store(builder.plus(emit.load(a.counter), 1), a.counter)
        builder.finish()

    return compiler.function(f"test_{name}", b"", build)


def program(stages: Sequence[Sequence[list[Call]]], scratch_bytes: int = 0) -> Program:
    """Lay out a program."""
    recording = Recording()
    for pieces in stages:
        recording.add(pieces, scratch_bytes)
        recording.end_step()
    return Program(recording, {}, ())


@pytest.mark.parametrize("processors", [1, 64])
@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_every_piece_once_in_its_stage(threads: int, processors: int, cpu: CpuBackend) -> None:
    """A counter is multiplied in every stage, so an exchange of stages, or a piece left out or repeated, shows."""
    assert cpu.compiler is not None
    executor, count = Executor(cpu.compiler, threads, processors), function(cpu, "count")
    sizes = (1, 5, 64, 2, 1, 33, 0, 7)
    counters = np.zeros(64 * 8, np.int64)
    whole = program([
        [[Call(count, (Place(counters, 64 * piece), stage + 1))] for piece in range(size)]
        for stage, size in enumerate(sizes)
    ])  # fmt: skip
    expected = np.zeros(64, np.int64)
    for _ in range(300):
        times = executor.run(whole)
        assert (np.diff(times) >= 0).all()
        for stage, size in enumerate(sizes):
            expected[:size] = expected[:size] * 3 + stage + 1
        np.testing.assert_array_equal(counters[::8], expected)


def test_calls_of_a_piece_in_order_and_scratch_of_each_thread(cpu: CpuBackend) -> None:
    """What a piece leaves in scratch memory its next call finds, whoever else works at the same time."""
    assert cpu.compiler is not None
    executor, count = Executor(cpu.compiler, 4, 4), function(cpu, "count")
    add = {"out": "table", "part": "table"}

    def build(module: object, symbol: str) -> None:
        assert cpu.compiler is not None
        builder = FunctionBuilder(cpu.compiler, module, symbol, add)
        a, emit = builder.arguments, builder.emit
        emit.store(emit.load(a.part), a.out)
        emit.store(builder.integer(0), a.part)
        builder.finish()

    move = cpu.compiler.function("test_move", b"", build)
    out = np.zeros(1000, np.int64)
    pieces = [
        [*[Call(count, (Scratch(4096), 1))] * (piece % 20), Call(move, (Place(out, 8 * piece), Scratch(4096)))]
        for piece in range(1000)
    ]
    clear = [[Call(move, (np.zeros(1, np.int64), Scratch(4096)))]] * 64
    for _ in range(20):
        executor.run(program([clear, pieces], 4104))
    assert executor.threads == 4
    np.testing.assert_array_equal(out, [(3 ** (piece % 20) - 1) // 2 for piece in range(1000)])


def test_an_interrupt_ends_a_program_early_and_whole(cpu: CpuBackend) -> None:
    """Nobody computes any more when it is raised, and the next program runs as if nothing had been."""
    assert cpu.compiler is not None
    executor, delay = Executor(cpu.compiler, 3, 2), function(cpu, "delay")
    counters = np.zeros(8 * 3000, np.int64)
    rounds = 3_000_000  # some milliseconds
    long = program([[[Call(delay, (Place(counters, 64 * piece), rounds))] for piece in range(3000)]])

    def interrupt() -> None:
        while not counters.any():
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        executor.run(long)
    left = counters.copy()
    time.sleep(0.05)
    np.testing.assert_array_equal(counters, left)
    assert set(counters[::8]) == {0, rounds}
    count, counter = function(cpu, "count"), np.zeros(1, np.int64)
    executor.run(program([[[Call(count, (counter, 5))]]]))
    assert counter[0] == 5


def test_interrupts_one_after_the_other(cpu: CpuBackend) -> None:
    """The first is raised, and only when the program has come to its end."""
    assert cpu.compiler is not None
    executor, delay = Executor(cpu.compiler, 2, 2), function(cpu, "delay")
    counters, calls = np.zeros(8 * 200, np.int64), 0
    whole = program([[[Call(delay, (Place(counters, 64 * piece), 3_000_000))] for piece in range(200)]])
    executor.run(program([]))
    work = executor._work  # noqa: SLF001 -- what returns to Python from time to time

    def interrupted(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls in (2, 3):
            raise KeyboardInterrupt(calls)
        work(*arguments)

    executor._work = interrupted  # noqa: SLF001
    with pytest.raises(KeyboardInterrupt, match="2"):
        executor.run(whole)
    left = counters.copy()
    time.sleep(0.05)
    np.testing.assert_array_equal(counters, left)
    assert 0 in left


def _in_child(executor: Executor, whole: Program) -> None:
    executor.run(whole)
    os._exit(0)


def test_forks(cpu: CpuBackend) -> None:
    """A child starts threads of its own, whether its parent had any or not."""
    assert cpu.compiler is not None
    count, counters = function(cpu, "count"), np.zeros(80, np.int64)
    whole = program([[[Call(count, (Place(counters, 64 * piece), 1))] for piece in range(10)]] * 3)
    executor = Executor(cpu.compiler, 3, 2)
    context = multiprocessing.get_context("fork")
    for _ in range(2):
        child = context.Process(target=_in_child, args=(executor, whole))
        child.start()
        child.join(30)
        assert child.exitcode == 0
        executor.run(whole)
    assert set(counters[::8]) == {1 + 3 + 9 + 27 + 81 + 243}


def test_threads_that_cannot_be_started(cpu: CpuBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu.compiler is not None
    real, started = threading.Thread.start, []

    def start(thread: threading.Thread) -> None:
        if len(started) > 1:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    executor, count, counter = Executor(cpu.compiler, 300, 2), function(cpu, "count"), np.zeros(1, np.int64)
    executor.run(program([[[Call(count, (counter, 5))]]]))
    assert counter[0] == 5
    assert executor.threads == 3


def test_executors_that_nobody_needs_end_their_threads(cpu: CpuBackend) -> None:
    assert cpu.compiler is not None
    gc.collect()  # what other tests have left
    before, count, counter = threading.active_count(), function(cpu, "count"), np.zeros(1, np.int64)
    for _ in range(50):  # each may meet the threads looking, or about to sleep, or asleep
        executor = Executor(cpu.compiler, 4, 2)
        executor.run(program([[[Call(count, (counter, 5))]]]))
        assert threading.active_count() == before + 3
        del executor
        assert threading.active_count() == before


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("end", ["pass", "raise SystemExit", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"])
def test_the_end_of_the_process(end: str) -> None:
    """Threads that spin, or sleep, in compiled code don't outlive it."""
    script = f"""
import numpy as np, time, sys
from overfeat_tools.backend import CpuBackend
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import TOPOLOGIES
network = Network(TOPOLOGIES["tiny"], None, CpuBackend(4))
pictures = np.zeros((32, 231, 231, 3), np.uint8)
for _ in range(4):
    network.run(pictures)
assert network.backend.compiler.loaded
{end}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGTERM if "SIGTERM" in end else 0, b"")
