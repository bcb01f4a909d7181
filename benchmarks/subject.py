"""Our side: a network in this process, warmed up until its choice of algorithms no longer changes."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy.typing as npt

from overfeat_tools.backend import CpuBackend
from overfeat_tools.convolution import Geometry
from overfeat_tools.convolution.geometry import FLOAT_BYTES
from overfeat_tools.networks.layers import Convolve, Pad
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.opening import memory_for_packed_weights
from overfeat_tools.networks.steps import epilogue_of, steps
from overfeat_tools.networks.topology import CHANNELS, Topology

Array = npt.NDArray[Any]

# Packed weights that have not paid for themselves after so many batches never will.
_MAX_BATCHES = 5000


class Convolved(NamedTuple):
    """The sizes of a convolution in a network, what its pool drops left out, and the size of that pool."""

    geometry: Geometry
    pool_size: int


@dataclass(frozen=True)
class WarmUp:
    """The time of the first batch, and the number of batches until the algorithms stopped changing."""

    first_seconds: float
    batches: int


def open_network(topology: Topology, weights: Path, threads: int) -> Network:
    """Open a network as the commands do."""
    backend = CpuBackend(threads)
    limit_bytes = memory_for_packed_weights(backend)
    return Network(topology, weights.parent, backend, packed_limit_bytes=limit_bytes)


def convolutions(topology: Topology, height: int, width: int) -> dict[int, Convolved]:
    """List the convolutions that a network computes for one picture size, by layer."""
    inputs = [(CHANNELS, height, width), *topology.shapes(height, width)]
    kernels = iter(topology.kernel_shapes)
    found = {}
    for step in steps(topology, topology.last_layer):
        layers = {number: topology.layers[number] for number in step}
        padding = sum(layer.width for layer in layers.values() if isinstance(layer, Pad))
        for number, layer in layers.items():
            if isinstance(layer, Convolve):
                count, channels, kernel_height, kernel_width = next(kernels)
                _, rows, columns = inputs[step[0]]
                sizes = (channels, rows, columns, count, kernel_height, kernel_width)
                geometry = Geometry(*sizes, layer.stride, padding)
                _, pool_size = epilogue_of(topology, step)
                found[number] = Convolved(geometry.cropped(pool_size), pool_size)
    return found


class Needs(NamedTuple):
    """What a batch needs: bytes to read, and operations of direct convolution, two for each multiply-add."""

    read_bytes: int
    operations: int


def needs(topology: Topology, pictures: int, height: int, width: int, last: int) -> Needs:
    """Count what a batch needs up to a layer: all weights once, and the map that each convolution reads."""
    geometries = [one.geometry for number, one in convolutions(topology, height, width).items() if number <= last]
    maps = sum(one.channels * one.height * one.width for one in geometries) * FLOAT_BYTES * pictures
    return Needs(
        sum(one.weight_bytes for one in geometries) + maps, 2 * pictures * sum(one.multiply_adds for one in geometries)
    )


def warm_up(network: Network, pictures: Array, last: int | None = None) -> WarmUp:
    """Run a batch until no convolution would choose another algorithm, however often the batch came.

    Weights are packed once going without has cost as much as packing, perhaps after hundreds of batches.  Those need
    not be run: to the ledger, asking for a choice counts as a batch.  Only where a choice changes is one run, which
    packs the weights.
    """
    start = perf_counter()
    network.run(pictures, last)
    first_seconds = perf_counter() - start
    batches = changed = 1
    chosen = _choices(network, pictures, last)
    while batches - changed < _MAX_BATCHES:
        batches += 1
        now = _choices(network, pictures, last)
        if now != chosen:
            network.run(pictures, last)
            changed, chosen = batches, now
    network.run(pictures, last)
    return WarmUp(first_seconds, changed)


def _choices(network: Network, pictures: Array, last: int | None) -> list[str]:
    return [
        str(network.convolutions[number].choose(len(pictures), one.geometry))
        for number, one in convolutions(network.topology, *pictures.shape[1:3]).items()
        if last is None or number <= last
    ]
