"""What the records of all results have in common: the picture's number and its file, in tsv and in JSON."""

import json
import math
import os
import re

import numpy as np

_ESCAPES = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}
_ESCAPE = str.maketrans(_ESCAPES)
_PLAIN = {escape.encode(): plain.encode() for plain, escape in _ESCAPES.items()}


def tsv_record(number: int, file: str | None, *cells: bytes) -> bytes:
    r"""Write a line of tsv: the picture's number, its file, and what is told of it.

    Tabs, line ends and backslashes in file names are written \t, \n, \r and \\.
    """
    return b"\t".join((b"%d" % number, os.fsencode((file or "-").translate(_ESCAPE)), *cells)) + b"\n"


def unbroken(name: str) -> str:
    """Write a name, or a message, so that it has no tabs and line ends."""
    return name.translate(_ESCAPE)


def unescaped(name: bytes) -> bytes:
    """Give the name that tsv has written so; a backslash before anything else is one."""
    return re.sub(rb"\\[\\tnr]", lambda escape: _PLAIN[escape[0]], name)


def failure_record(form: str, number: int, file: str | None, heading: bytes, **told: object) -> bytes:
    """Write what stands for a picture without a result: a line with empty cells, an object, or nothing.

    Parameters
    ----------
    form : str
        "tsv" and "json" have something for it, other formats nothing.
    number, file, told
        Of the picture.
    heading : bytes
        The heading of the tsv, which has the picture's number and its file in front.
    """
    if form == "tsv":
        return tsv_record(number, file, *[b""] * (heading.count(b"\t") - 1))
    return json_record(number, file, **told) if form == "json" else b""


def json_record(number: int, file: str | None, **told: object) -> bytes:
    """Write what is told of a picture as a JSON object and a newline."""
    from overfeat_tools.cli.streams import file_text  # late: the library ranks without a command line

    return json_line(picture=number, file=None if file is None else file_text(file), **told)


def json_line(**told: object) -> bytes:
    """Write a JSON object and a newline."""
    return json.dumps(told).encode() + b"\n"


def shortest(value: float) -> float | None:
    """Give the shortest decimal that is this float32; None for what JSON has no number for."""
    return float(str(np.float32(value))) if math.isfinite(value) else None
