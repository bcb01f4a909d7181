"""All that a card has to show, in one run of eight minutes: tests, the record, speed, and what to make default.

Every part is a process of its own with a time limit, so that one that fails or hangs costs itself.  Speed is measured
from bytes in memory to probabilities in memory: one batch after the other, and with the next one begun before.  Each
way that has not run on a card yet (`VARIANTS`) is compared with the default, and PyTorch stands beside, where it is
installed, its pictures in pinned memory as bytes.  Everything that is printed is written to a JSON file, too.

`--dry` tries the script itself: on the tests' stand-in for cupy, with a small network; its figures mean nothing.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from inputs import pictures, ppm, weights
from measure import ROOT, Array, command, environment, markdown

from overfeat_tools.backend.cuda import Paths, open_cuda
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import TOPOLOGIES

sys.path.insert(0, str(ROOT))


class Variant(NamedTuple):
    """A way to compute; `tolerance` bounds how far its probabilities may be from the default's, of the largest."""

    paths: Paths = Paths()
    method: str = "auto"
    precision: str = "float32"
    tolerance: float = 1e-4


VARIANTS = {
    "default": Variant(),
    "short sums": Variant(Paths(short_sums=True)),
    "kernels": Variant(Paths(kernels=True)),
    "kernels, short sums": Variant(Paths(kernels=True, short_sums=True)),
    "graphs": Variant(Paths(short_sums=True, graphs=True)),
    "graphs, kernels": Variant(Paths(short_sums=True, kernels=True, graphs=True)),
    "gemm": Variant(method="gemm"),
    "cook-toom": Variant(method="cook-toom"),
    "cook-toom, kernels": Variant(Paths(kernels=True), "cook-toom"),
    "cuFFT": Variant(method="fft"),
    "tf32": Variant(precision="tf32", tolerance=2e-2),
    "half": Variant(precision="half", tolerance=2e-2),
    "half, graphs, kernels": Variant(Paths(kernels=True, graphs=True), precision="half", tolerance=2e-2),
}
FIRST = ("kernels, short sums", "graphs", "graphs, kernels")
"""Those that may become the default."""

TORCH = ("float32", "tf32")
BATCHES, LARGE = (1, 32, 128), (480, 640)

# Seconds for each part, and for all; within a part, for each measurement.
_LIMITS = {"prepare": 90, "tests": 160, "record": 40, "speed": 40, "torch": 40, "stream": 40, "rates": 75}
_WHOLE_SECONDS, _TURN_SECONDS = 480, 0.4
_WARM_UP_BATCHES, _STREAM_PICTURES = 40, 20_000
_MOST_LAYER_ERROR = 1e-5


# What a part does, in a process of its own.


def opened(name: str, variant: Variant, folder: Path) -> Network:
    """Open a network on the card."""
    backend = open_cuda(variant.precision, variant.paths)
    return Network(TOPOLOGIES[name], folder, backend, variant.method)


def works(name: str, *, dry: bool) -> dict[str, Array]:
    """Give the batches of bytes to compute."""
    side = TOPOLOGIES[name].input_size
    batches = {str(count): pictures(count, side, side) for count in ((1, 2) if dry else BATCHES)}
    return batches | ({} if dry else {"x".join(map(str, LARGE)): pictures(1, *LARGE)})


def seconds_of(turn: Callable[[], object]) -> float:
    """Give the median time of a call, of as many as there is time for."""
    times, end = [], perf_counter() + _TURN_SECONDS
    while perf_counter() < end or len(times) < 3:  # noqa: PLR2004 -- a median needs them
        start = perf_counter()
        turn()
        times.append(perf_counter() - start)
    return statistics.median(times)


def speed(name: str, kind: str, folder: Path, *, dry: bool) -> dict[str, Any]:
    """Measure a variant; tell how far it is from the results that the default has left in the folder of results."""
    network, found = opened(name, VARIANTS[kind], weights(TOPOLOGIES[name], None).parent), {}
    for work, batch in works(name, dry=dry).items():
        for _ in range(2 if dry else _WARM_UP_BATCHES):
            result = network.run(batch)
        path = folder / f"{name}-{work}.npy"
        if kind == "default":
            np.save(path, result)
        wanted = np.load(path) if path.exists() else result
        difference = float(np.abs(result - wanted).max() / wanted.max())
        chosen = {str(number): str(max(one.used, key=one.used.__getitem__))
                  for number, one in network.convolutions.items()}  # fmt: skip
        begun = [network.begin(batch)]

        def overlapped(begun: list[Callable[[], Array]] = begun, batch: Array = batch) -> None:
            begun.append(network.begin(batch))
            begun.pop(0)()

        found[work] = {
            "ms": 1e3 * seconds_of(lambda batch=batch: network.run(batch)), "ms ahead": 1e3 * seconds_of(overlapped),
            "difference": difference, "holds": bool(difference <= VARIANTS[kind].tolerance), "chosen": chosen,
        }  # fmt: skip
        begun.pop()()
    return found


def torch(name: str, kind: str, folder: Path, *, dry: bool) -> dict[str, Any]:
    """Measure PyTorch with the same weights, from pinned bytes to probabilities in memory."""
    import torch as library

    from overfeat_tools import Network as Opened
    from overfeat_tools.interop import to_torch

    library.backends.cudnn.allow_tf32 = library.backends.cuda.matmul.allow_tf32 = kind == "tf32"
    library.backends.cudnn.benchmark = True
    device = "cpu" if dry else "cuda"
    with Opened(name, weights=weights(TOPOLOGIES[name], None).parent, device="cpu") as net:
        module = to_torch(net).to(device).eval()
    found = {}
    with library.inference_mode():
        for work, batch in works(name, dry=dry).items():
            host = library.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))
            host = host if dry else host.pin_memory()

            def turn(host: Any = host) -> Any:  # noqa: ANN401 -- a tensor
                return module(host.to(device, non_blocking=True).float()).cpu()

            for _ in range(3):
                result = turn().numpy()
            path, difference = folder / f"{name}-{work}.npy", None
            if path.exists():
                wanted = np.load(path).transpose(0, 3, 1, 2)
                difference = float(np.abs(result.reshape(wanted.shape) - wanted).max() / wanted.max())
            found[work] = {"ms": 1e3 * seconds_of(turn), "difference": difference}
    return found


def record(name: str, kind: str, folder: Path, *, dry: bool) -> dict[str, Any]:  # noqa: ARG001 -- as the others
    """Compare every layer of the recorded pictures with the original's; give the worst, of a layer's largest value."""
    from tests.conftest import REFERENCE_DATA, recorded_picture

    network, worst = opened(name, VARIANTS[kind], weights(TOPOLOGIES[name], None).parent), {}
    for path in sorted(REFERENCE_DATA.glob(f"{name}-*.npz")):
        kept, picture = dict(np.load(path)), recorded_picture(path.stem)[None]
        layers = [number for number in range(network.topology.last_layer) if f"value_{number}" in kept]
        for number, values in network.begin_layers(picture, layers)().items():
            ours = values[0].transpose(2, 0, 1).reshape(-1)[kept[f"index_{number}"]]
            error = np.abs(ours - kept[f"value_{number}"]).max() / np.abs(kept[f"value_{number}"]).max()
            worst[number] = max(worst.get(number, 0.0), float(error))
    most = max(worst.values(), default=0.0)
    return {"worst": most, "holds": most <= _MOST_LAYER_ERROR, "layers": worst}


def stream(name: str, kind: str, folder: Path, *, dry: bool) -> dict[str, Any]:  # noqa: ARG001
    """Measure of-classify as a whole on a stream: its first answer, and its steady rate."""
    side, count = TOPOLOGIES[name].input_size, 100 if dry else _STREAM_PICTURES
    some = [ppm(one) for one in pictures(64, side, side)]
    folder_of_weights = weights(TOPOLOGIES[name], None).parent
    device = "cpu" if dry else "cuda"
    arguments = command("classify", "--net", name, "-n", 1, "--device", device, "-d", folder_of_weights)
    pipe, start, times = subprocess.PIPE, perf_counter(), []
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, env=environment()) as process:
        feeder = os.fork()
        if not feeder:
            try:
                for number in range(count):
                    process.stdin.write(some[number % 64])  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
            finally:
                os._exit(0)
        process.stdin.close()  # type: ignore[union-attr]
        for number, _ in enumerate(process.stdout or ()):
            if number in (0, count // 2, count - 1):
                times.append(perf_counter() - start)
        os.waitpid(feeder, 0)
    steady = (count - 1 - count // 2) / (times[2] - times[1])
    return {"first answer, s": times[0], "steady, pictures/s": steady, "whole, s": perf_counter() - start}


def prepare(name: str, kind: str, folder: Path, *, dry: bool) -> dict[str, Any]:  # noqa: ARG001
    """Make the weights, if there are none."""
    return {"weights": str(weights(TOPOLOGIES[name], None))}


def tests(name: str, kind: str, folder: Path, *, dry: bool) -> dict[str, Any]:  # noqa: ARG001
    """Run the tests for cards."""
    some = ["-k", "test_every_tile_size", "tests/test_algorithms.py"] if dry else ["tests"]
    shared = ["-n", "4"] if find_spec("xdist") and not dry else []
    arguments = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *shared, *some]
    done = subprocess.run(arguments, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    return {"status": done.returncode, "failed": [one for one in lines if one.startswith(("FAILED", "ERROR"))],
            "summary": lines[-1:]}  # fmt: skip


def rates(name: str, kind: str, folder: Path, *, dry: bool) -> dict[str, Any]:  # noqa: ARG001
    """Fit the rates of the cost model, the kernels that are tried included."""
    import fit_rates

    words = ["--batches", "1", "--seconds", "1"] if dry else ["--batches", "1", "32", "128", "--seconds", "50"]
    with contextlib.redirect_stdout(io.StringIO()) as told:
        fit_rates.main(["--rounds", "1", *words, *(["--net", "fast"] if dry else ["--device", "cuda", "--kernels"])])
    return {"told": told.getvalue().splitlines()}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "prepare": prepare, "tests": tests, "record": record, "speed": speed, "torch": torch, "stream": stream,
    "rates": rates,
}  # fmt: skip


# The whole.


def plan(*, dry: bool) -> Iterator[tuple[str, str, str]]:
    """Give the parts in the order of what must be known most: part, network, variant."""
    names = ["tiny"] if dry else ["fast", "accurate"]
    for part in ("prepare", "record", "speed"):
        yield from ((part, name, "default") for name in names)
    yield from (("speed", name, kind) for kind in FIRST for name in names)
    yield from (("record", name, "kernels, short sums") for name in names)
    yield from (("torch", name, kind) for kind in TORCH for name in names)
    yield "stream", names[0], "default"
    yield "tests", "", ""
    yield "rates", "", ""
    yield from (("speed", name, kind) for kind in VARIANTS if kind not in ("default", *FIRST) for name in names)


def carry_out(part: tuple[str, str, str], folder: Path, limit: float, *, dry: bool) -> dict[str, Any]:
    """Run a part in a process of its own; tell of its failure, if it fails."""
    arguments = [sys.executable, __file__, "--part", *part, str(folder), *(["--dry"] if dry else [])]
    start = perf_counter()
    try:
        done = subprocess.run(
            arguments, env=environment(), capture_output=True, text=True, timeout=limit, check=True, cwd=ROOT
        )
        found = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        found = {"error": f"took more than {limit:.0f} s"}
    except subprocess.CalledProcessError as error:
        found = {"error": " | ".join(error.stderr.strip().splitlines()[-3:])}
    return {**found, "seconds": round(perf_counter() - start, 1)}


def tables(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Give the lines of the tables: a row for each work and way, and its speed over the default's."""
    rows = []
    for title, found in results.items():
        part, name, kind = title.split("/")
        for work, one in found.items():
            if part in ("speed", "torch") and isinstance(one, dict):
                default = results.get(f"speed/{name}/default", {}).get(work, {}).get("ms")
                times = [f"{one[key]:.2f}" if key in one else "" for key in ("ms", "ms ahead")]
                faster = f"{default / one['ms']:.2f}" if default else ""
                difference = "" if one["difference"] is None else f"{one['difference']:.1e}"
                way = f"PyTorch, {kind}" if part == "torch" else kind
                holds = {True: "yes", False: "NO"}.get(one.get("holds"), "")
                rows.append([name, work, way, *times, faster, difference, holds])
    rows.sort(key=lambda row: (row[0] != "fast", row[0], row[1]))
    yield from markdown(["network", "work", "way", "ms", "ahead, ms", "over default", "difference", "holds"], rows)
    for title, found in results.items():
        yield from found.get("told", [])
        if not title.startswith(("speed", "torch", "rates")) or "error" in found:
            yield f"{title}: {json.dumps({key: value for key, value in found.items() if key != 'layers'})}"


def main() -> None:
    """Carry out all parts, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="try the script without a card")
    parser.add_argument("--json", type=Path, default=Path("card.json"), help="where to write the results (card.json)")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="parts to run (all)")
    parser.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.dry:
        os.environ["OVERFEAT_TEST_CARD"] = "stand-in"
    if options.part:
        part, name, kind, folder = options.part
        if options.dry:
            import tests.conftest  # noqa: F401 -- which puts the stand-in in cupy's place
        print(json.dumps(PARTS[part](name, kind, Path(folder), dry=options.dry)))
        return
    results: dict[str, dict[str, Any]] = {}
    end = perf_counter() + _WHOLE_SECONDS
    with tempfile.TemporaryDirectory() as folder:
        for part in plan(dry=options.dry):
            left = min(_LIMITS[part[0]], end - perf_counter())
            if (options.only and part[0] not in options.only) or left < 1:
                continue
            results["/".join(part)] = found = carry_out(part, Path(folder), left, dry=options.dry)
            print("/".join(part), found.get("error", "done"), f"{found['seconds']} s", file=sys.stderr, flush=True)
            options.json.write_text(json.dumps(results, indent=1), encoding="ascii")
    print("\n".join(tables(results)))


if __name__ == "__main__":
    main()
