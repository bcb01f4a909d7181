"""Check weight files: size, SHA-256, and whether their numbers can be weights at all.

Trained weights are finite and of a moderate spread, while text, another byte order or a shift by one byte gives
numbers like 1e30, and a hole in a file gives zeros.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from overfeat_tools.download.manifest import NAME, Record
from overfeat_tools.download.sources import WeightFile
from overfeat_tools.errors import WeightsError
from overfeat_tools.networks.weights import map_weights

# Root mean squares.  0.007 to 0.12 is usual for the kernels of a layer; the limits must hold for files never seen here.
_KERNELS = (1e-6, 10.0)
_BIASES = (0.0, 100.0)
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
    map_weights(path, file.shapes, file.network)  # refuses another size
    digest, problem = hashlib.sha256(), ""
    try:
        with path.open("rb") as content:
            for number, shape in enumerate(file.shapes, 1):
                for what, count, limits in (("kernels", math.prod(shape), _KERNELS), ("biases", shape[0], _BIASES)):
                    if wrong := _implausible(content, count, limits, digest):
                        problem = problem or f"the {what} of convolution {number} have {wrong}"
    except OSError as error:
        raise WeightsError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    sha256, record = digest.hexdigest(), records.get(file.name)
    if pins and sha256 not in pins:
        problem = f"its sha256 is {sha256}, which was not given with --sha256"
    elif record and record.sha256 != sha256:
        problem = (
            f"its sha256 is {sha256}, but {record.sha256} was installed on {record.installed}; if you trust this one, "
            f"delete {NAME} beside the weights"
        )
    if problem:
        raise WeightsError(f"{path}: not the weights of {file.network}: {problem}")
    return sha256


def _implausible(content: IO[bytes], count: int, limits: tuple[float, float], digest: "hashlib._Hash") -> str:
    """Read so many numbers; say what is wrong with them, if they can't be weights."""
    total, hole = 0.0, False
    with np.errstate(all="ignore"):
        for start in range(0, count, _BLOCK):
            block = content.read(4 * min(_BLOCK, count - start))
            digest.update(block)
            numbers = np.frombuffer(block, "<f4")
            total += float(np.dot(numbers, numbers))
            hole = hole or (len(numbers) == _BLOCK and not numbers.any())
    spread = math.sqrt(total / count)
    if limits[0] <= spread <= limits[1] and not hole:  # neither, if it is not a number
        return ""
    return f"a root mean square of {spread:.3g}{' and a long stretch of zeros' if hole else ''}"
