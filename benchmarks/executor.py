"""What the executor itself takes: an empty stage, and Python around the passes of one picture.

    benchmarks/executor.py [THREADS ...]

By default for 1, 2, 4, ... threads up to all processors, and for eight times as many as there are.
"""

import statistics
import sys
from time import perf_counter

import numpy as np

from overfeat_tools.backend import Call, CpuBackend, FunctionBuilder, Program, Recording, Value, machine
from overfeat_tools.backend.executor import Executor
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import TINY

_STAGES = 1000
_ROUNDS = 9
_PICTURES = 200


def main() -> None:
    """Print a row for each number of threads."""
    processors = machine.processors()
    powers = [1 << i for i in range(processors.bit_length()) if 1 << i < processors]
    counts = [int(text) for text in sys.argv[1:]] or [*powers, processors, 8 * processors]
    print(f"{processors} processors; microseconds")
    print("threads  stage of 1 piece  of 64 pieces  a whole run  Python around a pass")
    for count in counts:
        one, many = (_empty_stage(count, processors, pieces) for pieces in (1, 64))
        print(f"{count:7} {one[0]:17.2f} {many[0]:13.2f} {many[1]:12.1f} {_around_a_pass(count):21.1f}", flush=True)


def _empty_stage(threads: int, processors: int, pieces: int) -> tuple[float, float]:
    """Give the time of a stage among many, and of a run that has one only."""
    compiler = CpuBackend(threads).compiler
    if compiler is None or not compiler.usable():
        sys.exit("nothing is compiled for this processor")
    nothing = compiler.function("nothing", b"", lambda module, symbol: _write_nothing(compiler, module, symbol))
    executor = Executor(compiler, threads, processors)

    def microseconds(stages: int, rounds: int) -> float:
        recording = Recording()
        for _ in range(stages):
            recording.add([[Call(nothing, ())]] * pieces, 0)
        program, taken = Program(recording, {}, ()), []
        for _ in range(rounds):
            start = perf_counter()
            executor.run(program)
            taken.append((perf_counter() - start) * 1e6)
        return statistics.median(taken)

    return microseconds(_STAGES, _ROUNDS) / _STAGES, microseconds(1, _STAGES)


def _write_nothing(compiler: object, module: Value, symbol: str) -> None:
    FunctionBuilder(compiler, module, symbol, {}).finish()  # type: ignore[arg-type]


def _around_a_pass(threads: int) -> float:
    """Give what Python takes of a pass of `tiny`: all of it but the stages."""
    network = Network(TINY, None, CpuBackend(threads), reproducible=True)
    picture, taken = np.zeros((1, TINY.input_size, TINY.input_size, 3), np.uint8), []
    for _ in range(_PICTURES):
        inside = sum(network.seconds.values()) - network.seconds[TINY.last_layer]
        start = perf_counter()
        network.run(picture)
        whole = perf_counter() - start
        taken.append((whole - (sum(network.seconds.values()) - network.seconds[TINY.last_layer] - inside)) * 1e6)
    return statistics.median(taken[_PICTURES // 2 :])


if __name__ == "__main__":
    main()
