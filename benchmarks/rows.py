"""Rows of the table, and what every measurement needs."""

import importlib.util
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

import inputs
import measure
import subject
from measure import Array, median_ratio
from peers import OnnxPeer, OpenVinoPeer

from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import Topology

# Pictures of a bulk batch.
BULK = 32


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

    def openvino(self, topology: Topology) -> OpenVinoPeer | None:
        """Open the network in OpenVINO, if it is installed."""
        if importlib.util.find_spec("openvino") is None:
            skip("OpenVINO is not installed")
            return None
        return OpenVinoPeer(topology, self.weights(topology), inputs.cache_folder(), self.threads)

    def classify(self, topology: Topology, *arguments: object) -> list[str]:
        """Give of-classify's command line."""
        options = ["--net", topology.name, "-d", self.weights(topology).parent, "--threads", self.threads]
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
