"""Measurements of whole processes: of-classify on streams, one picture, photographs; its memory."""

import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import inputs
import measure
import numpy as np
import subject
from measure import interleave, median_ratio
from peers import ensure_model
from rows import BULK, Bench, Row, against_onnx, milliseconds, rate, skip, warm_up

from overfeat_tools.networks.topology import Topology

HERE = Path(__file__).resolve().parent
_LINES = 5  # of-classify prints so many for a picture
_LONG = (300, 3000)
_MEMORY_GB = {"fast": 1.8, "accurate": 2.4, "vgg16": 2.5}


def stream(bench: Bench, topology: Topology) -> Iterator[Row]:
    """Compare of-classify, as a whole process, with the bulk rate inside one."""
    side = topology.input_size
    made = inputs.pictures(BULK, side, side)
    network = subject.open_network(topology, bench.weights(topology), bench.threads[-1])
    warm_up(network, made)
    first: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.ppm"
        path.write_bytes(b"".join(inputs.ppm(made[number % BULK]) for number in range(bench.stream)))

        def whole() -> float:
            answers = _classified(bench.classify(topology), bench.stream, path)
            first.append(answers.first_seconds)
            return answers.seconds

        samples = interleave({"ours": whole, "inside": lambda: network.run(made)}, bench.rounds)
    yield Row(
        f"{topology.name}, of-classify < {bench.stream} pictures, whole process",
        rate(bench.stream, samples["ours"]),
        rate(BULK, samples["inside"]) + " (ours, bulk, in process)",
        median_ratio(samples["inside"], samples["ours"], bench.stream / BULK),
        at_least=True,
        target=0.85,
        samples=samples,
    )
    del first[0]  # of the round that does not count
    yield Row(
        f"{topology.name}, of-classify: time of the first answer",
        milliseconds(first),
        "-",
        statistics.median(first),
        at_least=False,
        target=1.0,
        unit=" s",
        samples={"ours": first},
    )


def start(bench: Bench, topology: Topology) -> Iterator[Row]:
    """Classify one picture in a whole process, against the smallest program that does it with ONNX Runtime."""
    side = topology.input_size
    model = ensure_model(topology, bench.weights(topology), inputs.cache_folder())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.ppm"
        path.write_bytes(inputs.ppm(inputs.pictures(1, side, side)[0]))
        ours = bench.classify(topology, "--format", "tsv")
        theirs = [sys.executable, str(HERE / "onnx_classify.py"), str(model), str(bench.threads[-1])]
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
    yield against_onnx(f"{topology.name}, of-classify < 1 picture, whole process", samples, 1.0)


def photographs(bench: Bench, topology: Topology) -> Iterator[Row]:
    """Classify JPEG files of a camera's size, against ImageMagick shrinking them for us."""
    convert = image_magick()
    if convert is None:
        skip("photographs: there is no ImageMagick here")
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
        rate(len(paths), samples["ours"]),
        rate(len(paths), samples["peer"]) + " (convert, piped)",
        median_ratio(samples["peer"], samples["ours"]),
        at_least=True,
        target=2.6,
        samples=samples,
    )


def memory(bench: Bench, topology: Topology) -> Iterator[Row]:
    """Watch the memory that of-classify takes, the weights it maps included."""
    side = topology.input_size
    made = list(map(inputs.ppm, inputs.pictures(BULK, side, side)))
    counts = [bench.stream] if not bench.long else sorted({bench.stream, *_LONG})
    feed = (made[number % BULK] for number in range(counts[-1]))
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


def _classified(arguments: list[str], pictures: int, stdin: Path | None = None) -> measure.Answers:
    answers = measure.run(arguments, stdin)
    lines = answers.output.count(b"\n")
    if lines != pictures * _LINES:
        message = f"{pictures} pictures gave {lines} lines"
        raise measure.DifferentResultsError(message)
    return answers


def image_magick() -> str | None:
    """Give the path of ImageMagick's convert, if it is here."""
    for name in ("/usr/bin/convert", "convert", "magick"):
        path = shutil.which(name)
        if path and b"ImageMagick" in subprocess.run([path, "-version"], capture_output=True, check=False).stdout:
            return path
    return None
