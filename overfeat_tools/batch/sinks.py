"""What becomes of results: a file for each picture, a table for each shard, or lines on standard output.

A sink says what is there of a shard, and makes what writes one.  Nothing counts before it is committed.
"""

import json
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from overfeat_tools import cli
from overfeat_tools.backend import FloatArray
from overfeat_tools.batch.computing import Result
from overfeat_tools.batch.output import OWN, Output
from overfeat_tools.batch.plan import Shard
from overfeat_tools.batch.rows import Record, Row
from overfeat_tools.errors import reason
from overfeat_tools.results import maps
from overfeat_tools.results.records import failure_record

UNWRITABLE = "no name for it"

Describe = Callable[[FloatArray | None], Mapping[str, Any]]
"""Gives what probabilities say: the best classes, if any were asked for."""


class ShardWriter(ABC):
    """Writes the rows of one shard, in order."""

    @abstractmethod
    def add(self, row: Row, result: Result | None) -> Row:
        """Write a picture; give its row, which may have failed yet."""

    def keep(self, row: Row) -> None:
        """Keep a row that was there before, with its result."""
        raise NotImplementedError

    @abstractmethod
    def commit(self) -> None:
        """Make it count."""

    def abandon(self) -> None:  # noqa: B027 -- most leave none
        """Leave no trace."""


class Sink(ABC):
    """What becomes of results."""

    @abstractmethod
    def record(self, shard: Shard) -> Record | None:
        """Give what is there of a shard."""

    @abstractmethod
    def writer(self, shard: Shard, old: Record | None) -> ShardWriter:
        """Make what writes a shard, some of whose rows may be kept."""


def file_name(row: Row, suffix: str) -> str:
    """Give the name of a picture's file, from its own: the whole of it, below the output whatever it is.

    Raises
    ------
    ValueError
        It leads out of there.
    """
    path = posixpath.normpath(row.path.partition("://")[2] or row.path).lstrip("/")
    if path.split("/")[0] in ("..", OWN, ".", ""):
        raise ValueError("its name leads out of the output folder")
    return path + (f".{row.frame}" if row.frame is not None else "") + suffix


@dataclass
class FileSink(Sink):
    """A file of text or npy for each picture, and a file of records for each shard."""

    output: Output
    form: str
    made_with: Mapping[str, Any]
    layers: Sequence[int]

    def names(self, row: Row) -> list[str]:
        """Give the names of a picture's files, one for each layer."""
        infixes = [f".L{number}" for number in self.layers] if len(self.layers) > 1 else [""]
        return [file_name(row, f"{infix}.{self.form}") for infix in infixes]

    def record(self, shard: Shard) -> Record | None:
        """Read the records of a shard; of which files are gone, or not as long as they were."""
        data = self.output.read(_record_name(shard))
        if data is None:
            return None
        found = json.loads(data)
        rows, gone = [], set()
        for told in found["rows"]:
            row = Row(**told)
            rows.append(row)
            for name, size in zip(self.names(row), row.sizes, strict=True) if row.sizes else ():
                if self.output.size(name) not in (size, self.output.unknown_size):
                    gone.add(row.path)
        return Record(found["made_with"], rows, frozenset(gone))

    def writer(self, shard: Shard, old: Record | None) -> ShardWriter:
        """Make what writes a shard."""
        return _FileWriter(self, _record_name(shard), old is not None)


def _record_name(shard: Shard) -> str:
    return f"{OWN}/{shard.title}.json"


@dataclass
class _FileWriter(ShardWriter):
    sink: FileSink
    record: str
    again: bool
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: Row, result: Result | None) -> Row:
        if result is None:
            if self.again and row.status != UNWRITABLE:
                for name in self.sink.names(row):
                    self.sink.output.remove(name)
            return self.add_row(row)
        write, sizes = maps.map_text if self.sink.form == "features" else maps.map_npy, []
        try:
            names = self.sink.names(row)
            for name, values in zip(names, result.maps, strict=True):
                sizes.append(self.sink.output.write(name, write(values), safely=False))
        except (ValueError, OSError) as error:
            for name in names[: len(sizes)] if sizes else ():
                self.sink.output.remove(name)
            return self.add(replace(row, status=UNWRITABLE, error=reason(error)), None)
        return self.add_row(replace(row, sizes=sizes))

    def add_row(self, row: Row) -> Row:
        self.rows.append(row.told)
        return row

    def keep(self, row: Row) -> None:
        self.add_row(row)

    def commit(self) -> None:
        self.sink.output.secure()
        whole = {"made_with": self.sink.made_with, "rows": self.rows}
        self.sink.output.write(self.record, [json.dumps(whole, sort_keys=True).encode() + b"\n"])


@dataclass
class TableSink(Sink):
    """A table in Parquet for each shard."""

    output: Output
    made_with: Mapping[str, Any]
    lengths: Mapping[str, int | None]
    describe: Describe
    classes: bool

    def record(self, shard: Shard) -> Record | None:
        """Read the rows of a shard, without its features."""
        from overfeat_tools.results import parquet

        file = self.output.open(_table_name(shard))
        if file is None:
            return None
        with file:
            made_with, rows = parquet.read_rows(file)
        return Record(made_with, [Row(**row) for row in rows])

    def writer(self, shard: Shard, old: Record | None) -> ShardWriter:
        """Make what writes a shard."""
        return _TableWriter(self, _table_name(shard), old)


def _table_name(shard: Shard) -> str:
    return f"{shard.title}.parquet"


class _TableWriter(ShardWriter):
    def __init__(self, sink: TableSink, name: str, old: Record | None) -> None:
        from overfeat_tools.results import parquet

        self._sink, self._name, self._path = sink, name, Path(sink.output.local_name())
        self._old: parquet.Values | None = None
        if old and (file := sink.output.open(name)):
            with file:
                self._old = parquet.Values(file, list(sink.lengths))
        self._places = {id(row): at for at, row in enumerate(old.rows)} if old else {}
        with sink.output.told(name):
            self._writer = parquet.Writer(self._path, sink.lengths, sink.made_with, classes=sink.classes)

    def add(self, row: Row, result: Result | None) -> Row:
        with self._sink.output.told(self._name):
            self._writer.add(
                row.told,
                None if result is None else result.maps,
                **self._sink.describe(result.probabilities if result else None),
            )
        return row

    def keep(self, row: Row) -> None:
        assert self._old  # noqa: S101 -- where rows are kept, there are some
        values, more = self._old[self._places[id(row)]]
        with self._sink.output.told(self._name):
            self._writer.add(row.told, values, **more)

    def commit(self) -> None:
        with self._sink.output.told(self._name):
            self._writer.close()
            self._sink.output.move(str(self._path), self._name)

    def abandon(self) -> None:
        self._writer.close(whole=False)
        self._path.unlink(missing_ok=True)


@dataclass
class LineSink(Sink, ShardWriter):
    """Lines of tsv or JSON on standard output, as pictures are computed."""

    form: str
    describe: Describe
    layers: Sequence[int]
    number: int = 0

    def record(self, shard: Shard) -> Record | None:
        """Give what is there: nothing can be known of it."""
        del shard
        return None

    def writer(self, shard: Shard, old: Record | None) -> ShardWriter:
        """Give itself."""
        del shard, old
        return self

    def add(self, row: Row, result: Result | None) -> Row:
        """Print a picture."""
        self.number += 1
        if result is None:
            cli.write(failure_record(self.form, self.number, row.path, self._heading, **self._told(row)))
            return row
        for layer, values in zip(self.layers, result.maps, strict=True):
            cli.write_pieces(self._pieces(row, layer, values, result.probabilities))
        return row

    @property
    def _heading(self) -> bytes:
        return maps.TSV_HEADING.replace(b"\tchannels", b"\tlayer\tchannels" if len(self.layers) > 1 else b"\tchannels")

    def _told(self, row: Row) -> dict[str, Any]:
        return {name: value for name, value in row.told.items() if name not in ("path", "stamp")}

    def _pieces(
        self, row: Row, layer: int, values: FloatArray, probabilities: FloatArray | None
    ) -> Iterable[bytes | memoryview]:
        several = len(self.layers) > 1
        if self.form == "tsv":
            return maps.map_tsv(values, self.number, row.path, *([b"%d" % layer] if several else []))
        more = {"layer": layer} if several else {}
        return maps.map_json(values, self.number, row.path, **self._told(row), **more, **self.describe(probabilities))

    def commit(self) -> None:
        """Do nothing: it is printed."""
