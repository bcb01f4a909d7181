"""The most probable classes of a picture, as text, tsv and JSON."""

import json
import math
import os
from collections.abc import Sequence

import numpy as np

from overfeat_tools.backend import FloatArray
from overfeat_tools.cli.streams import file_text
from overfeat_tools.networks.classes import Class

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


def ranking_json(ranking: Ranking, number: int, file: str | None, warning: str | None = None) -> bytes:
    """Write one JSON object and a newline; it has a warning where there is one."""
    classes = [
        {"index": item.index, "wnid": item.wnid, "name": item.name, "probability": _short(probability)}
        for item, probability in ranking
    ]
    return _json(number, file, {"classes": classes} | ({"warning": warning} if warning else {}))


def error_json(message: str, number: int, file: str | None) -> bytes:
    """Write the JSON object of a picture that could not be used."""
    return _json(number, file, {"error": message})


def _json(number: int, file: str | None, rest: dict[str, object]) -> bytes:
    name = None if file is None else file_text(file)
    return json.dumps({"picture": number, "file": name, **rest}).encode() + b"\n"


def _short(value: float) -> float | None:
    """Give the shortest decimal that is this float32; None for what JSON has no number for."""
    return float(str(np.float32(value))) if math.isfinite(value) else None
