"""Run a network in a process of its own and report as JSON what starting takes, and how much time and memory it needs.

child.py NETWORK FOLDER THREADS PICTURES HEIGHT WIDTH LAST ROUNDS
"""

# ruff: noqa: E402 -- the point is to time the imports
from time import monotonic

began = monotonic()

import json
import sys
from pathlib import Path

import numpy as np
import pyfftw  # noqa: F401 -- the engine imports it for its first array
import threadpoolctl  # noqa: F401 -- and this with its first batch
from subject import convolutions, open_network, warm_up

import overfeat_tools.networks.classes
import overfeat_tools.results.ranking  # noqa: F401 -- what of-classify imports
from overfeat_tools.networks.topology import TOPOLOGIES

imported = monotonic()

import statistics

from measure import memory

name, folder, *numbers = sys.argv[1:]
threads, pictures, height, width, last, rounds = map(int, numbers)
topology = TOPOLOGIES[name]
batch = np.random.default_rng(7).integers(0, 256, (pictures, height, width, 3), np.uint8)

start = monotonic()
network = open_network(topology, Path(folder) / topology.weight_file, threads)
mapped = monotonic()
for number, one in convolutions(topology, height, width).items():
    if number <= last:
        network.convolutions[number].choose(pictures, one.geometry)
planned = monotonic()
warm = warm_up(network, batch, last)
network.seconds = dict.fromkeys(network.seconds, 0.0)
times = []
for _ in range(rounds):
    begun = monotonic()
    network.run(batch, last)
    times.append(monotonic() - begun)
total = sum(network.seconds.values())
report = {
    "began": began,
    "imports_seconds": imported - began,
    "weights_seconds": mapped - start,
    "plans_seconds": planned - mapped,
    "first_batch_seconds": warm.first_seconds,
    "warm_up_batches": warm.batches,
    "batch_seconds": statistics.median(times),
    "shares": {number: seconds / total for number, seconds in network.seconds.items() if seconds},
    "algorithms": {number: next(reversed(one.used), "") for number, one in network.convolutions.items()},
    "peak_bytes": memory()["VmHWM"],
}
print(json.dumps(report))
