"""Rows of the table, and what every measurement needs."""

import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import inputs
import measure
import subject
from measure import Array, median_ratio
from peers import BFLOAT16, OnnxPeer, OpenVinoPeer, Peer

from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import Topology

# Pictures of a bulk batch.
BULK = 32
ONNX, OPENVINO = "ONNX Runtime", "OpenVINO"


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
class Comparison:
    """One line of the table of comparisons: the engine, its peers and its floor, on so many threads."""

    network: str
    size: tuple[int, int, int]
    threads: int
    target: float
    samples: measure.Samples
    details: dict[str, float]

    HEADING: ClassVar = [
        "network", "pictures", "threads", "ours", "floor", "ours/floor", "ONNX Runtime", "/ours", "target", "met",
        "OpenVINO", "/ours", "bf16",
    ]  # fmt: skip

    @property
    def work(self) -> str:
        """What was done."""
        pictures, height, width = self.size
        return f"{self.network}, {pictures} of {width}x{height}, {self.threads} threads"

    def ratio(self, over: str, under: str) -> float:
        """Compare the times of two sides."""
        return median_ratio(self.samples[over], self.samples[under])

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.ratio(ONNX, "ours") >= self.target

    @property
    def cells(self) -> list[str]:
        """The cells of the table; times are milliseconds for each picture."""
        pictures, height, width = self.size
        each = {name: f"{1e3 * statistics.median(s) / pictures:.2f} ms" for name, s in self.samples.items()}
        return [
            self.network, f"{pictures} of {width}x{height}", str(self.threads), each["ours"], each["floor"],
            f"{self.ratio('ours', 'floor'):.2f}", each[ONNX], f"{self.ratio(ONNX, 'ours'):.2f}", f">= {self.target:g}",
            "yes" if self.met else "NO", each[OPENVINO], f"{self.ratio(OPENVINO, 'ours'):.2f}", each.get(BFLOAT16, "-"),
        ]  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What every measurement needs to know."""

    rounds: int
    threads: list[int]
    folder: str | None
    long: bool
    photographs: int
    stream: int
    bulk: int = BULK

    def weights(self, topology: Topology) -> Path:
        """Give the network's weight file."""
        return inputs.weights(topology, self.folder)

    def peers(self, topology: Topology, threads: int, last: int) -> dict[str, Peer]:
        """Open the network in the peers."""
        what = topology, self.weights(topology), inputs.cache_folder(), threads, last
        found: dict[str, Peer] = {ONNX: OnnxPeer(*what), OPENVINO: OpenVinoPeer(*what)}
        if OpenVinoPeer.has_bfloat16():
            found[BFLOAT16] = OpenVinoPeer(*what, precision="bf16")
        return found

    def classify(self, topology: Topology, *arguments: object) -> list[str]:
        """Give of-classify's command line."""
        options = ["--net", topology.name, "-d", self.weights(topology).parent, "--threads", self.threads[-1]]
        return measure.command("classify", *options, *arguments)


def rate(pictures: int, seconds: list[float]) -> str:
    """Tell pictures a second."""
    return f"{pictures / statistics.median(seconds):.1f}/s"


def milliseconds(seconds: list[float]) -> str:
    """Tell a time."""
    return f"{1e3 * statistics.median(seconds):.1f} ms"


def warm_up(network: Network, pictures: Array, last: int | None = None) -> dict[str, float]:
    """Warm a network up; tell what that took."""
    warm = subject.warm_up(network, pictures, last)
    return {"seconds of the first batch": warm.first_seconds, "batches until the algorithms settled": warm.batches}


def against_onnx(work: str, samples: measure.Samples, target: float, details: dict[str, float] | None = None) -> Row:
    """Make the row of a time against ONNX Runtime's."""
    return Row(
        work,
        milliseconds(samples["ours"]),
        milliseconds(samples["peer"]) + " (ONNX Runtime)",
        median_ratio(samples["peer"], samples["ours"]),
        at_least=True,
        target=target,
        samples=samples,
        details=details or {},
    )


def skip(reason: str) -> None:
    """Tell why a measurement is left out."""
    print(f"skipped: {reason}", file=sys.stderr)
