"""Find a weight file, check it and map it into memory.

NYU's files are little-endian float32 with no header: for each convolution in order its kernels (K, C, kh, kw), then its
biases (K,).  The size is all there is to check.  Other networks' are safetensors files, whose header has a name for
each of these.
"""

import contextlib
import ctypes
import errno
import itertools
import math
import mmap
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING

import numpy as np

from overfeat_tools.errors import OverfeatError, UsageError, WeightsError, reason
from overfeat_tools.networks import safetensors
from overfeat_tools.paths import data_folder

if TYPE_CHECKING:
    from overfeat_tools.backend import FloatArray

KernelShape = tuple[int, int, int, int]

PACKAGED = Path(__file__).with_name("data")
"""The folder of the weights and lists of classes that come with the package."""


def file_name(network: str) -> str:
    """Give the name of a network's weight file."""
    return {"tiny": "net_weight_tiny", "fast": "net_weight_0", "accurate": "net_weight_1"}.get(
        network, f"{network}.safetensors"
    )


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
) -> list[tuple["FloatArray", "FloatArray"]]:
    """Map a network's weight file; give the kernels and biases of each convolution, read-only.

    Nothing is copied, and the system shares the pages.

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
            mapped = _AHEAD.pop(_identity(file), None) or _map(file)
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

    numbers = np.frombuffer(mapped, np.uint8)

    def tensor(start: int, shape: tuple[int, ...]) -> "FloatArray":
        return numbers[start : start + 4 * math.prod(shape)].view("<f4").reshape(shape)

    return [(tensor(at, shape), tensor(bias, shape[:1])) for (at, bias), shape in zip(places, shapes, strict=True)]


def map_ahead(network: str, folder: str | Path | None = None) -> None:
    """Begin to map a network's weight file before the network is opened, while a program imports what it needs.

    Whatever is wrong with the file is told when the network is opened.
    """
    with contextlib.suppress(OSError, ValueError, OverfeatError):
        path = weights_folder(folder) / file_name(network)
        if path.is_file():
            with path.open("rb") as file:
                _AHEAD[_identity(file)] = _map(file)


_AHEAD: dict[tuple[int, ...], mmap.mmap] = {}


def _identity(file: IO[bytes]) -> tuple[int, ...]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _map(file: IO[bytes]) -> mmap.mmap:
    """Map a file, and have a thread touch all of it.

    The system maps a page, and some around it, when it is first touched: for 0.5 GB that takes a twentieth of a second.
    """
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with contextlib.suppress(RuntimeError):  # "can't start new thread"
        Thread(target=_touch, args=(mapped,), daemon=True).start()
    return mapped


def _touch(mapped: mmap.mmap) -> None:
    """Read a byte of every 64 KiB, which is what Linux maps at a time, and let other threads run Python meanwhile.

    `lfind` compares each with a string, in C.  Where it finds that string, by whatever chance, it ends early.  (To ask
    the system to map it all, with madvise, keeps other threads from mapping anything until it has.)
    """
    library, first = ctypes.CDLL(None), np.frombuffer(mapped, np.uint8).ctypes.data
    step, count = ctypes.c_size_t(_TOUCHED_BYTES), ctypes.c_size_t(len(mapped) // _TOUCHED_BYTES)
    library.lfind(_UNLIKELY, ctypes.c_void_p(first), ctypes.byref(count), step, library.strcmp)


_TOUCHED_BYTES = 1 << 16
_UNLIKELY = b"\xff\xfe\xfd\xfc\xfb"


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
