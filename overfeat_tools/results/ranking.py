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

_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


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
    name = os.fsencode((file or "-").translate(_ESCAPES))
    return b"".join(
        b"%d\t%b\t%d\t%b\t%b\t%b\n"
        % (number, name, item.index, item.wnid.encode(), item.name.encode(), b"%g" % probability)
        for item, probability in ranking
    )


def ranking_json(ranking: Ranking, number: int, file: str | None, **told: object) -> bytes:
    """Write one JSON object and a newline: the classes, and what else is to be told."""
    classes = [
        {"index": item.index, "wnid": item.wnid, "name": item.name, "probability": _short(probability)}
        for item, probability in ranking
    ]
    return picture_json(number, file, **told, classes=classes)


def picture_json(number: int, file: str | None, **told: object) -> bytes:
    """Write what is told of a picture as a JSON object and a newline."""
    name = None if file is None else file_text(file)
    return json.dumps({"picture": number, "file": name, **told}).encode() + b"\n"


def _short(value: float) -> float | None:
    """Give the shortest decimal that is this float32; None for what JSON has no number for."""
    return float(str(np.float32(value))) if math.isfinite(value) else None
