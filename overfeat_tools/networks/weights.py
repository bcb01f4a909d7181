"""Find a weight file, check it and map it into memory.

NYU's files are little-endian float32 with no header: for each convolution in order its kernels (K, C, kh, kw), then its
biases (K,).  The size is all there is to check.  Other networks' are safetensors files, whose header has a name for
each of these.
"""

import errno
import itertools
import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from overfeat_tools.backend import FloatArray
from overfeat_tools.errors import OverfeatError, UsageError, WeightsError, reason
from overfeat_tools.networks import safetensors
from overfeat_tools.paths import data_folder

KernelShape = tuple[int, int, int, int]

PACKAGED = Path(__file__).with_name("data")
"""The folder of the weights and lists of classes that come with the package."""


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
        raise WeightsError("no home folder to look for weights in; name their folder (-d, $OVERFEAT_DATA)")
    return Path(folder)


def file_bytes(shapes: Sequence[KernelShape]) -> int:
    """Give the size of all numbers of a weight file: that of a file without a header."""
    return sum(4 * (math.prod(shape) + shape[0]) for shape in shapes)


def map_weights(
    path: Path, shapes: Sequence[KernelShape], network: str, names: Sequence[str] = ()
) -> list[tuple[FloatArray, FloatArray]]:
    """Map a network's weight file; give the kernels and biases of each convolution, read-only.

    Nothing is read before it is used, and the system shares the pages.

    Parameters
    ----------
    path : Path
    shapes : sequence of (K, C, kh, kw)
        The kernels of each convolution.
    network : str
    names : sequence of str, optional
        What a safetensors file calls each convolution; without them the file has no header.

    Raises
    ------
    WeightsError
        The file is missing, can't be read or has the wrong size or header.
    OverfeatError
        There is not enough memory to map it.
    """
    cure = f"get it with `of-download {network}`"
    try:
        if not path.is_file():
            path.stat()
            raise WeightsError(f"{path}: not a file; {cure}")
        with path.open("rb") as file:
            places = find_parameters(file, shapes, names)
            numbers = np.memmap(file, np.uint8, "r").view(np.ndarray)
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path}: no weights of {network} here; {cure}, name their folder (-d, $OVERFEAT_DATA), "
            "or try the network tiny, which knows only drawn patterns"
        ) from error
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise OverfeatError(f"{path}: not enough memory to map {file_bytes(shapes)} bytes") from error
        raise WeightsError(f"{path}: {reason(error)}; {cure}, or name another folder (-d, $OVERFEAT_DATA)") from error
    except safetensors.HeaderError as error:
        raise WeightsError(f"{path}: not the weights of {network}: {error}; {cure}") from error

    def tensor(start: int, shape: tuple[int, ...]) -> FloatArray:
        return numbers[start : start + 4 * math.prod(shape)].view("<f4").reshape(shape)

    return [(tensor(at, shape), tensor(bias, shape[:1])) for (at, bias), shape in zip(places, shapes, strict=True)]


def find_parameters(
    file: IO[bytes], shapes: Sequence[KernelShape], names: Sequence[str] = ()
) -> list[tuple[int, int]]:
    """Give the bytes at which the kernels and the biases of each convolution begin; see `map_weights`.

    Raises
    ------
    HeaderError
        They can't be there: the size is wrong, or the header.
    """
    size = os.fstat(file.fileno()).st_size
    if names:
        tensors = safetensors.read_header(file, size)
        place_of = partial(safetensors.place_of, tensors)
        pairs = zip(names, shapes, strict=True)
        return [(place_of(f"{name}.weight", shape), place_of(f"{name}.bias", shape[:1])) for name, shape in pairs]
    if size != file_bytes(shapes):
        raise safetensors.HeaderError(f"{file_bytes(shapes)} bytes expected, {size} found")
    ends = [0, *itertools.accumulate(file_bytes([shape]) for shape in shapes)]
    return [(start, end - 4 * shape[0]) for start, end, shape in zip(ends, ends[1:], shapes, strict=False)]
