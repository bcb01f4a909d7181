"""How things are measured: sides that take turns, medians, processes and their memory, the machine."""

import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter, sleep
from typing import IO, Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parent.parent
Array = npt.NDArray[Any]
Samples = dict[str, list[float]]

# A turn shorter than this is repeated: timer and scheduler must not matter.
_TURN_SECONDS = 0.2
_TOLERANCE = 1e-4
# Far more than the caches hold, and a product so large that only computing counts; of so many calls the fastest counts.
_ARRAY_BYTES, _PRODUCT_SIZE, _CALLS = 512 << 20, 2048, 3
# Above this load others are computing too.
_QUIET_LOAD = 0.5


class DifferentResultsError(Exception):
    """The two sides do not compute the same thing, so their times mean nothing."""


def interleave(sides: Mapping[str, Callable[[], object]], rounds: int) -> Samples:
    """Time each side once a round, in turn, so that a slow minute of the machine hits all alike.

    Parameters
    ----------
    sides : mapping of callable
        Short ones are called several times a turn.  One that returns a float has timed itself.
    rounds : int
        How many rounds count; one more, before them, does not.

    Returns
    -------
    dict of list
        Seconds a call, one for each round.
    """
    repeats = {name: max(1, round(_TURN_SECONDS / _seconds(side, 1))) for name, side in sides.items()}
    samples: Samples = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            samples[name].append(_seconds(side, repeats[name]))
    return samples


def _seconds(side: Callable[[], object], repeats: int) -> float:
    start = perf_counter()
    for _ in range(repeats):
        result = side()
    return result if isinstance(result, float) else (perf_counter() - start) / repeats


def median_ratio(over: Sequence[float], under: Sequence[float], scale: float = 1.0) -> float:
    """Give the median of the rounds' ratios."""
    return scale * statistics.median(a / b for a, b in zip(over, under, strict=True))


def check_same(what: str, ours: Array, theirs: Array) -> float:
    """Give the largest difference relative to the largest value.

    Raises
    ------
    DifferentResultsError
        It is too large, or the shapes differ.
    """
    if ours.shape != theirs.shape:
        message = f"{what}: shapes {ours.shape} and {theirs.shape}"
        raise DifferentResultsError(message)
    difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if not difference < _TOLERANCE:
        message = f"{what}: results differ by {difference:.1e} of the largest value"
        raise DifferentResultsError(message)
    return difference


@dataclass(frozen=True)
class Limits:
    """What the machine can do at most: bytes read from memory, and floating point operations, a second."""

    bandwidth: float
    flops: float

    @classmethod
    def measure(cls, threads: int) -> "Limits":
        """Measure both with so many threads: what BLAS needs to read an array once, and for a large product."""
        from threadpoolctl import threadpool_limits

        values, a, b = _operands()
        with ThreadPoolExecutor(threads) as pool, threadpool_limits(1, user_api="blas"):
            parts = np.array_split(values, threads)
            read = min(_seconds(lambda: list(pool.map(lambda x: x @ x, parts)), 1) for _ in range(_CALLS))
        with threadpool_limits(threads, user_api="blas"):
            product = min(_seconds(lambda: a @ b, 1) for _ in range(_CALLS))
        sleep(0.1)  # OpenBLAS's threads spin for a while
        return cls(values.nbytes / read, 2.0 * _PRODUCT_SIZE**3 / product)


@cache
def _operands() -> tuple[Array, Array, Array]:
    a, b = np.random.default_rng(1).standard_normal((2, _PRODUCT_SIZE, _PRODUCT_SIZE), np.float32)
    return np.ones(_ARRAY_BYTES // 4, np.float32), a, b


def environment() -> dict[str, str]:
    """Give the environment for processes of ours: this checkout's package, plain output buffering."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


def command(name: str, *arguments: object) -> list[str]:
    """Give the command line of one of ours, without the launcher's shell."""
    return [sys.executable, "-m", "overfeat_tools", name, *map(str, arguments)]


@dataclass(frozen=True)
class Answers:
    """What a process printed, how long it took as a whole, and until the first bytes came."""

    output: bytes
    seconds: float
    first_seconds: float


def run(arguments: Sequence[str], stdin: Path | None = None) -> Answers:
    """Run a process to its end, reading a file on stdin.

    Raises
    ------
    subprocess.CalledProcessError
        It failed.
    """
    with (stdin or Path(os.devnull)).open("rb") as source:
        start = perf_counter()
        with subprocess.Popen(arguments, stdin=source, stdout=subprocess.PIPE, env=environment()) as process:
            assert process.stdout is not None  # noqa: S101 -- for the type checker
            first = os.read(process.stdout.fileno(), 1 << 16)
            first_seconds = perf_counter() - start
            output = first + process.stdout.read()
        seconds = perf_counter() - start
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(arguments))
    return Answers(output, seconds, first_seconds)


def memory_after(arguments: Sequence[str], pictures: Iterable[bytes], lines: Sequence[int]) -> list[dict[str, int]]:
    """Feed a process and look at its memory whenever it has printed so many lines.

    Parameters
    ----------
    lines : sequence of int
        Ascending; after the last the process is told that the stream ends.

    Returns
    -------
    list of dict
        VmHWM and VmRSS, in bytes: both count the weights that are mapped.
    """
    found = []
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, env=environment()) as process:
        assert process.stdin is not None  # noqa: S101 -- for the type checker
        assert process.stdout is not None  # noqa: S101
        done = threading.Event()
        feeder = threading.Thread(target=_feed, args=(process.stdin, pictures, done))
        feeder.start()
        for number, _ in enumerate(process.stdout, start=1):
            if number in lines:
                found.append(memory(process.pid))
            if number == lines[-1]:
                done.set()
        done.set()
        feeder.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(arguments))
    return found


def _feed(stdin: IO[bytes], pictures: Iterable[bytes], done: threading.Event) -> None:
    for picture in pictures:
        stdin.write(picture)
    stdin.flush()
    done.wait()
    stdin.close()


def memory(process: int | str = "self") -> dict[str, int]:
    """Give a living process's memory in bytes: VmHWM (the most it had) and VmRSS (what it has)."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    sizes = dict(line.split(":", 1) for line in lines)
    return {name: int(sizes[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS")}


def json_of(arguments: Sequence[object]) -> Any:  # noqa: ANN401 -- whatever the program prints
    """Run a Python program of this folder in a fresh process; give the JSON that it prints."""
    return json.loads(run([sys.executable, *map(str, arguments)]).output)


def warn_if_busy(program: str) -> None:
    """Say on stderr that others use the machine, if they do."""
    if (load := os.getloadavg()[0]) > _QUIET_LOAD:
        print(f"{program}: the machine is busy (load {load:.1f}): the figures will mean little", file=sys.stderr)


def machine() -> dict[str, object]:
    """Describe what the figures were measured on."""
    from threadpoolctl import threadpool_info

    blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "blas": ", ".join(f"{b['internal_api']} {b['version']} {b.get('architecture', '')}".strip() for b in blas),
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE"),
        "python": platform.python_version(),
        **{package: _version(package) for package in ("numpy", "pyfftw", "onnxruntime", "openvino")},
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {name.strip(): value.strip() for name, value in fields.items()}
    vectors = [name for name in ("avx2", "avx512f") if name in named.get("flags", "").split()]
    return " ".join([named.get("model name", platform.machine()), *vectors])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def markdown(heading: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Give the lines of a table, and an empty one."""
    cells = [heading, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for number, line in enumerate(cells):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        if number == 0:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    yield ""
