"""Find a weight file, check it and map it into memory.

A file is little-endian float32 with no header: for each convolution in order its kernels
(K, C, kh, kw), then its biases (K,).  The size is all there is to check.
"""

import errno
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from overfeat_tools.backend import FloatArray
from overfeat_tools.errors import OverfeatError, UsageError, WeightsError
from overfeat_tools.paths import data_folder

KernelShape = tuple[int, int, int, int]

PACKAGED = Path(__file__).with_name("data")
"""The folder of the weights that come with the package."""


def weights_folder(named: str | Path | None = None) -> Path:
    """Give the folder that holds the weights.

    Parameters
    ----------
    named : str or Path, optional
        The folder asked for; by default `$OVERFEAT_DATA` or, if that is not set, the user's data folder.

    Raises
    ------
    UsageError
        The name is empty.
    WeightsError
        There is no default, because the user has no home folder.
    """
    if named == "":
        raise UsageError("-d: the name of a folder expected")
    folder = named or os.environ.get("OVERFEAT_DATA") or data_folder()
    if folder is None:
        raise WeightsError("no home folder to look for weights in; name their folder with -d or $OVERFEAT_DATA")
    return Path(folder)


def file_bytes(shapes: Sequence[KernelShape]) -> int:
    """Give the exact size of a weight file."""
    return sum(4 * (math.prod(shape) + shape[0]) for shape in shapes)


def map_weights(path: Path, shapes: Sequence[KernelShape], network: str) -> list[tuple[FloatArray, FloatArray]]:
    """Map a network's weight file; give the kernels and biases of each convolution, read-only.

    Nothing is read before it is used, and the system shares the pages.

    Parameters
    ----------
    path : Path
    shapes : sequence of (K, C, kh, kw)
        The kernels of each convolution.
    network : str

    Raises
    ------
    WeightsError
        The file is missing, can't be read or has the wrong size.
    OverfeatError
        There is not enough memory to map it.
    """
    expected = file_bytes(shapes)
    cure = f"get it with `of-download {network}`"
    try:
        found = path.stat().st_size
        if not path.is_file():
            raise WeightsError(f"{path}: not a file; {cure}")
        if found != expected:
            raise WeightsError(f"{path}: {expected} bytes expected for the weights of {network}, {found} found; {cure}")
        numbers = np.memmap(path, "<f4", "r")
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path}: no weights of {network} here; {cure}, name their folder with -d, "
            "or try --net tiny, which knows only drawn patterns"
        ) from error
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise OverfeatError(f"{path}: not enough memory to map {expected} bytes") from error
        raise WeightsError(
            f"{path}: {(error.strerror or str(error)).lower()}; {cure}, or name their folder with -d"
        ) from error
    return list(_walk(numbers.view(np.ndarray), shapes))


def _walk(numbers: FloatArray, shapes: Sequence[KernelShape]) -> Iterator[tuple[FloatArray, FloatArray]]:
    start = 0
    for shape in shapes:
        bias = start + math.prod(shape)
        yield numbers[start:bias].reshape(shape), numbers[bias : bias + shape[0]]
        start = bias + shape[0]
