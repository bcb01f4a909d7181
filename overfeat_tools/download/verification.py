"""Check weight files: size, SHA-256, and whether their numbers can be weights at all.

Trained weights are finite and of a moderate spread, while text, another byte order or a shift by one byte gives
numbers like 1e30, and a hole in a file gives zeros.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from overfeat_tools.backend import FloatArray
from overfeat_tools.download.manifest import NAME, Record
from overfeat_tools.download.sources import WeightFile
from overfeat_tools.errors import WeightsError
from overfeat_tools.networks.weights import map_weights

# Root mean squares.  0.007 to 0.12 is usual for the kernels of a layer; the limits must hold for files never seen here.
_LIMITS = {"kernels": (1e-6, 10.0), "biases": (0.0, 100.0)}
_BLOCK = 1 << 17  # numbers; a unit may be dead, but so many zeros are a hole in the file


def check(path: Path, file: WeightFile, records: Mapping[str, Record], pins: frozenset[str]) -> str:
    """Check a file against its size, the record of an earlier installation, and the sums in `pins`, if there are any.

    Returns
    -------
    str
        Its SHA-256.

    Raises
    ------
    WeightsError
        It can't be read, or is not what it should be.
    """
    parameters = map_weights(path, file.shapes, file.network)
    try:
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        message = f"{path}: {(error.strerror or str(error)).lower()}"
        raise WeightsError(message) from error
    problem = _implausible(parameters)
    record = records.get(file.name)
    if pins and digest not in pins:
        problem = f"its sha256 is {digest}, which was not given with --sha256"
    elif record and record.sha256 != digest:
        problem = (
            f"its sha256 is {digest}, but {record.sha256} was installed on {record.installed}; if you trust this one, "
            f"delete {NAME} beside the weights"
        )
    if problem:
        message = f"{path}: not the weights of {file.network}: {problem}"
        raise WeightsError(message)
    return digest


def _implausible(parameters: list[tuple[FloatArray, FloatArray]]) -> str:
    """Say what is wrong with numbers that can't be weights; an empty string if they can."""
    for number, pair in enumerate(parameters, 1):
        for values, (what, (least, most)) in zip(pair, _LIMITS.items(), strict=True):
            total = 0.0
            with np.errstate(all="ignore"):
                for start in range(0, values.size, _BLOCK):
                    block = values.reshape(-1)[start : start + _BLOCK]
                    total += float(np.dot(block, block))
                    if len(block) == _BLOCK and not block.any():
                        return f"the {what} of convolution {number} are zero for a long stretch"
            spread = math.sqrt(total / values.size)
            if not least <= spread <= most:  # nor if it is not a number
                limits = f"{least:g} to {most:g} is plausible"
                return f"the {what} of convolution {number} have a root mean square of {spread:.3g}, where {limits}"
    return ""
