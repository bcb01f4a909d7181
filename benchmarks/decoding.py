"""Reading, decoding and fitting of JPEG files: what it costs, and what a reduced size does to the answers.

`rate` prints files a second, and how near that is to what the cores could do; `memory` the memory that a folder of
pictures of 24 million pixels takes; `answers` how far they are from those of exact decoding, and from ImageMagick's.
"""

import argparse
import importlib.util
import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import inputs
import measure
import numpy as np
from processes import image_magick

from overfeat_tools.networks import opening
from overfeat_tools.networks.topology import TOPOLOGIES
from overfeat_tools.pictures import centre_square, fit

Array = inputs.Array

_TOLD = re.compile(r" in ([\d.]+) s, .*core-seconds: .*decode ([\d.]+), fit ([\d.]+), compute ([\d.]+)", re.DOTALL)
_CAMERA, _FILES = (4000, 6000), 24
_PHOTOGRAPHS = [
    "astronaut",
    "brick",
    "camera",
    "cell",
    "chelsea",
    "clock_motion",
    "coffee",
    "coins",
    "color",
    "grass",
    "gravel",
    "hubble_deep_field",
    "ihc",
    "moon",
    "motorcycle_left",
    "motorcycle_right",
    "retina",
    "rocket",
]
_SIDES = (930, 1088, 1400, 1900)
_MOSAICS, _QUALITY = 36, 90
_RULES = (2.0, 1.5, 1.0)
_SIDE = 231


def _run(checkout: Path, *arguments: object) -> tuple[float, str]:
    """Run of-classify from a checkout; give the seconds it took and what it told."""
    words = [sys.executable, "-m", "overfeat_tools", "classify", "-n", "1", "-v", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    start = perf_counter()
    done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, check=True, text=True)
    return perf_counter() - start, done.stderr


def rate(arguments: argparse.Namespace) -> None:
    """Print files a second, and how near that is to the core-seconds spent over the number of cores."""
    measure.warn_if_busy("decoding.py")
    files = inputs.photographs(arguments.photographs)
    options = ["--net", arguments.net, "-d", inputs.weights(TOPOLOGIES[arguments.net], None).parent, *files]
    cores = len(os.sched_getaffinity(0))
    ours, theirs, shares = [], [], []
    for _ in range(arguments.rounds):
        if arguments.against:
            theirs.append(_run(arguments.against.resolve(), *options)[0])
        whole, told = _run(measure.ROOT, *options)
        ours.append(whole)
        if found := _TOLD.search(told):
            seconds, *spent = map(float, found.groups())
            shares.append(sum(spent) / cores / seconds)
    print(f"{len(files) / statistics.median(ours):.1f} files a second, from start to end of the process")
    print(f"{statistics.median(shares):.2f} of the bound by core-seconds; best {max(shares):.2f}")
    if theirs:
        print(f"{len(files) / statistics.median(theirs):.1f} files a second by {arguments.against}")
        print(f"{measure.median_ratio(theirs, ours):.2f} times as fast")


def memory(arguments: argparse.Namespace) -> None:
    """Print the peak memory of a run over large files, with and without reduced decoding, and without any."""
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "0.jpg"
        _jpeg(np.tile(inputs.pictures(1, 1000, 1000)[0], (4, 6, 1)), first)
        files = [first, *(first.with_stem(str(number)) for number in range(1, _FILES))]
        for file in files[1:]:
            file.symlink_to(first)
        print(f"{_FILES} files of {_CAMERA[1]}x{_CAMERA[0]}, {first.stat().st_size / 1e6:.1f} MB each; --net tiny")
        for name, words in (("no large file", [measure.ROOT / "samples" / "star.png"]), ("reduced", files),
                            ("exact", ["--exact-decode", *files])):  # fmt: skip
            peaks = [_peak(["--net", "tiny", "--threads", threads, *words]) for threads in arguments.threads]
            print(f"{name}: " + ", ".join(f"{p / 1e6:.0f} MB" for p in peaks) + f" with {arguments.threads} threads")


def _peak(words: list[object]) -> int:
    """Give the most memory of a process in bytes."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    )
    program = [sys.executable, "-c", code, *measure.command("classify", *words)]
    return int(subprocess.run(program, env=measure.environment(), capture_output=True, check=True).stdout)


def _jpeg(pixels: Array, file: Path | io.BytesIO) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY)


def answers(_: argparse.Namespace) -> None:
    """Print the table: how far pixels and answers are from those of exact decoding, and from ImageMagick's."""
    files = list(_photographs())
    convert = image_magick() or sys.exit("decoding.py: there is no ImageMagick here")
    ways: dict[str, Callable[[bytes], Array]] = {"exact": lambda data: _decoded(data, None)}
    for rule in _RULES:
        ways[f"reduced, {rule:g} times the side or more"] = lambda data, rule=rule: _decoded(data, rule)
    ways["ImageMagick's -resize"] = lambda data: _resized(data, convert)
    pictures = {name: np.stack([way(data) for data in files]) for name, way in ways.items()}
    probabilities = {name: dict(_probabilities(name, pictures)) for name in ("tiny", "fast")}
    rows = []
    for name, found in pictures.items():
        cells = [name, f"{np.abs(found.astype(float) - pictures['exact']).mean():.2f}"]
        for of in probabilities.values():
            for other in ("exact", "ImageMagick's -resize"):
                same = (of[name].argmax(1) == of[other].argmax(1)).mean()
                change = np.abs(of[name] - of[other]).max(1)
                cells.append("-" if name == other else f"{100 * same:.1f} %, {change.max():.3f} ({change.mean():.4f})")
        rows.append(cells)
    print(f"{len(files)} pictures; top-1 agreement, largest change of a probability (mean of the pictures' largest)\n")
    heading = [f"{network} against {other}" for network in probabilities for other in ("exact", "ImageMagick")]
    print("\n".join(measure.markdown(["decoding", "levels from exact", *heading], rows)))


def _photographs() -> Iterator[bytes]:
    """Give JPEG files of scikit-image's photographs: enlarged, and mosaics of parts of them as they are."""
    from PIL import Image

    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        sys.exit("decoding.py: the photographs come with scikit-image: pip install scikit-image")
    folder, random = Path(found.origin).parent / "data", np.random.default_rng(1)
    images = [Image.open(next(folder.glob(f"{name}.*"))).convert("RGB") for name in _PHOTOGRAPHS]
    for image in images:
        for side in _SIDES:
            scale = side / min(image.size)
            size = round(image.width * scale), round(image.height * scale)
            yield _encoded(np.asarray(image.resize(size, Image.Resampling.LANCZOS)))
    for _ in range(_MOSAICS):
        tile = int(random.integers(310, 480))
        parts = [_part(np.asarray(images[i]), tile, random) for i in random.choice(len(images), 12, replace=False)]
        yield _encoded(np.concatenate([np.concatenate(parts[row : row + 4], 1) for row in (0, 4, 8)], 0))


def _part(photograph: Array, tile: int, random: np.random.Generator) -> Array:
    height, width = photograph.shape[:2]
    top, left = (int(random.integers(0, max(side - tile, 0) + 1)) for side in (height, width))
    part = photograph[top : top + tile, left : left + tile]
    return np.pad(part, [(0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)], "symmetric")


def _encoded(pixels: Array) -> bytes:
    buffer = io.BytesIO()
    _jpeg(pixels, buffer)
    return buffer.getvalue()


def _decoded(data: bytes, least: float | None) -> Array:
    """Decode at an eighth, a quarter or a half if so many times the side are left, and fit."""
    import simplejpeg

    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    factors = (8, 4, 2) if least else ()
    factor = next((one for one in factors if least and min(height, width) >= least * _SIDE * one), 1)
    least_size = {"min_height": -(-height // factor), "min_width": -(-width // factor)}
    return fit(simplejpeg.decode_jpeg(data, "RGB", **least_size), _SIDE)


def _resized(data: bytes, convert: str) -> Array:
    words = [convert, "-", "-resize", f"{_SIDE}x{_SIDE}^", "-depth", "8", "ppm:-"]
    _, size, _, raster = subprocess.run(words, input=data, capture_output=True, check=True).stdout.split(b"\n", 3)
    width, height = map(int, size.split())
    return centre_square(np.frombuffer(raster, np.uint8).reshape(height, width, 3))


def _probabilities(name: str, pictures: dict[str, Array]) -> Iterator[tuple[str, Array]]:
    network = opening.open_network(name, inputs.weights(TOPOLOGIES[name], None).parent)
    for way, found in pictures.items():
        batches = [found[start : start + 16] for start in range(0, len(found), 16)]
        yield way, np.concatenate([network.run(batch).reshape(len(batch), -1) for batch in batches])


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rate", "memory", "answers"])
    parser.add_argument("--net", default="fast")
    parser.add_argument("--photographs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="another checkout, to take turns with")
    parser.add_argument("--threads", type=int, action="append")
    arguments = parser.parse_args()
    arguments.threads = arguments.threads or [1, 2, 8]
    {"rate": rate, "memory": memory, "answers": answers}[arguments.what](arguments)


if __name__ == "__main__":
    main()
