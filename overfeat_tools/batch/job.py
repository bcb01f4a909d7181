"""What is to be done with every picture, so described that any process can take part in it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from overfeat_tools.backend import FloatArray
from overfeat_tools.batch.computing import Layers
from overfeat_tools.batch.listing import Naming
from overfeat_tools.batch.output import OWN, Output
from overfeat_tools.batch.reader import Reading
from overfeat_tools.batch.rows import Row, Tally
from overfeat_tools.batch.sinks import FileSink, LineSink, Sink, TableSink
from overfeat_tools.batch.sums import weights_sum
from overfeat_tools.errors import BackendError, UsageError, WeightsError
from overfeat_tools.networks.classes import read_classes
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.opening import open_network
from overfeat_tools.networks.topology import TOPOLOGIES
from overfeat_tools.results.ranking import class_records, rank

_MANIFEST = f"{OWN}/made-with.json"


@dataclass(frozen=True)
class Job:
    """What is to be done.

    `lengths` are the columns of a table: how many values every picture gives, if that is known.  `made_with` is all
    that results depend on besides the pictures.  `retry_failed` and `checksum` name what is done again although it is
    there: the failures, what a checksum finds changed.
    """

    network: str
    layers: Layers
    reading: Reading
    form: str
    output: str
    made_with: Mapping[str, Any]
    naming: Naming
    folder: str | None = None
    device: str = "auto"
    threads: int | None = None
    method: str = "auto"
    reproducible: bool = False
    batch: int | None = None
    lengths: Mapping[str, int | None] = field(default_factory=dict)
    classes: int = 0
    processes: int = 1
    remote: bool = False
    strict: bool = False
    retry_failed: bool = False
    checksum: bool = False
    precision: str = "float32"

    def open_network(self) -> Network:
        """Open the network: reproducibly, where that can be had.

        Raises
        ------
        WeightsError
            They are not those that others take.
        """
        found = weights_sum(self.network, self.folder)
        if self.made_with["weights"] not in (None, found):
            raise WeightsError(f"the weights of {self.network} here are not those that this was begun with")
        more = self.network, self.folder, self.device, self.threads, self.method
        try:
            return open_network(*more, reproducible=True, precision=self.precision)
        except BackendError:
            if self.reproducible:
                raise
            return open_network(*more, precision=self.precision)

    def open_sink(self, output: Output | None) -> Sink:
        """Make what takes the results."""
        if output is None:
            return LineSink(self.form, self.describe, self.layers.numbers)
        if self.form == "parquet":
            return TableSink(output, self.made_with, self.lengths, self.describe, classes=bool(self.classes))
        return FileSink(output, self.form, self.made_with, self.layers.numbers)

    def describe(self, probabilities: FloatArray | None) -> dict[str, Any]:
        """Give what is told of probabilities."""
        if not self.classes or probabilities is None:
            return {}
        return {"classes": class_records(rank(probabilities, read_classes(TOPOLOGIES[self.network]), self.classes))}

    def check(self, made_with: Mapping[str, Any], what: str) -> None:
        """Refuse results that were made with something else.

        Raises
        ------
        UsageError
            They were.
        """
        mine = json.loads(json.dumps(self.made_with))
        for name in sorted({*mine, *made_with}):
            if mine.get(name) != made_with.get(name):
                raise UsageError(
                    f"{what} was made with {name} {made_with.get(name)}, not {mine.get(name)}; "
                    "choose another output, or --force"
                )

    def check_output(self, output: Output) -> None:
        """Refuse an output that was made with something else; else note there what this makes it with."""
        data = output.read(_MANIFEST)
        if data is None:
            output.write(_MANIFEST, [json.dumps(self.made_with, sort_keys=True, indent=1).encode() + b"\n"])
        else:
            self.check(json.loads(data), self.output)


def forget(output: Output) -> None:
    """Forget all that was done for an output."""
    for name in output.names(OWN):
        output.remove(f"{OWN}/{name}")
    for name in output.names(""):
        if name.startswith("shard-") and name.endswith(".parquet"):
            output.remove(name)


@dataclass
class Outcome:
    """What became of a shard: its pictures, or the fault that kept it from being done."""

    number: int
    tally: Tally = field(default_factory=Tally)
    fault: str | None = None


def key(row: Row) -> str:
    """Give what a picture's file is known by, whatever wrote its row."""
    return key_of(row.path)


def key_of(name: str) -> str:
    """Give what a file is known by."""
    return name.encode("utf-8", "backslashreplace").decode()


def rows_by_file(rows: Iterator[Row]) -> dict[str, list[Row]]:
    """Put together the rows of each file."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found
