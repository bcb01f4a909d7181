"""Measurements within one process: the engine against its peers and its floor, text against printf."""

import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import inputs
import measure
import numpy as np
import subject
from measure import Array, interleave, median_ratio
from peers import BFLOAT16, Peer, in_batches
from rows import Bench, Comparison, Row, milliseconds, skip, warm_up

from overfeat_tools.networks.topology import Topology
from overfeat_tools.results.maps import map_text

HERE = Path(__file__).resolve().parent

# Our speed over ONNX Runtime's that is to be reached, for each network.
_BULK = {"fast": 3.0, "accurate": 3.0, "vgg16": 2.5}
_SINGLE = {"fast": 1.1, "accurate": 1.35, "vgg16": 1.3}
_LARGE = {"fast": 2.1, "accurate": 2.6}


def bulk(bench: Bench, topology: Topology) -> Iterator[Comparison]:
    """Many pictures of the network's input size."""
    side = topology.input_size
    for threads in bench.threads:
        count = min(bench.bulk, subject.open_network(topology, bench.weights(topology), threads).usual_batch())
        yield _compare(bench, topology, (count, side, side), topology.last_layer, threads, _BULK)


def single(bench: Bench, topology: Topology) -> Iterator[Comparison]:
    """One picture of the network's input size, again and again."""
    side = topology.input_size
    for threads in bench.threads:
        yield _compare(bench, topology, (1, side, side), topology.last_layer, threads, _SINGLE)


def large(bench: Bench, topology: Topology) -> Iterator[Comparison]:
    """Take the features of one large picture."""
    for threads in bench.threads:
        yield _compare(bench, topology, (1, 480, 640), topology.feature_layer, threads, _LARGE)


def _compare(
    bench: Bench, topology: Topology, size: tuple[int, int, int], last: int, threads: int, targets: dict[str, float]
) -> Comparison:
    """Compare the engine with its peers, and with the least time that the machine would allow."""
    ours = inputs.pictures(*size)
    theirs = _channels_first(ours.astype(np.float32))
    network = subject.open_network(topology, bench.weights(topology), threads)
    details = warm_up(network, ours, last)
    result = _channels_first(network.run(ours, last))
    sides: dict[str, Callable[[], object]] = {"ours": lambda: network.run(ours, last)}
    for name, peer in bench.peers(topology, threads, last).items():
        if name != BFLOAT16:  # which has two or three digits
            details[f"difference from {name}"] = measure.check_same(name, result, peer(theirs))
        sides[name] = _in_best_batches(peer, theirs)
    needs = subject.needs(topology, *size, last)
    limits: list[measure.Limits] = []

    def floor() -> float:
        limits.append(measure.Limits.measure(threads))
        return needs.read_bytes / limits[-1].bandwidth + needs.operations / limits[-1].flops

    samples = interleave({**sides, "floor": floor}, bench.rounds)
    details["GB/s"] = statistics.median(one.bandwidth for one in limits) / 1e9
    details["GFLOP/s"] = statistics.median(one.flops for one in limits) / 1e9
    return Comparison(topology.name, size, threads, targets[topology.name], samples, details)


def _in_best_batches(peer: Peer, pictures: Array) -> Callable[[], object]:
    """Give a peer the batches that suit it best, as far as one try of each can tell."""
    batches = [size for size in peer.batches if size < len(pictures)] + [len(pictures)]
    sides = [partial(in_batches, peer, pictures, size) for size in batches]
    return sides[0] if len(sides) == 1 else min(sides, key=lambda side: interleave({"it": side}, 1)["it"])


def text(bench: Bench, topology: Topology) -> Iterator[Row]:
    """Print maps as text, against the loop over printf that C needs for it."""
    compiler = shutil.which("cc")
    if compiler is None:
        skip("text: there is no C compiler here")
        return
    side = topology.input_size
    network = subject.open_network(topology, bench.weights(topology), bench.threads[-1])
    maps = _channels_first(network.run(inputs.pictures(20, side, side), 3))
    with tempfile.TemporaryDirectory() as folder, Path("/dev/null").open("wb") as nowhere:
        program, values = Path(folder) / "print_map", Path(folder) / "values"
        subprocess.run([compiler, "-O2", "-o", program, HERE / "print_map.c"], check=True)
        maps.tofile(values)

        def ours() -> None:
            for one in maps:
                nowhere.writelines(map_text(one))

        def theirs(count: int) -> None:
            subprocess.run(printer(count), check=True, stdout=subprocess.DEVNULL)

        def printer(count: int) -> list[str]:
            return [str(program), str(values), *map(str, maps.shape[1:]), str(count)]

        printed = subprocess.run(printer(len(maps)), check=True, capture_output=True).stdout
        if printed != b"".join(chunk for one in maps for chunk in map_text(one)):
            message = "the text differs from printf's"
            raise measure.DifferentResultsError(message)
        samples = interleave(
            {"ours": ours, "peer": lambda: theirs(len(maps)), "peer, nothing printed": lambda: theirs(0)},
            bench.rounds,
        )
    samples["printf"] = [a - b for a, b in zip(samples["peer"], samples["peer, nothing printed"], strict=True)]
    yield Row(
        f"text of {maps.size} values, {topology.name}, layer 3",
        milliseconds(samples["ours"]),
        milliseconds(samples["printf"]) + " (printf)",
        median_ratio(samples["ours"], samples["printf"]),
        at_least=False,
        target=1.5,
        samples=samples,
    )


def _channels_first(x: Array) -> Array:
    """Copy an array (N, H, W, C) to (N, C, H, W), the peer's order."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))
