"""Measurements within one process: the engine against ONNX Runtime, text against printf."""

import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import inputs
import measure
import numpy as np
import subject
from measure import Array, interleave, median_ratio
from rows import BULK, Bench, Row, against_onnx, milliseconds, rate, skip, warm_up

from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import Topology
from overfeat_tools.results.maps import map_text

HERE = Path(__file__).resolve().parent
_PEER_BATCHES = (1, 8, 32)

# The targets, for each network.
_BULK = {"fast": 3.0, "accurate": 3.0, "vgg16": 2.5}
_SINGLE = {"fast": 1.0, "accurate": 1.5, "vgg16": 1.3}
_LARGE = {"fast": 2.0, "accurate": 3.0}


def bulk(bench: Bench, topology: Topology) -> Iterator[Row]:
    """Many pictures of the network's input size."""
    side = topology.input_size
    network, peer = subject.open_network(topology, bench.weights(topology), bench.threads), bench.peer(topology)
    count = min(BULK, network.usual_batch())
    ours, theirs = _pictures(count, side, side)
    details = warm_up(network, ours) | _compare(topology, network, ours, peer(theirs))
    operations = 2.0 * subject.multiply_adds(topology, side, side) * count
    openvino = bench.openvino(topology)

    def in_batches(batch: int) -> Callable[[], object]:
        return lambda: peer.in_batches(theirs, batch)

    samples = interleave(
        {
            "ours": lambda: network.run(ours),
            **{f"peer ONNX Runtime, batch {batch}": in_batches(batch) for batch in _PEER_BATCHES if batch <= count},
            **({f"peer OpenVINO, batch {count}": lambda: openvino(theirs)} if openvino else {}),
            "wall": lambda: operations / measure.sgemm_flops(bench.threads),
        },
        bench.rounds,
    )
    best = min((name for name in samples if "peer" in name), key=lambda name: statistics.median(samples[name]))
    yield Row(
        f"{topology.name}, {count} pictures {side}x{side}",
        rate(count, samples["ours"]),
        f"{rate(count, samples[best])} ({best.removeprefix('peer ')})",
        median_ratio(samples[best], samples["ours"]),
        at_least=True,
        target=_BULK[topology.name],
        samples=samples,
        details=details,
    )
    peak = operations / statistics.median(samples["wall"]) / 1e9
    yield Row(
        f"{topology.name}, bulk: time against direct convolution at sgemm's peak",
        milliseconds([seconds / count for seconds in samples["ours"]]) + " a picture",
        milliseconds([seconds / count for seconds in samples["wall"]]) + f" ({peak:.0f} GFLOP/s)",
        median_ratio(samples["ours"], samples["wall"]),
        at_least=False,
        target=0.55,
    )


def single(bench: Bench, topology: Topology) -> Iterator[Row]:
    """One picture of the network's input size, again and again."""
    side = topology.input_size
    ours, theirs = _pictures(1, side, side)
    network, peer = subject.open_network(topology, bench.weights(topology), bench.threads), bench.peer(topology)
    details = warm_up(network, ours) | _compare(topology, network, ours, peer(theirs))
    samples = interleave({"ours": lambda: network.run(ours), "peer": lambda: peer(theirs)}, bench.rounds)
    yield against_onnx(f"{topology.name}, one picture", samples, _SINGLE[topology.name], details)


def large(bench: Bench, topology: Topology) -> Iterator[Row]:
    """Take the features of one large picture."""
    height, width = 480, 640
    last = topology.feature_layer
    ours, theirs = _pictures(1, height, width)
    network, peer = subject.open_network(topology, bench.weights(topology), bench.threads), bench.peer(topology, last)
    details = warm_up(network, ours, last)
    features = _channels_first(network.run(ours, last))
    details["difference of the features"] = measure.check_same("features", features, peer(theirs)[0])
    samples = interleave({"ours": lambda: network.run(ours, last), "peer": lambda: peer(theirs)}, bench.rounds)
    work = f"{topology.name}, features of one picture {width}x{height}"
    yield against_onnx(work, samples, _LARGE[topology.name], details)


def text(bench: Bench, topology: Topology) -> Iterator[Row]:
    """Print maps as text, against the loop over printf that C needs for it."""
    compiler = shutil.which("cc")
    if compiler is None:
        skip("text: there is no C compiler here")
        return
    side = topology.input_size
    network = subject.open_network(topology, bench.weights(topology), bench.threads)
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


def _pictures(count: int, height: int, width: int) -> tuple[Array, Array]:
    """Make pictures as each side likes them: bytes (N, H, W, 3), and floats (N, 3, H, W)."""
    made = inputs.pictures(count, height, width)
    return made, _channels_first(made.astype(np.float32))


def _channels_first(x: Array) -> Array:
    """Copy an array (N, H, W, C) to (N, C, H, W), the peer's order."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def _compare(topology: Topology, network: Network, pictures: Array, theirs: list[Array]) -> dict[str, float]:
    softmax, logits = (
        _channels_first(network.run(pictures, last)) for last in (topology.last_layer, topology.last_layer - 1)
    )
    return {
        "difference of the softmax": measure.check_same("softmax", softmax, theirs[0]),
        "of the logits": measure.check_same("logits", logits, theirs[1]),
    }
