"""How fast of-classify reads, parses, stacks and prints, with no network in between.

The pictures come through a pipe, or from a file, that is in memory; probabilities are the same for all.  Beside each
rate stands that of reading the same into one piece of memory, and doing nothing: what no reader can be faster than.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

from inputs import weights

from overfeat_tools.networks.topology import FAST

SIDE = 231

CHILD = """
import sys
import numpy as np
from overfeat_tools.backend import CpuBackend
from overfeat_tools.commands import classify, run
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import FAST

probabilities = np.random.default_rng(1).dirichlet(np.ones(1000)).astype(np.float32)[None, None, None]


class Nothing(Network):
    def begin_layers(self, pictures, layers):
        return lambda: {layer: np.broadcast_to(probabilities, (len(pictures), 1, 1, 1000)) for layer in layers}


folder = sys.argv.pop(1)
run.open_network = lambda options: Nothing(FAST, folder, CpuBackend())
classify.main()
"""

READER = """
import fcntl, os
try:
    fcntl.fcntl(0, fcntl.F_SETPIPE_SZ, 1 << 20)
except OSError:
    pass
memory = bytearray(1 << 20)
while os.readv(0, [memory]):
    pass
"""


def through_a_pipe(arguments: list[str], path: Path) -> float:
    """Time a program that reads a pipe."""
    with path.open("rb") as pictures, subprocess.Popen(["cat"], stdin=pictures, stdout=subprocess.PIPE) as producer:  # noqa: S607 -- cat
        start = perf_counter()
        subprocess.run(arguments, stdin=producer.stdout, stdout=subprocess.DEVNULL, check=True)
        return perf_counter() - start


def from_a_file(arguments: list[str], path: Path) -> float:
    """Time a program that reads a file."""
    with path.open("rb") as pictures:
        start = perf_counter()
        subprocess.run(arguments, stdin=pictures, stdout=subprocess.DEVNULL, check=True)
        return perf_counter() - start


WAYS: dict[str, Callable[[list[str], Path], float]] = {"a pipe": through_a_pipe, "a file": from_a_file}


def main() -> None:
    """Print rates, and how near they are to what is possible."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112, S108 -- not on every system
    folder_of_weights = str(weights(FAST, None).parent)
    programs = {
        "of-classify without a network": [sys.executable, "-P", "-c", CHILD, folder_of_weights, "-n", "5"],
        "reading": [sys.executable, "-P", "-c", READER],
    }
    times: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        many, few = Path(folder, "pictures.ppm"), Path(folder, "few.ppm")
        one = b"P6\n%d %d\n255\n" % (SIDE, SIDE) + os.urandom(SIDE * SIDE * 3)
        few.write_bytes(one)
        with many.open("wb") as file:
            for _ in range(asked.pictures):
                file.write(one)
        for _ in range(asked.rounds):
            for way, seconds in WAYS.items():
                for name, arguments in programs.items():
                    spent = seconds(arguments, many) - seconds(arguments, few)
                    times.setdefault((way, name), []).append(spent)
    for way in WAYS:
        ours, bound = (times[way, name] for name in programs)
        for name in programs:
            print(f"{name:30} from {way}: {asked.pictures / median(times[way, name]):7.0f} pictures a second")
        print(f"of what is possible: {median(b / a for a, b in zip(ours, bound, strict=True)):.2f}")


if __name__ == "__main__":
    main()
