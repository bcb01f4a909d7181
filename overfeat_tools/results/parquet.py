"""Tables of pictures in Parquet: the door to pyarrow.

A table has a row for each picture: what is told of it, and its features, null where it has none.  Where every picture
gives one place they are lists of one length; else `shape` says how they are arranged: channels, rows, columns.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from overfeat_tools.backend import FloatArray
from overfeat_tools.errors import UsageError, reason

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as missing:
    raise UsageError(f"--format parquet: {reason(missing)}; install overfeat_tools[parquet]") from missing

_TEXTS, _NUMBERS = ("path", "status", "error", "warning"), ("width", "height", "frame")
_COLUMNS = (*_TEXTS, *_NUMBERS, "stamp", "sha256")
_KEY = b"of-batch"

# Values and rows of a row group: enough of them to be read quickly, few enough to be held.
_GROUP_BYTES, _GROUP_ROWS = 32 << 20, 2048


def _schema(lengths: Mapping[str, int | None], metadata: Mapping[str, Any], *, classes: bool) -> pa.Schema:
    fields = [(name, pa.int32() if name in _NUMBERS else pa.string()) for name in _COLUMNS]
    for name, length in lengths.items():
        fields.append((name, pa.list_(pa.float32(), -1 if length is None else length)))
        if length is None:
            fields.append((_shape(name), pa.list_(pa.int32(), 3)))
    if classes:
        parts = [("index", pa.int32()), ("wnid", pa.string()), ("name", pa.string()), ("probability", pa.float32())]
        fields.append(("classes", pa.list_(pa.struct(parts))))
    return pa.schema(fields, metadata={_KEY: json.dumps(metadata, sort_keys=True)})


def _shape(name: str) -> str:
    """Name the column with the shapes of another one's maps."""
    return "_".join(["shape", *name.split("_")[1:]])


class Writer:
    """Writes a table.

    Parameters
    ----------
    path : Path
    lengths : mapping
        The columns of values: how many every picture has, None where that differs.
    metadata : mapping
        What the whole table was made with.
    classes : bool
        Whether there are classes.
    """

    def __init__(
        self, path: Path, lengths: Mapping[str, int | None], metadata: Mapping[str, Any], *, classes: bool
    ) -> None:
        self._schema, self._lengths = _schema(lengths, metadata, classes=classes), lengths
        self._rows: list[dict[str, Any]] = []
        self._values: dict[str, list[FloatArray | None]] = {name: [] for name in lengths}
        self._bytes = 0
        options = {"use_dictionary": ["status", "error"], "compression": dict.fromkeys(_COLUMNS, "zstd")}
        self._file = path.open("wb")
        self._writer = pq.ParquetWriter(self._file, self._schema, write_statistics=list(_COLUMNS), **options)

    def add(self, row: Mapping[str, Any], maps: Sequence[FloatArray] | None, **more: object) -> None:
        """Add a picture: what is told of it, and its maps (C, H, W) or, as they were read, their values."""
        for at, (name, length) in enumerate(self._lengths.items()):
            values = None if maps is None else maps[at]
            if values is not None and length is None:
                more.setdefault(_shape(name), list(values.shape))
            self._values[name].append(None if values is None else values.reshape(-1))
            self._bytes += 0 if values is None else values.nbytes
        self._rows.append({**row, **more})
        if self._bytes >= _GROUP_BYTES or len(self._rows) >= _GROUP_ROWS:
            self._write_group()

    def _write_group(self) -> None:
        columns = []
        for field in self._schema:
            if field.name in self._lengths:
                columns.append(_lists(self._values[field.name], self._lengths[field.name], field.type))
            else:
                texts = (row.get(field.name) for row in self._rows)
                cells = [printable(each) if isinstance(each, str) else each for each in texts]
                columns.append(pa.array(cells, field.type))
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._rows, self._values, self._bytes = [], {name: [] for name in self._lengths}, 0

    def close(self, *, whole: bool = True) -> None:
        """End the table; what is not whole is not worth it."""
        if whole and (self._rows or not self._writer.writer):
            self._write_group()
        if whole:
            self._writer.close()
        self._writer.is_open = False
        self._file.close()


def _lists(arrays: Sequence[FloatArray | None], length: int | None, kind: pa.DataType) -> pa.Array:
    """Make a column of lists, all of one length if it is known."""
    mask = pa.array([values is None for values in arrays])
    if length is not None:
        empty = np.zeros(length, np.float32)
        flat = np.concatenate([empty if values is None else values for values in arrays] or [empty[:0]])
        return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), type=kind, mask=mask)
    sizes = [0 if values is None else values.size for values in arrays]
    flat = np.concatenate([np.zeros(0, np.float32), *(values for values in arrays if values is not None)])
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(flat, pa.float32()), type=kind, mask=mask)


def printable(text: str) -> str:
    r"""Write bytes of a name that are no UTF-8 as \udc80 to \udcff."""
    return text.encode("utf-8", "backslashreplace").decode()


def read_rows(file: IO[bytes]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read what a table was made with, and what is told of each picture, without its features."""
    with pq.ParquetFile(file) as table:
        metadata = json.loads((table.schema_arrow.metadata or {}).get(_KEY, b"{}"))
        rows: list[dict[str, Any]] = table.read(columns=list(_COLUMNS)).to_pylist()
    return metadata, rows


class Values:
    """The values of each picture of a table, and whatever else there is."""

    def __init__(self, file: IO[bytes], columns: Sequence[str]) -> None:
        self._table, self._columns = pq.read_table(file), columns
        self._more = [name for name in self._table.column_names if name not in (*_COLUMNS, *columns)]

    def __getitem__(self, at: int) -> tuple[list[FloatArray] | None, dict[str, Any]]:
        """Give those of one picture."""
        cells = [self._table[name][at] for name in self._columns]
        more = {name: self._table[name][at].as_py() for name in self._more}
        return ([cell.values.to_numpy(zero_copy_only=False) for cell in cells] if cells[0].is_valid else None), more
