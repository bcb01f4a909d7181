"""One run of a network in a process of its own, told as JSON: what starting takes, and what it needs.

child.py NETWORK FOLDER THREADS PICTURES HEIGHT WIDTH LAST ROUNDS
"""

# ruff: noqa: E402 -- the point is to time the imports
from time import monotonic

began = monotonic()

import json
import sys
from pathlib import Path

import numpy as np
import pyfftw  # noqa: F401 -- the engine imports it with its first Fourier plan
import threadpoolctl  # noqa: F401 -- and this with its first batch

import overfeat_tools.networks.classes
import overfeat_tools.results.ranking  # noqa: F401 -- what of-classify imports
from overfeat_tools.backend import CpuBackend
from overfeat_tools.commands.run import memory_for_packed_weights
from overfeat_tools.networks.network import TOPOLOGIES, Network

imported = monotonic()

import statistics

from measure import memory
from subject import geometries, warm_up

name, folder, *numbers = sys.argv[1:]
threads, pictures, height, width, last, rounds = map(int, numbers)
batch = np.random.default_rng(7).integers(0, 256, (pictures, height, width, 3), np.uint8).transpose(0, 3, 1, 2)

start = monotonic()
backend = CpuBackend(threads)
network = Network(TOPOLOGIES[name], Path(folder), backend, spectra_limit_bytes=memory_for_packed_weights(backend))
mapped = monotonic()
for number, geometry in geometries(network, height, width).items():
    if number <= last:
        network.convolutions[number].choose(pictures, geometry)
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
    "ways": {number: next(reversed(convolution.used), "") for number, convolution in network.convolutions.items()},
    "peak_bytes": memory()["VmHWM"],
}
print(json.dumps(report))
