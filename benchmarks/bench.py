"""Measure our programs against their peers and against what was promised; print a table.

Run it with `make bench`, or `python benchmarks/bench.py --help` for its options.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import inputs
import measure
import numpy as np
import subject
from measure import Array, interleave, median_ratio
from peers import OnnxPeer, ensure_model

from overfeat_tools.network import ACCURATE, FAST, TOPOLOGIES, Network, Topology
from overfeat_tools.output import map_text

HERE = Path(__file__).resolve().parent
_BULK = 32
_PEER_BATCHES = (1, 8, 32)
_LINES = 5  # of-classify prints so many for a picture
_LONG = (300, 3000)

# What was promised, for each network.
_SINGLE = {"fast": 1.0, "accurate": 1.5}
_LARGE = {"fast": 2.0, "accurate": 3.0}
_MEMORY_GB = {"fast": 1.8, "accurate": 2.4}


@dataclass(frozen=True)
class Row:
    """One line of the table; `figure` is what is held against the target."""

    work: str
    ours: str
    peer: str
    figure: float
    at_least: bool
    target: float
    unit: str = "x"
    samples: dict[str, list[float]] = field(default_factory=dict)
    details: dict[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.figure >= self.target if self.at_least else self.figure <= self.target

    @property
    def cells(self) -> list[str]:
        """The cells of the table."""
        sign = ">=" if self.at_least else "<="
        target = f"{sign} {self.target:g}{self.unit}"
        return [self.work, self.ours, self.peer, f"{self.figure:.2f}{self.unit}", target, "yes" if self.met else "NO"]


@dataclass(frozen=True)
class Bench:
    """What every measurement needs to know."""

    rounds: int
    threads: int
    folder: str | None
    long: bool
    photographs: int
    stream: int

    def weights(self, topology: Topology) -> Path:
        """Give the network's weight file."""
        return inputs.weights(topology, self.folder)

    def peer(self, topology: Topology, last: int | None = None) -> OnnxPeer:
        """Open the network in ONNX Runtime."""
        return OnnxPeer(topology, self.weights(topology), inputs.cache_folder(), self.threads, last)

    def classify(self, topology: Topology, *arguments: object) -> list[str]:
        """Give of-classify's command line."""
        options = ["--net", topology.name, "-d", self.weights(topology).parent, "--threads", self.threads]
        return measure.command("classify", *options, *arguments)


def _pictures(count: int, height: int, width: int) -> tuple[Array, Array]:
    """Make pictures as each side likes them: bytes with the colours last in memory, and plain floats."""
    made = inputs.pictures(count, height, width).transpose(0, 3, 1, 2)
    return made, np.ascontiguousarray(made, np.float32)


def _rate(pictures: int, seconds: list[float]) -> str:
    return f"{pictures / statistics.median(seconds):.1f}/s"


def _milliseconds(seconds: list[float]) -> str:
    return f"{1e3 * statistics.median(seconds):.1f} ms"


def _warm_up(network: Network, pictures: Array, last: int | None = None) -> dict[str, float]:
    warm = subject.warm_up(network, pictures, last)
    return {"seconds of the first batch": warm.first_seconds, "batches until the ways settled": warm.batches}


def bulk(bench: Bench, topology: Topology) -> Iterator[Row]:
    """Many pictures of the network's input size."""
    side = topology.input_size
    ours, theirs = _pictures(_BULK, side, side)
    network, peer = subject.open_network(topology, bench.weights(topology), bench.threads), bench.peer(topology)
    details = _warm_up(network, ours) | _compare(topology, network, ours, peer(theirs))
    operations = 2.0 * subject.multiply_adds(network, side, side) * _BULK

    def in_batches(batch: int) -> Callable[[], object]:
        return lambda: peer.in_batches(theirs, batch)

    samples = interleave(
        {
            "ours": lambda: network.run(ours),
            **{f"peer, batch {batch}": in_batches(batch) for batch in _PEER_BATCHES},
            "wall": lambda: operations / measure.sgemm_flops(bench.threads),
        },
        bench.rounds,
    )
    best = min((name for name in samples if "peer" in name), key=lambda name: statistics.median(samples[name]))
    yield Row(
        f"{topology.name}, {_BULK} pictures {side}x{side}",
        _rate(_BULK, samples["ours"]),
        f"{_rate(_BULK, samples[best])} (ONNX Runtime, {best.removeprefix('peer, ')})",
        median_ratio(samples[best], samples["ours"]),
        at_least=True,
        target=3.0,
        samples=samples,
        details=details,
    )
    peak = operations / statistics.median(samples["wall"]) / 1e9
    yield Row(
        f"{topology.name}, bulk: time against direct convolution at sgemm's peak",
        _milliseconds([seconds / _BULK for seconds in samples["ours"]]) + " a picture",
        _milliseconds([seconds / _BULK for seconds in samples["wall"]]) + f" ({peak:.0f} GFLOP/s)",
        median_ratio(samples["ours"], samples["wall"]),
        at_least=False,
        target=0.55,
    )


def _compare(topology: Topology, network: Network, pictures: Array, theirs: list[Array]) -> dict[str, float]:
    logits = network.run(pictures, topology.last_layer - 1)
    return {
        "difference of the softmax": measure.check_same("softmax", network.run(pictures), theirs[0]),
        "of the logits": measure.check_same("logits", logits, theirs[1]),
    }


def single(bench: Bench, topology: Topology) -> Iterator[Row]:
    """One picture of the network's input size, again and again."""
    side = topology.input_size
    ours, theirs = _pictures(1, side, side)
    network, peer = subject.open_network(topology, bench.weights(topology), bench.threads), bench.peer(topology)
    details = _warm_up(network, ours) | _compare(topology, network, ours, peer(theirs))
    samples = interleave({"ours": lambda: network.run(ours), "peer": lambda: peer(theirs)}, bench.rounds)
    yield _against_onnx(f"{topology.name}, one picture", samples, _SINGLE[topology.name], details)


def large(bench: Bench, topology: Topology) -> Iterator[Row]:
    """Take the features of one large picture."""
    height, width = 480, 640
    last = topology.feature_layer
    ours, theirs = _pictures(1, height, width)
    network, peer = subject.open_network(topology, bench.weights(topology), bench.threads), bench.peer(topology, last)
    details = _warm_up(network, ours, last)
    features = network.run(ours, last)
    details["difference of the features"] = measure.check_same("features", features, peer(theirs)[0])
    samples = interleave({"ours": lambda: network.run(ours, last), "peer": lambda: peer(theirs)}, bench.rounds)
    work = f"{topology.name}, features of one picture {width}x{height}"
    yield _against_onnx(work, samples, _LARGE[topology.name], details)


def _against_onnx(work: str, samples: measure.Samples, target: float, details: dict[str, float] | None = None) -> Row:
    return Row(
        work,
        _milliseconds(samples["ours"]),
        _milliseconds(samples["peer"]) + " (ONNX Runtime)",
        median_ratio(samples["peer"], samples["ours"]),
        at_least=True,
        target=target,
        samples=samples,
        details=details or {},
    )


def stream(bench: Bench, topology: Topology) -> Iterator[Row]:
    """of-classify, a whole process, against the bulk rate without one."""
    side = topology.input_size
    made = inputs.pictures(_BULK, side, side)
    network = subject.open_network(topology, bench.weights(topology), bench.threads)
    _warm_up(network, made.transpose(0, 3, 1, 2))
    first: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.ppm"
        path.write_bytes(b"".join(inputs.ppm(made[number % _BULK]) for number in range(bench.stream)))

        def whole() -> float:
            answers = _classified(bench.classify(topology), bench.stream, path)
            first.append(answers.first_seconds)
            return answers.seconds

        samples = interleave({"ours": whole, "inside": lambda: network.run(made.transpose(0, 3, 1, 2))}, bench.rounds)
    yield Row(
        f"{topology.name}, of-classify < {bench.stream} pictures, whole process",
        _rate(bench.stream, samples["ours"]),
        _rate(_BULK, samples["inside"]) + " (ours, bulk, in process)",
        median_ratio(samples["inside"], samples["ours"], bench.stream / _BULK),
        at_least=True,
        target=0.85,
        samples=samples,
    )
    del first[0]  # belongs to the round that does not count
    yield Row(
        f"{topology.name}, of-classify: time of the first answer",
        _milliseconds(first),
        "-",
        statistics.median(first),
        at_least=False,
        target=1.0,
        unit=" s",
        samples={"ours": first},
    )


def _classified(arguments: list[str], pictures: int, stdin: Path | None = None) -> measure.Answers:
    answers = measure.run(arguments, stdin)
    lines = answers.output.count(b"\n")
    if lines != pictures * _LINES:
        message = f"{pictures} pictures gave {lines} lines"
        raise measure.DifferentResultsError(message)
    return answers


def start(bench: Bench, topology: Topology) -> Iterator[Row]:
    """One picture, a whole process, against the least program that does it with ONNX Runtime."""
    side = topology.input_size
    model = ensure_model(topology, bench.weights(topology), inputs.cache_folder())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.ppm"
        path.write_bytes(inputs.ppm(inputs.pictures(1, side, side)[0]))
        ours = bench.classify(topology, "--format", "tsv")
        theirs = [sys.executable, str(HERE / "onnx_classify.py"), str(model), str(bench.threads)]
        told = [line.split(b"\t") for line in measure.run(ours, path).output.splitlines()]
        peer_told = [line.split() for line in measure.run(theirs, path).output.splitlines()]
        if [words[2] for words in told] != [words[0] for words in peer_told]:
            message = f"classes {told} and {peer_told}"
            raise measure.DifferentResultsError(message)
        values = [np.array([float(words[-1]) for words in lines]) for lines in (told, peer_told)]
        measure.check_same("probabilities printed", *values)
        samples = interleave(
            {"ours": lambda: measure.run(ours, path).seconds, "peer": lambda: measure.run(theirs, path).seconds},
            bench.rounds,
        )
    yield _against_onnx(f"{topology.name}, of-classify < 1 picture, whole process", samples, 1.0)


def photographs(bench: Bench, topology: Topology) -> Iterator[Row]:
    """JPEG files of a camera's size, against ImageMagick shrinking them for us."""
    convert = _image_magick()
    if convert is None:
        _skip("photographs: there is no ImageMagick here")
        return
    paths = inputs.photographs(bench.photographs)
    side = topology.input_size
    script = (
        'cd "$1" && convert=$2 && count=$3 && shift 3 && ls | head -n "$count" | '
        f"""xargs -n 20 sh -c '"$0" "$@" -resize "{side}x{side}^" ppm:-' "$convert" | "$@" """
    )
    piped = ["sh", "-c", script, "sh", str(paths[0].parent), convert, str(len(paths)), *bench.classify(topology)]
    ours = bench.classify(topology, *paths)
    samples = interleave(
        {
            "ours": lambda: _classified(ours, len(paths)).seconds,
            "peer": lambda: _classified(piped, len(paths)).seconds,
        },
        bench.rounds,
    )
    yield Row(
        f"{topology.name}, of-classify *.jpg, {len(paths)} photographs 1600x1088",
        _rate(len(paths), samples["ours"]),
        _rate(len(paths), samples["peer"]) + " (convert | of-classify)",
        median_ratio(samples["peer"], samples["ours"]),
        at_least=True,
        target=2.0,
        samples=samples,
    )


def _image_magick() -> str | None:
    for name in ("/usr/bin/convert", "convert", "magick"):
        path = shutil.which(name)
        if path and b"ImageMagick" in subprocess.run([path, "-version"], capture_output=True, check=False).stdout:
            return path
    return None


def text(bench: Bench, topology: Topology) -> Iterator[Row]:
    """Print maps as text, against the loop over printf that C needs for it."""
    compiler = shutil.which("cc")
    if compiler is None:
        _skip("text: there is no C compiler here")
        return
    side = topology.input_size
    network = subject.open_network(topology, bench.weights(topology), bench.threads)
    maps = network.run(inputs.pictures(20, side, side).transpose(0, 3, 1, 2), 3)
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
        _milliseconds(samples["ours"]),
        _milliseconds(samples["printf"]) + " (printf)",
        median_ratio(samples["ours"], samples["printf"]),
        at_least=False,
        target=1.5,
        samples=samples,
    )


def memory(bench: Bench, topology: Topology) -> Iterator[Row]:
    """Watch the memory that of-classify takes, the weights it maps included."""
    side = topology.input_size
    made = list(map(inputs.ppm, inputs.pictures(_BULK, side, side)))
    counts = [bench.stream] if not bench.long else sorted({bench.stream, *_LONG})
    feed = (made[number % _BULK] for number in range(counts[-1]))
    found = measure.memory_after(bench.classify(topology), feed, [_LINES * count for count in counts])
    at = dict(zip(counts, found, strict=True))
    peak = at[bench.stream]["VmHWM"] / 1e9
    yield Row(
        f"{topology.name}, of-classify < {bench.stream} pictures: peak memory",
        f"{peak:.2f} GB",
        "-",
        peak,
        at_least=False,
        target=_MEMORY_GB[topology.name],
        unit=" GB",
    )
    if bench.long:
        few, many = (at[count]["VmRSS"] / 1e9 for count in _LONG)
        yield Row(
            f"{topology.name}, memory after {_LONG[1]} pictures against after {_LONG[0]}",
            f"{many:.2f} GB",
            f"{few:.2f} GB",
            many / few,
            at_least=False,
            target=1.05,
        )


def _skip(reason: str) -> None:
    print(f"skipped: {reason}", file=sys.stderr)


# Each measurement and the networks it is made on.
MEASUREMENTS: dict[str, tuple[Callable[[Bench, Topology], Iterator[Row]], tuple[Topology, ...]]] = {
    "bulk": (bulk, (FAST, ACCURATE)),
    "single": (single, (FAST, ACCURATE)),
    "large": (large, (FAST, ACCURATE)),
    "stream": (stream, (FAST,)),
    "start": (start, (FAST,)),
    "photographs": (photographs, (FAST,)),
    "text": (text, (FAST,)),
    "memory": (memory, (FAST, ACCURATE)),
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, help="measure this; may be repeated")
    parser.add_argument("--net", choices=TOPOLOGIES, help="measure this network only")
    parser.add_argument("--rounds", type=int, default=7, help="rounds whose median counts (7)")
    parser.add_argument("--threads", type=int, default=2, help="threads of both sides (2)")
    parser.add_argument("--photographs", type=int, default=200, help="how many photographs (200)")
    parser.add_argument("--stream", type=int, default=512, help="how many pictures in a stream (512)")
    parser.add_argument("--long", action="store_true", help="also watch the memory over 3,000 pictures")
    parser.add_argument("-d", dest="folder", help="folder with the weights; else those installed, else synthetic ones")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    return parser.parse_args()


def main() -> int:
    """Measure, print and write; a target missed is told, results that differ are an error."""
    arguments = _arguments()
    bench = Bench(
        arguments.rounds, arguments.threads, arguments.folder, arguments.long, arguments.photographs, arguments.stream
    )
    machine = measure.machine()
    rows: list[Row] = []
    for name in arguments.only or MEASUREMENTS:
        measurement, topologies = MEASUREMENTS[name]
        for topology in topologies:
            if arguments.net in (None, topology.name):
                print(f"{name}, {topology.name}", file=sys.stderr, flush=True)
                try:
                    rows += measurement(bench, topology)
                except measure.DifferentResultsError as error:
                    print(f"bench.py: {name}: {error}", file=sys.stderr)
                    return 1
    print("\n".join(_table(rows, machine, arguments.rounds, arguments.threads)))
    if arguments.json:
        record = {
            "machine": machine,
            "rounds": arguments.rounds,
            "threads": arguments.threads,
            "rows": [{**asdict(row), "met": row.met} for row in rows],
        }
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def _table(rows: list[Row], machine: dict[str, object], rounds: int, threads: int) -> Iterator[str]:
    heading = ["work", "ours", "peer", "ratio", "target", "met"]
    yield from measure.markdown(heading, [row.cells for row in rows])
    yield f"Medians of {rounds} rounds, {threads} threads. " + "; ".join(
        f"{name} {value}" for name, value in machine.items() if value is not None
    )
    for row in rows:
        if row.details:
            yield f"* {row.work}: " + ", ".join(f"{name} {value:.3g}" for name, value in row.details.items())


if __name__ == "__main__":
    sys.exit(main())
