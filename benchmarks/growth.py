"""Measure how time and memory grow with the batch and the picture, and where the time goes.

Run it as `python benchmarks/growth.py`; each row comes from a process of its own.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import inputs
import measure

from overfeat_tools.networks.steps import steps
from overfeat_tools.networks.topology import FAST, TOPOLOGIES, Topology

HERE = Path(__file__).resolve().parent
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
_SIDES = (231, 320, 448, 512, 640, 768, 896, 1024)
_START_RUNS = 3

Report = dict[str, Any]


class Children:
    """Runs of `child.py`, all alike but for what is measured."""

    def __init__(self, folder: str | None, threads: int, rounds: int) -> None:
        self._folder, self._threads, self._rounds = folder, threads, rounds

    def run(self, topology: Topology, pictures: int, side: int, last: int, rounds: int | None = None) -> Report:
        """Return one child's report, with the time that the interpreter took to start."""
        weights = inputs.weights(topology, self._folder).parent
        numbers = self._threads, pictures, side, side, last, rounds or self._rounds
        print(f"{topology.name}: {pictures} pictures of {side}x{side}", file=sys.stderr, flush=True)
        started = monotonic()
        report: Report = measure.json_of([HERE / "child.py", topology.name, weights, *numbers])
        report["interpreter_seconds"] = report.pop("began") - started
        return report


def batches(children: Children, topology: Topology, most: int) -> Iterator[Report]:
    """Let the batch grow."""
    for pictures in (size for size in _BATCHES if size <= most):
        report = children.run(topology, pictures, topology.input_size, topology.last_layer)
        yield {"pictures": pictures, "pictures_a_second": pictures / report["batch_seconds"], **report}


def sides(children: Children, most: int) -> Iterator[Report]:
    """Let the picture grow."""
    for side in (size for size in _SIDES if size <= most):
        report = children.run(FAST, 1, side, FAST.feature_layer)
        yield {"side": side, "nanoseconds_a_pixel": 1e9 * report["batch_seconds"] / side**2, **report}


def start(children: Children, topology: Topology) -> Report:
    """Break down the time from nothing to the first answer."""
    runs = [children.run(topology, 1, topology.input_size, topology.last_layer, 1) for _ in range(_START_RUNS)]
    parts = [name for name in runs[0] if name.endswith("_seconds")]
    return {name: statistics.median(run[name] for run in runs) for name in parts}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=TOPOLOGIES, default="fast", help="network (fast)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds whose median counts (7)")
    parser.add_argument("--threads", type=int, default=2, help="threads (2)")
    parser.add_argument("--most-pictures", type=int, default=_BATCHES[-1], help="largest batch (128)")
    parser.add_argument("--most-side", type=int, default=_SIDES[-1], help="largest side of a picture (1024)")
    parser.add_argument("-d", dest="folder", help="folder with the weights; else those installed, else synthetic ones")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    return parser.parse_args()


def main() -> None:
    """Measure, print and write."""
    arguments = _arguments()
    topology = TOPOLOGIES[arguments.net]
    measure.warn_if_busy("growth.py")
    children = Children(arguments.folder, arguments.threads, arguments.rounds)
    record: Report = {
        "machine": measure.machine(),
        "network": topology.name,
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "start": start(children, topology),
        "batches": list(batches(children, topology, arguments.most_pictures)),
        "sides": list(sides(children, arguments.most_side)),
    }
    print("\n".join(_tables(record, topology)))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _tables(record: Report, topology: Topology) -> Iterator[str]:
    started = record["start"]
    yield from measure.markdown(
        ["start", "ms"],
        [
            ["interpreter", f"{1e3 * started['interpreter_seconds']:.0f}"],
            ["imports", f"{1e3 * started['imports_seconds']:.0f}"],
            ["weights", f"{1e3 * started['weights_seconds']:.1f}"],
            ["plans", f"{1e3 * started['plans_seconds']:.1f}"],
            ["first picture", f"{1e3 * started['first_batch_seconds']:.0f}"],
            ["any later picture, warm", f"{1e3 * started['batch_seconds']:.0f}"],
        ],
    )
    heading = [f"{topology.name}: batch", "pictures/s", "first batch s", "settled after", "peak GB"]
    yield from measure.markdown(heading, [_grown(row, "pictures", "pictures_a_second") for row in record["batches"]])
    heading = ["fast, features: side", "ns a pixel", "first s", "settled after", "peak GB", "s"]
    rows = [[*_grown(row, "side", "nanoseconds_a_pixel"), f"{row['batch_seconds']:.3f}"] for row in record["sides"]]
    yield from measure.markdown(heading, rows)
    chosen = [row for row in record["batches"] if row["pictures"] in (1, 32)]
    heading = ["layer", "kind", *(f"batch {row['pictures']}" for row in chosen), "algorithm"]
    yield from measure.markdown(heading, list(_shares(chosen, topology)))


def _grown(row: Report, key: str, speed: str) -> list[str]:
    return [
        f"{row[key]}", f"{row[speed]:.1f}", f"{row['first_batch_seconds']:.2f}", f"{row['warm_up_batches']}",
        f"{row['peak_bytes'] / 1e9:.2f}",
    ]  # fmt: skip


def _shares(rows: list[Report], topology: Topology) -> Iterator[list[str]]:
    """Give each step's share of the time, under the number of its last layer."""
    for step in steps(topology, topology.last_layer) if rows else ():
        kinds = "+".join(type(topology.layers[number]).__name__.lower() for number in step)
        algorithms = rows[-1]["algorithms"]
        algorithm = next((algorithms[str(number)] for number in step if str(number) in algorithms), "")
        last = str(step[-1])
        yield [last, kinds, *(f"{row['shares'].get(last, 0.0):.1%}" for row in rows), algorithm]


if __name__ == "__main__":
    main()
