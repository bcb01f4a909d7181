"""What fewer bits would cost: errors of every layer, and how often the answers stay, emulated on the processor.

A card's tensor cores round the factors of each convolution, to 11 bits (TF32) or to half precision, and add up in
float32.  So pictures and weights are rounded before each convolution here, and all else is left as it is.  What is
emulated is the matrix product, not Cook-Toom tiles, whose transforms come between.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from inputs import pictures, weights
from measure import Array, markdown

from overfeat_tools.backend import CpuBackend
from overfeat_tools.convolution import Convolution
from overfeat_tools.networks.layers import Convolve
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import ACCURATE, FAST, Topology

NETWORKS = {topology.name: topology for topology in (FAST, ACCURATE)}
_BATCH = 16


def tf32(x: Array) -> Array:
    """Round float32 to 11 significant bits, to the nearest, to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x0FFF) + (bits >> 13 & 1)) & np.uint32(0xFFFFE000)).view(np.float32)


def half(x: Array) -> Array:
    """Round float32 to half precision."""
    return x.astype(np.float16).astype(np.float32)


ROUNDINGS: dict[str, Callable[[Array], Array]] = {"tf32": tf32, "half": half}


def rounded(convolution: Convolution, rounding: Callable[[Array], Array]) -> None:
    """Let a convolution round what it multiplies."""
    run = convolution.run
    convolution.weight = rounding(convolution.weight)
    convolution.run = lambda algorithm, x, *more: run(algorithm, rounding(x), *more)  # type: ignore[method-assign]


def outputs(topology: Topology, file: Path, some: Array, rounding: Callable[[Array], Array] | None) -> dict[int, Array]:
    """Run pictures; give the outputs of all convolutions, and the probabilities."""
    network = Network(topology, file.parent, CpuBackend(compiling=False), "gemm", 0)
    if rounding:
        for convolution in network.convolutions.values():
            rounded(convolution, rounding)
    layers = [number for number, layer in enumerate(topology.layers) if isinstance(layer, Convolve)]
    run = partial(network.begin_layers, layers=[*layers, topology.last_layer])
    maps = [run(some[start : start + _BATCH])() for start in range(0, len(some), _BATCH)]
    return {number: np.concatenate([one[number] for one in maps]) for number in maps[0]}


def compare(topology: Topology, file: Path, count: int) -> tuple[list[list[str]], list[str]]:
    """Give rows of layers with their errors, and lines about the answers."""
    side = topology.input_size
    some = pictures(count, side, side)
    exact, rows, lines = outputs(topology, file, some, None), {}, []
    for name, rounding in ROUNDINGS.items():
        found = outputs(topology, file, some, rounding)
        for number, wanted in exact.items():
            error = np.abs(found[number] - wanted).max() / np.abs(wanted).max()
            rows.setdefault(number, [topology.name, str(number)]).append(f"{error:.1e}")
        best, ours = (np.argsort(-one[topology.last_layer].reshape(count, -1), axis=1)[:, :5] for one in (exact, found))
        first = (best[:, 0] == ours[:, 0]).mean()
        five = np.mean([set(one) == set(other) for one, other in zip(best, ours, strict=True)])
        lines.append(f"{topology.name}, {name}: of {count} pictures the best class stays in {first:.1%}, "
                     f"the five best in {five:.1%}")  # fmt: skip
    return list(rows.values()), lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", action="append", choices=list(NETWORKS), help="network (both)")
    parser.add_argument("--pictures", type=int, default=64, help="how many (64)")
    parser.add_argument("-d", dest="folder", help="folder with the weights")
    options = parser.parse_args()
    for name in options.net or NETWORKS:
        rows, lines = compare(NETWORKS[name], weights(NETWORKS[name], options.folder), options.pictures)
        print("\n".join(markdown(["network", "layer", *(f"{one}, emulated" for one in ROUNDINGS)], rows)))
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
