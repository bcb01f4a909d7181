"""The steps of a pass: which layers are computed in one go, on what sizes, in how much memory."""

import math
from functools import lru_cache
from itertools import accumulate

from overfeat_tools.convolution import FLOAT_BYTES, Convolution, Geometry
from overfeat_tools.networks.layers import Convolve, FragmentPool, Layer, MaxPool, Pad, Rectify
from overfeat_tools.networks.topology import CHANNELS, Topology

# Layers that are computed together with the one before them, if that is of the kind named.
_JOINED_BY: dict[type[Layer], type[Layer]] = {Convolve: Pad, Rectify: Convolve, MaxPool: Rectify}


@lru_cache
def steps(topology: Topology, last: int) -> tuple[tuple[int, ...], ...]:
    """Group the layers up to `last` into steps that are computed in one go.

    A convolution also computes the padding before it and the rectifier and the pool after it:
    none needs a pass over memory of its own.
    """
    grouped: list[tuple[int, ...]] = []
    for number, layer in enumerate(topology.layers[: last + 1]):
        if number and isinstance(topology.layers[number - 1], _JOINED_BY.get(type(layer), ())):
            grouped[-1] += (number,)
        else:
            grouped.append((number,))
    return tuple(grouped)


def copies_before(topology: Topology) -> list[int]:
    """Give how many maps of one picture each layer takes; and behind them, how many the last one gives."""
    pools = (layer.size**2 if isinstance(layer, FragmentPool) else 1 for layer in topology.layers)
    return list(accumulate(pools, int.__mul__, initial=1))


def find_geometries(
    topology: Topology, convolutions: dict[int, Convolution], height: int, width: int, last: int
) -> tuple[tuple[int, int, tuple[Geometry, int]], ...]:
    """Give numbers, maps a picture, geometries and pool sizes of the convolutions up to a layer, for one size."""
    shapes, copies = [(CHANNELS, height, width), *topology.shapes(height, width)], copies_before(topology)
    return tuple(
        (number, copies[number], (convolutions[number].geometry(*shapes[step[0]][1:], pool_size), pool_size))
        for step in steps(topology, last)
        for pool_size in (epilogue_of(topology, step)[1],)
        for number in step
        if number in convolutions
    )


def bound_bytes(
    topology: Topology, convolutions: dict[int, Convolution], pictures: int, height: int, width: int, last: int
) -> int:
    """Bound the memory of a batch: see `Network.needed_bytes`."""
    shapes, copies = [(CHANNELS, height, width), *topology.shapes(height, width)], copies_before(topology)
    # Maps go into two workspaces in turn, the result into memory of its own.
    maps = [0, 0, 0]
    for number, step in enumerate(steps(topology, last)):
        place = 2 if step[-1] == last else number % 2
        count = pictures * copies[step[-1] + 1]
        maps[place] = max(maps[place], count * math.prod(shapes[step[-1] + 1]) * FLOAT_BYTES)
    workspaces = (
        convolutions[number].workspace_bytes(pictures * count, geometry, pool_size)
        for number, count, (geometry, pool_size) in find_geometries(topology, convolutions, height, width, last)
    )
    # Workspaces are kept by name, and not all of them are largest in the same layer.
    return int(1.25 * (sum(maps) + max(workspaces, default=0)))


def epilogue_of(topology: Topology, step: tuple[int, ...]) -> tuple[float | None, int]:
    """Give the threshold of a step's rectifier, None without one, and the size of its pool, 1 without one."""
    layers = [topology.layers[number] for number in step]
    threshold = next((layer.threshold for layer in layers if isinstance(layer, Rectify)), None)
    return threshold, next((layer.size for layer in layers if isinstance(layer, MaxPool)), 1)
