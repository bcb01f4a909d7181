"""What becomes of results: a file for each picture, a table for each shard, or lines on standard output.

A sink says what is there of a shard, and makes what writes one.  Nothing counts before it is committed.
"""

import json
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from overfeat_tools import cli
from overfeat_tools.backend import FloatArray
from overfeat_tools.batch.computing import Result
from overfeat_tools.batch.output import OWN, Output
from overfeat_tools.batch.plan import Shard
from overfeat_tools.batch.rows import OK, Record, Row
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

    def name(self, row: Row) -> str:
        """Give the name of a picture's file."""
        return file_name(row, f".{self.form}")

    def record(self, shard: Shard) -> Record | None:
        """Read the records of a shard; of which files are gone, or not as long as they were."""
        data = self.output.read(_record_name(shard))
        if data is None:
            return None
        found = json.loads(data)
        rows, gone = [], set()
        for told in found["rows"]:
            size = told.pop("bytes", None)
            rows.append(Row(**told))
            if size is not None and self.output.size(self.name(rows[-1])) not in (size, self.output.unknown_size):
                gone.add(rows[-1].path)
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
    names: list[str] = field(default_factory=list)

    def add(self, row: Row, result: Result | None) -> Row:
        if result is None:
            if self.again and row.status != UNWRITABLE:
                self.sink.output.remove(self.sink.name(row))
            self.rows.append(row.told)
            return row
        try:
            name = self.sink.name(row)
            values = result.values.transpose(2, 0, 1)
            write = maps.map_text if self.sink.form == "features" else maps.map_npy
            size = self.sink.output.write(name, write(values), safely=False)
        except (ValueError, OSError) as error:
            return self.add(replace(row, status=UNWRITABLE, error=reason(error)), None)
        self.names.append(name)
        self.rows.append({**row.told, "bytes": size})
        return row

    def keep(self, row: Row) -> None:
        size = self.sink.output.size(self.sink.name(row)) if row.status == OK else None
        self.rows.append(row.told if size in (None, self.sink.output.unknown_size) else {**row.told, "bytes": size})

    def commit(self) -> None:
        self.sink.output.secure(self.names)
        whole = {"made_with": self.sink.made_with, "rows": self.rows}
        self.sink.output.write(self.record, [json.dumps(whole, sort_keys=True).encode() + b"\n"])


@dataclass
class TableSink(Sink):
    """A table in Parquet for each shard."""

    output: Output
    made_with: Mapping[str, Any]
    length: int | None
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

        self._sink, self._name, self._path = sink, name, sink.output.local_name()
        self._old: dict[int, tuple[FloatArray | None, dict[str, Any]]] | parquet.Values = {}
        if old and (file := sink.output.open(name)):
            with file:
                self._old = parquet.Values(file)
        self._places = {id(row): at for at, row in enumerate(old.rows)} if old else {}
        with sink.output.told(name):
            self._writer = parquet.Writer(self._path, sink.length, sink.made_with, classes=sink.classes)

    def add(self, row: Row, result: Result | None) -> Row:
        values = None if result is None else result.values.transpose(2, 0, 1)
        with self._sink.output.told(self._name):
            self._writer.add(row.told, values, **self._sink.describe(result.probabilities if result else None))
        return row

    def keep(self, row: Row) -> None:
        values, more = self._old[self._places[id(row)]]
        with self._sink.output.told(self._name):
            self._writer.add(row.told, values, **more)

    def commit(self) -> None:
        with self._sink.output.told(self._name):
            self._writer.close()
            self._sink.output.move(self._path, self._name)

    def abandon(self) -> None:
        self._writer.close(whole=False)
        self._path.unlink(missing_ok=True)


@dataclass
class LineSink(Sink, ShardWriter):
    """Lines of tsv or JSON on standard output, as pictures are computed."""

    form: str
    describe: Describe
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
        cli.write_pieces(self._pieces(row, result))
        return row

    def _pieces(self, row: Row, result: Result | None) -> Iterable[bytes | memoryview]:
        told = {name: value for name, value in row.told.items() if name not in ("path", "stamp")}
        if result is None:
            return [failure_record(self.form, self.number, row.path, maps.TSV_HEADING, **told)]
        values = result.values.transpose(2, 0, 1)
        if self.form == "tsv":
            return maps.map_tsv(values, self.number, row.path)
        return maps.map_json(values, self.number, row.path, **told, **self.describe(result.probabilities))

    def commit(self) -> None:
        """Do nothing: it is printed."""
