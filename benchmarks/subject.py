"""Our side: a network in this process, warmed up until it no longer changes its mind."""

import math
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy.typing as npt

from overfeat_tools.backend import CpuBackend
from overfeat_tools.commands.run import memory_for_packed_weights
from overfeat_tools.convolution import Geometry
from overfeat_tools.networks.layers import Pad
from overfeat_tools.networks.network import CHANNELS, Network, Topology, ending, steps

Array = npt.NDArray[Any]

# So long may spectra go on paying for themselves; what is not bought then is not worth it.
_MOST_BATCHES = 5000


@dataclass(frozen=True)
class WarmUp:
    """The first batch's time, and how many batches pass before the ways stop changing."""

    first_seconds: float
    batches: int


def open_network(topology: Topology, weights: Path, threads: int) -> Network:
    """Open a network as the commands do."""
    backend = CpuBackend(threads)
    return Network(topology, weights.parent, backend, spectra_limit_bytes=memory_for_packed_weights(backend))


def geometries(network: Network, height: int, width: int) -> dict[int, Geometry]:
    """Give the sizes of each convolution for one picture size, by layer, as the network asks for it: what is pooled."""
    layers = network.topology.layers
    shapes = [(CHANNELS, height, width), *network.topology.shapes(height, width)]
    squares = {
        number: ending(network.topology, step)[1]
        for step in steps(network.topology, network.topology.last_layer)
        for number in step
    }
    return {
        number: convolution.geometry(*shapes[number - isinstance(layers[number - 1], Pad)][1:], squares[number])
        for number, convolution in network.convolutions.items()
    }


def multiply_adds(network: Network, height: int, width: int) -> int:
    """Count those of the direct convolutions of one picture."""
    shapes = network.topology.shapes(height, width)
    return sum(
        convolution.weight.size * math.prod(shapes[number][1:]) for number, convolution in network.convolutions.items()
    )


def warm_up(network: Network, pictures: Array, last: int | None = None) -> WarmUp:
    """Run a batch until no convolution would choose another way, however often it came.

    A convolution buys its spectra when doing without has cost as much, perhaps after hundreds of
    batches.  Asking it to choose counts as a batch to it, so those batches need not be run: only
    where a choice changes is one run, which makes the spectra.
    """
    start = perf_counter()
    network.run(pictures, last)
    first_seconds = perf_counter() - start
    batches = changed = 1
    sizes = {
        number: geometry
        for number, geometry in geometries(network, *pictures.shape[2:]).items()
        if last is None or number <= last
    }
    ways = _choices(network, sizes, len(pictures))
    while batches - changed < _MOST_BATCHES:
        batches += 1
        chosen = _choices(network, sizes, len(pictures))
        if chosen != ways:
            network.run(pictures, last)
            changed, ways = batches, chosen
    network.run(pictures, last)
    return WarmUp(first_seconds, changed)


def _choices(network: Network, sizes: dict[int, Geometry], pictures: int) -> list[str]:
    return [str(network.convolutions[number].choose(pictures, geometry)) for number, geometry in sizes.items()]
