"""Turn results into the bytes that the commands print."""

import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from overfeat_tools.backend import FloatArray
from overfeat_tools.networks.classes import Class

# Values formatted at a time: bounds memory, and long enough to keep the loop in C.
_CHUNK = 1 << 14

Ranking = Sequence[tuple[Class, float]]


def rank(probabilities: FloatArray, classes: Sequence[Class], count: int) -> Ranking:
    """Give the `count` most probable classes, best first; equals in the order of the classes.

    Parameters
    ----------
    probabilities : array (classes,) float32
    """
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [(classes[index], float(probabilities[index])) for index in order]


def ranking_text(ranking: Ranking) -> bytes:
    """Write `name probability` lines, as the original does."""
    return "".join(f"{item.name} {probability:g}\n" for item, probability in ranking).encode()


def ranking_tsv(ranking: Ranking, number: int, file: str | None) -> bytes:
    r"""Write a line a class: picture number, file, index, WordNet id, name, probability.

    Tabs, line ends and backslashes in file names are written \t, \n, \r and \\.
    """
    name = os.fsencode(file or "-").replace(b"\\", b"\\\\")
    for raw, escape in ((b"\t", b"\\t"), (b"\n", b"\\n"), (b"\r", b"\\r")):
        name = name.replace(raw, escape)
    return b"".join(
        b"%d\t%b\t%d\t%b\t%b\t%b\n"
        % (number, name, item.index, item.wnid.encode(), item.name.encode(), b"%g" % probability)
        for item, probability in ranking
    )


def ranking_json(ranking: Ranking, number: int, file: str | None) -> bytes:
    """Write one JSON object and a newline."""
    classes = [
        {"index": item.index, "wnid": item.wnid, "name": item.name, "probability": _short(probability)}
        for item, probability in ranking
    ]
    return _json({"picture": number, "file": file, "classes": classes})


def error_json(message: str, number: int, file: str | None) -> bytes:
    """Write the JSON object of a picture that could not be used."""
    return _json({"picture": number, "file": file, "error": message})


def _json(record: dict[str, object]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _short(value: float) -> float | None:
    """Give the shortest decimal that is this float32; None for what JSON has no number for."""
    return float(str(np.float32(value))) if math.isfinite(value) else None


def map_text(values: FloatArray) -> Iterator[bytes]:
    """Write a map (C, H, W): `C H W`, a newline, each value and a space, a newline."""
    yield b"%d %d %d\n" % values.shape
    flat = values.reshape(-1)
    line = "%g " * min(_CHUNK, flat.size)
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK].tolist()
        template = line if len(chunk) == _CHUNK else "%g " * len(chunk)
        yield (template % tuple(chunk)).encode()
    yield b"\n"


def map_npy(values: FloatArray) -> Iterator[bytes]:
    """Write a map (C, H, W) float32 as a record of numpy's npy format."""
    values = np.ascontiguousarray(values)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(values))
    yield header.getvalue()
    yield values.tobytes()


def table(rows: Iterable[Sequence[object]]) -> str:
    """Align rows of cells into columns: numbers to the right, words to the left."""
    cells = [[str(cell) for cell in row] for row in rows]
    columns = [list(column) for column in zip(*cells, strict=True)]
    for column in columns:
        width = max(map(len, column))
        numbers = all(cell[:1].isdigit() for cell in column[1:])  # the first row is a heading
        column[:] = [cell.rjust(width) if numbers else cell.ljust(width) for cell in column]
    return "".join("  ".join(row).rstrip() + "\n" for row in zip(*columns, strict=True))
