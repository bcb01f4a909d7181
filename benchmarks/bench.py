"""Measure our programs against their peers and against what was promised; print a table.

Run it with `make bench`, or `python benchmarks/bench.py --help` for its options.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import inside
import measure
import processes
from rows import BULK, Bench, Comparison, Row

from overfeat_tools.networks.topology import ACCURATE, FAST, TOPOLOGIES, VGG16, Topology

# Each measurement and the networks it is made on.
MEASUREMENTS: dict[str, tuple[Callable[[Bench, Topology], Iterator[Row | Comparison]], tuple[Topology, ...]]] = {
    "bulk": (inside.bulk, (FAST, ACCURATE, VGG16)),
    "single": (inside.single, (FAST, ACCURATE, VGG16)),
    "large": (inside.large, (FAST, ACCURATE)),
    "stream": (processes.stream, (FAST,)),
    "start": (processes.start, (FAST,)),
    "photographs": (processes.photographs, (FAST,)),
    "text": (inside.text, (FAST,)),
    "memory": (processes.memory, (FAST, ACCURATE, VGG16)),
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, help="measure this; may be repeated")
    parser.add_argument("--net", choices=TOPOLOGIES, help="measure this network only")
    parser.add_argument("--rounds", type=int, default=7, help="rounds whose median counts (7)")
    parser.add_argument(
        "--threads", type=int, action="append",
        help="threads of all sides; may be repeated (1, 2, 4, ... and all processors; whole processes use the last)",
    )  # fmt: skip
    parser.add_argument("--photographs", type=int, default=200, help="how many photographs (200)")
    parser.add_argument("--bulk", type=int, default=BULK, help=f"how many pictures in a batch ({BULK})")
    parser.add_argument("--stream", type=int, default=512, help="how many pictures in a stream (512)")
    parser.add_argument("--long", action="store_true", help="also watch the memory over 3,000 pictures")
    parser.add_argument("-d", dest="folder", help="folder with the weights; else those installed, else synthetic ones")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a trial of two minutes, the figures of which mean little: 1 round, all processors, few pictures",
    )
    arguments = parser.parse_args()
    processors = len(os.sched_getaffinity(0))
    if arguments.quick:
        arguments.rounds, arguments.photographs, arguments.stream, arguments.bulk = 1, 20, 64, 8
    powers = [1 << power for power in range(processors.bit_length()) if 1 << power < processors]
    arguments.threads = arguments.threads or [*([] if arguments.quick else powers), processors]
    return arguments


def main() -> int:
    """Measure, print and write; a target missed is told, results that differ are an error."""
    arguments = _arguments()
    bench = Bench(
        arguments.rounds,
        arguments.threads,
        arguments.folder,
        arguments.long,
        arguments.photographs,
        arguments.stream,
        arguments.bulk,
    )
    machine = measure.machine()
    measure.warn_if_busy("bench.py")
    rows: list[Row | Comparison] = []
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
    print("\n".join(_tables(rows, machine, arguments.rounds, arguments.threads)))
    if arguments.json:
        record = {
            "machine": machine,
            "rounds": arguments.rounds,
            "threads": arguments.threads,
            "rows": [{**asdict(row), "met": row.met} for row in rows],
        }
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def _tables(rows: list[Row | Comparison], machine: dict[str, object], rounds: int, threads: list[int]) -> Iterator[str]:
    if compared := [row for row in rows if isinstance(row, Comparison)]:
        yield from measure.markdown(Comparison.HEADING, [row.cells for row in compared])
    if others := [row for row in rows if isinstance(row, Row)]:
        heading = ["work", "ours", "peer", "ratio", "target", "met"]
        yield from measure.markdown(heading, [row.cells for row in others])
    yield f"Medians of {rounds} rounds, {threads[-1]} threads where no other number is given. " + "; ".join(
        f"{name} {value}" for name, value in machine.items() if value is not None
    )
    for row in rows:
        if row.details:
            yield f"* {row.work}: " + ", ".join(f"{name} {value:.3g}" for name, value in row.details.items())


if __name__ == "__main__":
    sys.exit(main())
