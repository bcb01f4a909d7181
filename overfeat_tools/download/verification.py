"""Check weight files: size, SHA-256, and whether their numbers can be weights at all.

Trained weights are finite and of a moderate spread, while text, another byte order or a shift by one byte gives
numbers like 1e30, and a hole in a file gives zeros.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from overfeat_tools.backend import FloatArray
from overfeat_tools.download.manifest import NAME, Record
from overfeat_tools.download.sources import WeightFile
from overfeat_tools.errors import WeightsError, reason
from overfeat_tools.networks.weights import map_weights

# Root mean squares.  0.007 to 0.12 is usual for the kernels of a layer; the limits must hold for files never seen here.
_LIMITS = {"kernels": (1e-6, 10.0), "biases": (0.0, 100.0)}
_BLOCK = 1 << 17  # numbers; a unit may be dead, but so many zeros are a hole in the file


def check(path: Path, file: WeightFile, records: Mapping[str, Record], pins: frozenset[str]) -> str:
    """Check a file against its size and a SHA-256: one in `pins`, the one recorded when it was installed, or published.

    Returns
    -------
    str
        Its SHA-256.

    Raises
    ------
    WeightsError
        It can't be read, or is not what it should be.
    """
    parameters = map_weights(path, file.shapes, file.network, file.names)  # refuses another size
    try:
        with path.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: {reason(error)}") from error
    record = records.get(file.name)
    if pins and sha256 not in pins:
        problem = f"its sha256 is {sha256}, which was not given with --sha256"
    elif record and record.sha256 != sha256:
        problem = (
            f"its sha256 is {sha256}, but {record.sha256} was installed on {record.installed}; if you trust this one, "
            f"delete {NAME} beside the weights"
        )
    elif file.sha256 and not (pins or record) and sha256 != file.sha256:
        problem = f"its sha256 is {sha256}, but {file.sha256} was published"
    else:
        problem = next(_implausible(parameters), "")
    if problem:
        raise WeightsError(f"{path}: not the weights of {file.network}: {problem}")
    return sha256


def _implausible(parameters: list[tuple[FloatArray, FloatArray]]) -> Iterator[str]:
    """Say of which convolutions the numbers can't be weights, and why."""
    for number, pair in enumerate(parameters, 1):
        for (what, (least, most)), values in zip(_LIMITS.items(), pair, strict=True):
            flat = values.reshape(-1)
            blocks = [flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK)]
            with np.errstate(all="ignore"):
                spread = math.sqrt(sum(float(np.dot(block, block)) for block in blocks) / flat.size)
                hole = any(len(block) == _BLOCK and not block.any() for block in blocks)
            if hole or not least <= spread <= most:  # nor if it is not a number
                zeros = " and a long stretch of zeros" if hole else ""
                yield f"the {what} of convolution {number} have a root mean square of {spread:.3g}{zeros}"
