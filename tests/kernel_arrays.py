"""Arrays to give to compiled kernels, at places of all kinds, and how to call a kernel by names.

Sums of small integers are exact in single precision, in any order: where a kernel makes nothing but sums of products,
the tests ask for equality.  Whatever a kernel must not touch is nan before and after.
"""

import ctypes
import mmap
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend import Compiled
from tests import reference

Array = npt.NDArray[Any]

Put = Callable[[Array], Array]
"""Gives the copy of an array that a kernel is given, which tells where it lies."""

ALL = slice(None)

# Single precision, spectra of 256 pixels at most.
TOLERANCE = 2e-6


def integers(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Give integers of -7 to 7, float32."""
    return np.random.default_rng(seed).integers(-7, 8, shape).astype(np.float32)


def normal(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Give normally distributed float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def untouched(shape: tuple[int, ...]) -> Array:
    """Give nan, float32."""
    return np.full(shape, np.nan, np.float32)


def unaligned(array: Array) -> Array:
    """Copy an array to where no vector would begin."""
    room = np.empty(array.nbytes + 128, np.uint8)
    # An item must stand at a multiple of its size, so a vector of 16 or more bytes begins at no 8 or 4 bytes more.
    start = (-room.ctypes.data) % 64 + array.itemsize
    copy: Array = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def guarded(array: Array, *, at_end: bool) -> Array:
    """Copy an array to where its last item is followed, or its first preceded, by memory that must not be touched."""
    page = mmap.PAGESIZE
    size = -(-array.nbytes // page) * page
    room = mmap.mmap(-1, size + 2 * page)
    first = ctypes.addressof(ctypes.c_char.from_buffer(room))
    libc = ctypes.CDLL(None, use_errno=True)
    for address in (first, first + page + size):
        assert libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(page), 0) == 0, os.strerror(ctypes.get_errno())
    start = page + (size - array.nbytes if at_end else 0)
    copy: Array = np.frombuffer(room, array.dtype, array.size, start).reshape(array.shape)
    copy[...] = array
    return copy


def call(kernel: Compiled, parameters: Mapping[str, str], **arguments: Any) -> None:  # noqa: ANN401 -- of several kinds
    """Call a kernel with arrays and numbers, by the names of its parameters."""
    assert arguments.keys() == parameters.keys()
    values = [arguments[name] for name in parameters]
    kernel(*[value.ctypes.data if isinstance(value, np.ndarray) else value for value in values])


def assert_close(ours: Array, expected: Array, tolerance: float = TOLERANCE, note: object = "") -> None:
    """Check what is written, and that all else is as it was: nan."""
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(expected), str(note))
    written = ~np.isnan(expected)
    assert reference.distance(ours[written], expected[written]) < tolerance, note
