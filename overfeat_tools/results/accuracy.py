"""How often a network is right: pictures' labels, the rank of the right class, and the count of both."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from overfeat_tools.backend import FloatArray
from overfeat_tools.errors import UsageError
from overfeat_tools.networks.classes import Class, Labelled, by_label, class_labelled
from overfeat_tools.results.records import json_line, unescaped

TSV_HEADING = b"top\tright\tjudged\terror_percent\tunlabelled\tfailed\n"
_TOPS = (1, 5)


class Labels:
    """The right classes of files, by name.

    Parameters
    ----------
    lines : iterable of bytes
        `name TAB label`, where a label is the WordNet id or the name of a class; names as tsv writes them.
    classes : sequence of Class
    source : str
        What messages call it.

    Raises
    ------
    UsageError
        A line is something else, or its label stands for no class or several, or two lines contradict each other.
    """

    def __init__(self, lines: Iterable[bytes], classes: Sequence[Class], source: str) -> None:
        self.source = source
        self._classes: dict[bytes, Class] = {}
        known = by_label(classes)
        for number, line in enumerate(lines, 1):
            content = line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").rstrip(b"\r\n")
            if content:
                self._add(content, known, f"{source}: line {number}")

    def _add(self, line: bytes, known: Labelled, place: str) -> None:
        name, tab, label_bytes = line.rpartition(b"\t")
        if not (name and tab):
            raise UsageError(f"{place}: the name of a file, a tab, and a WordNet id or the name of a class expected")
        label = label_bytes.decode("utf-8", "surrogateescape").strip()
        found = class_labelled(label, known, place)
        name = unescaped(name)
        if self._classes.setdefault(name, found) is not found:
            other = self._classes[name].name
            raise UsageError(f'{place}: {os.fsdecode(name)} is labelled "{label}" here and "{other}" before')

    def of(self, file: str) -> Class | None:
        """Give the class of a file: by its name as given, else by its name without folders."""
        name = os.fsencode(file)
        return self._classes.get(name) or self._classes.get(name.rpartition(b"/")[2])


def rank_of(probabilities: FloatArray, index: int) -> int:
    """Give the place of a class among all, from 1; equals are in the order of the classes.

    Parameters
    ----------
    probabilities : array (classes,) float32
    index : int
    """
    return int(np.flatnonzero(np.argsort(-probabilities, kind="stable") == index)[0]) + 1


@dataclass
class Accuracy:
    """What is counted: the pictures that have a label, and how many of them are right."""

    judged: int = 0
    unlabelled: int = 0
    failed: int = 0
    right: tuple[int, ...] = (0,) * len(_TOPS)

    def add(self, rank: int | None) -> None:
        """Count a picture by the rank of its right class, None where that is not known."""
        if rank is None:
            self.unlabelled += 1
        else:
            self.judged += 1
            self.right = tuple(right + (rank <= top) for right, top in zip(self.right, _TOPS, strict=True))

    def _error(self, right: int) -> float | None:
        return round(100 * (1 - right / self.judged), 4) if self.judged else None

    def text(self) -> bytes:
        """Write it for people."""
        lines = [f"judged: {self.judged}; without a label: {self.unlabelled}; failed: {self.failed}\n"]
        for top, right in zip(_TOPS, self.right, strict=True):
            error = self._error(right)
            lines.append(f"top-{top}: {right} right" + ("\n" if error is None else f", {error:.2f} % error\n"))
        return "".join(lines).encode()

    def tsv(self) -> bytes:
        """Write a line for each top."""
        rows = []
        for top, right in zip(_TOPS, self.right, strict=True):
            error = self._error(right)
            row = (top, right, self.judged, "" if error is None else f"{error:g}", self.unlabelled, self.failed)
            rows.append("\t".join(map(str, row)) + "\n")
        return "".join(rows).encode()

    def json(self) -> bytes:
        """Write one object and a newline."""
        tops = {
            f"top{top}": {"right": right, "error_percent": self._error(right)}
            for top, right in zip(_TOPS, self.right, strict=True)
        }
        return json_line(judged=self.judged, unlabelled=self.unlabelled, failed=self.failed, **tops)
