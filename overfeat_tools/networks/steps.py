"""What is computed in one go: the steps of a pass, on what sizes, and the memory that they take."""

import math
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate

from overfeat_tools.convolution import FLOAT_BYTES, Convolution, Geometry
from overfeat_tools.networks.layers import Convolve, FragmentPool, Layer, MaxPool, Pad, Rectify, Softmax
from overfeat_tools.networks.topology import CHANNELS, Topology

# Layers that are computed together with the one before them, if that is of the kind named.
_JOINED_BY: dict[type[Layer], type[Layer]] = {Convolve: Pad, Rectify: Convolve, MaxPool: Rectify}
ENDS = (Rectify, MaxPool, FragmentPool)
"""Layers that end a convolution, if nothing between is wanted."""


def kept_layers(topology: Topology, layers: Iterable[int]) -> tuple[int, ...]:
    """Give the layers to keep for those that are wanted: paddings and the softmax are made of the layer before."""
    return tuple(sorted({number - isinstance(topology.layers[number], Pad | Softmax) for number in layers}))


@lru_cache
def steps(topology: Topology, *kept: int) -> tuple[tuple[int, ...], ...]:
    """Group the layers up to the last of `kept` into steps that are computed in one go; one that is kept ends a step.

    A convolution also computes the padding before it and the rectifier and the pool after it:
    none needs a pass over memory of its own.
    """
    grouped: list[tuple[int, ...]] = []
    for number, layer in enumerate(topology.layers[: max(kept) + 1]):
        before = topology.layers[number - 1] if number and number - 1 not in kept else None
        if isinstance(before, _JOINED_BY.get(type(layer), ())):
            grouped[-1] += (number,)
        else:
            grouped.append((number,))
    return tuple(grouped)


def copies_before(topology: Topology) -> list[int]:
    """Give how many maps of one picture each layer takes; and behind them, how many the last one gives."""
    pools = (len(layer.offsets) if isinstance(layer, FragmentPool) else 1 for layer in topology.layers)
    return list(accumulate(pools, int.__mul__, initial=1))


def find_geometries(
    topology: Topology, convolutions: dict[int, Convolution], height: int, width: int, kept: tuple[int, ...]
) -> tuple[tuple[int, int, tuple[Geometry, int]], ...]:
    """Give numbers, maps a picture, geometries and pool sizes of the convolutions of a pass, for one size."""
    shapes, copies = [(CHANNELS, height, width), *topology.shapes(height, width)], copies_before(topology)
    return tuple(
        (number, copies[number], (convolutions[number].geometry(*shapes[step[0]][1:], pool_size), pool_size))
        for step in steps(topology, *kept)
        for pool_size in (epilogue_of(topology, step)[1],)
        for number in step
        if number in convolutions
    )


def bound_bytes(
    topology: Topology,
    convolutions: dict[int, Convolution],
    pictures: int,
    height: int,
    width: int,
    layers: tuple[int, ...],
) -> int:
    """Bound the memory of a batch: see `Network.needed_bytes`."""
    shapes, kept = [(CHANNELS, height, width), *topology.shapes(height, width)], kept_layers(topology, layers)
    copies = copies_before(topology)
    sizes = [
        pictures * count * math.prod(shape) * FLOAT_BYTES
        for count, shape in zip(copies[1:], shapes[1:], strict=True)
    ]
    # Maps go into two workspaces in turn, what is kept into memory of its own.
    maps = [0, 0]
    for number, step in enumerate(steps(topology, *kept)):
        if step[-1] not in kept:
            maps[number % 2] = max(maps[number % 2], sizes[step[-1]])
    workspaces = (
        convolutions[number].workspace_bytes(pictures * count, geometry, pool_size)
        for number, count, (geometry, pool_size) in find_geometries(topology, convolutions, height, width, kept)
    )
    results = sum(sizes[number] for number in {*layers, *kept})
    # Workspaces are kept by name, and not all of them are largest in the same layer.
    return int(1.25 * (sum(maps) + results + max(workspaces, default=0)))


def epilogue_of(topology: Topology, step: tuple[int, ...]) -> tuple[float | None, int]:
    """Give the threshold of a step's rectifier, None without one, and the size of its pool, 1 without one."""
    layers = [topology.layers[number] for number in step]
    threshold = next((layer.threshold for layer in layers if isinstance(layer, Rectify)), None)
    return threshold, next((layer.size for layer in layers if isinstance(layer, MaxPool)), 1)
