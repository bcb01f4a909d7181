"""What looking at pictures everywhere costs: multiply-adds a second beside those of bulk, and beside ONNX Runtime.

    benchmarks/views.py [--net NET] [--views dense|ten] [--pictures N] [--scales 1,2,4,6] [--rounds N] [--no-peer]

Pictures are of 375x500, looked at at each scale, as they are and mirrored; or ten crops of them.  Multiply-adds are
those of direct convolution, on both sides, of what must be computed: the trunk once a scale, the classifier at each
place.

The second table has the rate of each convolution.  Where the map is larger than the kernel, tiles need a fraction of
those multiply-adds; 1x1 kernels need all of them, and in bulk the whole classifier does, at one place a picture.  So
the rate that the views would have if each convolution had its own rate in bulk is printed as well.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import inputs
import numpy as np
from measure import check_same, interleave, markdown, memory, warn_if_busy
from peers import OnnxPeer

from overfeat_tools.backend import CpuBackend
from overfeat_tools.networks.dense import Dense
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.steps import find_geometries, steps
from overfeat_tools.networks.topology import TOPOLOGIES
from overfeat_tools.networks.views import Ten

_HEIGHT, _WIDTH, _BULK = 375, 500, 64


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description="Measure class maps.")
    parser.add_argument("--net", choices=("fast", "accurate"), default="accurate")
    parser.add_argument("--views", choices=("dense", "ten"), default="dense")
    parser.add_argument("--pictures", type=int, default=4, help="of a batch")
    parser.add_argument("--scales", default="1,2,4,6")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-peer", action="store_true", help="without ONNX Runtime")
    args = parser.parse_args()
    warn_if_busy("views.py")
    topology = TOPOLOGIES[args.net]
    weights = inputs.weights(topology, None)
    network = Network(topology, weights.parent, CpuBackend(args.threads))
    scales, square = [int(scale) for scale in args.scales.split(",")], (topology.input_size, topology.input_size)
    views: Dense | Ten = Ten(network) if args.views == "ten" else Dense(network, scales)
    prepared = [views.prepare(picture) for picture in inputs.pictures(args.pictures, _HEIGHT, _WIDTH)]
    # In the mirror, too.
    view_sizes = views.sizes(_HEIGHT, _WIDTH) * 2 if isinstance(views, Dense) else [square] * 10
    view_layers, whole_layers = multiply_adds(views.network, *view_sizes), multiply_adds(network, square)
    view_work, whole_work = sum(view_layers.values()), sum(whole_layers.values())
    print(f"multiply-adds of a picture: {view_work / 1e9:.1f}e9, {view_work / whole_work:.1f} times the centre's")

    bulk = Network(topology, weights.parent, CpuBackend(args.threads))
    squares = inputs.pictures(_BULK, topology.input_size, topology.input_size)
    sides: dict[str, Callable[[], object]] = {
        "ours, views": lambda: _wait_for(views.begin(prepared)), "ours, bulk": lambda: bulk.run(squares)
    }  # fmt: skip
    if isinstance(views, Dense) and not args.no_peer:
        sides["ONNX Runtime, views"] = peer_of(views, weights, prepared[0], args.threads)
    for _ in range(4):  # until the choice of algorithms no longer changes
        sides["ours, views"]()
        sides["ours, bulk"]()
    work = {"ours, views": args.pictures * view_work, "ours, bulk": _BULK * whole_work}
    samples = interleave(sides, args.rounds)
    for name, seconds in samples.items():
        rate = statistics.median(work.get(name, view_work) / each for each in seconds)
        print(f"{name:20} {rate / 1e9:6.0f}e9 multiply-adds a second")
    ratio = statistics.median(
        a * work["ours, views"] / (b * work["ours, bulk"])
        for a, b in zip(samples["ours, bulk"], samples["ours, views"], strict=True)
    )
    print(f"views over bulk: {ratio:.2f}; most memory: {memory()['VmHWM'] / 1e9:.2f} GB\n")
    print_layers(
        {number: args.pictures * count / seconds for (number, count), seconds in zip(
            view_layers.items(), layer_seconds(views.network, sides["ours, views"], args.rounds), strict=True
        )},
        {number: _BULK * count / seconds for (number, count), seconds in zip(
            whole_layers.items(), layer_seconds(bulk, sides["ours, bulk"], args.rounds), strict=True
        )},
        view_layers,
    )  # fmt: skip


def print_layers(dense: dict[int, float], bulk: dict[int, float], work: dict[int, int]) -> None:
    """Print the rates of the convolutions, and that of all if each had its own rate in bulk."""
    whole = sum(work.values())
    rows = [
        [str(number), f"{100 * count / whole:.1f} %", f"{dense[number] / 1e9:.0f}e9", f"{bulk[number] / 1e9:.0f}e9"]
        for number, count in work.items()
    ]
    print(*markdown(["layer", "of the multiply-adds", "views, a second", "bulk, a second"], rows), sep="\n")
    rate = whole / sum(count / bulk[number] for number, count in work.items())
    print(f"each at its rate in bulk: {rate / 1e9:.0f}e9 multiply-adds a second")


def layer_seconds(network: Network, call: Callable[[], object], rounds: int) -> list[float]:
    """Give the seconds that each convolution takes in a call, with all that is computed together with it."""
    before = dict(network.seconds)
    for _ in range(rounds):
        call()
    return [
        (network.seconds[step[-1]] - before[step[-1]]) / rounds
        for step in steps(network.topology, network.topology.last_layer)
        if any(number in network.convolutions for number in step)
    ]


def _wait_for(wait: Callable[[], object]) -> None:
    wait()


def multiply_adds(network: Network, *sizes: tuple[int, int]) -> dict[int, int]:
    """Count those of each convolution for pictures of these sizes."""
    last = network.topology.last_layer
    counts = dict.fromkeys(network.convolutions, 0)
    for size in sizes:
        for number, copies, (geometry, _) in find_geometries(network.topology, network.convolutions, *size, (last,)):
            counts[number] += copies * geometry.multiply_adds
    return counts


def peer_of(
    dense: Dense, weights: Path, views: tuple[np.ndarray, ...], threads: int  # type: ignore[type-arg]
) -> Callable[[], object]:  # fmt: skip
    """Give what runs one picture's views in ONNX Runtime, after a look at whether it computes the same."""
    last = dense.network.topology.last_layer - 1
    peer = OnnxPeer(dense.network.topology, weights, inputs.cache_folder(), threads, last)
    stacks = [np.stack([view, view[:, ::-1]]).astype(np.float32).transpose(0, 3, 1, 2).copy() for view in views]
    ours = dense.begin([views])()[0]
    for stack, pair in zip(stacks, zip(ours[::2], ours[1::2], strict=True), strict=True):
        check_same("class map", np.stack([one.scores for one in pair]), peer(stack).transpose(0, 2, 3, 1))
    return lambda: [peer(stack) for stack in stacks]


if __name__ == "__main__":
    main()
