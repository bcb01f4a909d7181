"""How fast of-classify reads, parses, stacks and prints, with no network in between.

The pictures come through a pipe, from a file that is in memory; probabilities are the same for all.  Beside the rate
stands that of reading the pipe and doing nothing.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

SIDE = 231
PIPE_BYTES = 1 << 20

CHILD = """
import sys
from functools import partial
import numpy as np
from overfeat_tools.backend import CpuBackend
from overfeat_tools.commands import classify, run
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import FAST

probabilities = np.random.default_rng(1).dirichlet(np.ones(1000)).astype(np.float32)[None, None, None]


class Nothing(Network):
    def begin_layers(self, pictures, layers):
        return lambda: {layer: np.broadcast_to(probabilities, (len(pictures), 1, 1, 1000)) for layer in layers}


run.open_network = lambda options: Nothing(FAST, None, CpuBackend())
sys.argv = ["of-classify", *sys.argv[1:]]
classify.main()
"""


def seconds(arguments: list[str], path: Path) -> float:
    """Time a program from its first byte of input on."""
    with path.open("rb") as pictures, subprocess.Popen(["cat"], stdin=pictures, stdout=subprocess.PIPE) as producer:  # noqa: S607 -- cat
        start = perf_counter()
        subprocess.run(arguments, stdin=producer.stdout, stdout=subprocess.DEVNULL, check=True)
        return perf_counter() - start


def main() -> None:
    """Print rates: of all, and of the pipe alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112, S108 -- not on every system
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        path = Path(folder, "pictures.ppm")
        one = b"P6\n%d %d\n255\n" % (SIDE, SIDE) + os.urandom(SIDE * SIDE * 3)
        with path.open("wb") as file:
            for _ in range(asked.pictures):
                file.write(one)
        few = Path(folder, "few.ppm")
        few.write_bytes(one)
        ours = [sys.executable, "-P", "-c", CHILD, "-n", "5"]
        reading = ["sh", "-c", f"exec dd bs={PIPE_BYTES} of=/dev/null status=none"]
        times: dict[str, list[float]] = {"of-classify without a network": [], "its pipe": []}
        for _ in range(asked.rounds):
            times["of-classify without a network"].append(seconds(ours, path) - seconds(ours, few))
            times["its pipe"].append(seconds(reading, path))
    for name, spent in times.items():
        print(f"{name:30} {asked.pictures / median(spent):8.0f} pictures of {SIDE}x{SIDE} a second")


if __name__ == "__main__":
    main()
