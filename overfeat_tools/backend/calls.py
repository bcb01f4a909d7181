"""Compiled functions, and the rows of words that they take their arguments from.

A compiled function has two parameters: a row of 64-bit words, one for each argument, and the scratch memory of the
thread that calls it.  So a call is data, and the executor (`executor.py`) can carry it out without Python.
"""

import ctypes
import struct
from typing import NamedTuple

import numpy as np

from overfeat_tools.backend.arrays import Array

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class Scratch(NamedTuple):
    """A place in the memory that each thread has for itself, counted in bytes from its beginning."""

    offset_bytes: int = 0


class Place(NamedTuple):
    """A place in an array, counted in bytes from its beginning."""

    array: Array
    offset_bytes: int


Argument = int | float | Array | Place | Scratch


class Compiled:
    """A compiled function; it releases the GIL while it runs.

    Parameters
    ----------
    address : int
    """

    def __init__(self, address: int) -> None:
        self.address = address
        self._function = _FUNCTION(address)

    def __call__(self, *arguments: Argument) -> None:
        """Call the function here and now, without scratch memory."""
        row = np.array([word(argument) for argument in arguments], np.int64)
        self._function(row.ctypes.data, None)


class Call(NamedTuple):
    """A call to be carried out by the executor."""

    function: Compiled
    arguments: tuple[Argument, ...]


Piece = list[Call]
"""Calls that one thread carries out, one after the other."""


def word(argument: Argument) -> int:
    """Return what stands for an argument in a row: addresses are positive, offsets in scratch memory negative."""
    match argument:
        case Scratch(offset_bytes):
            return ~offset_bytes
        case Place(array, offset_bytes):
            return address(array) + offset_bytes
        case np.ndarray():
            return address(argument)
        case float():
            return int.from_bytes(struct.pack("<f", argument), "little")
        case _:
            return int(argument)


def address(array: Array) -> int:
    """Return where an array begins (`array.ctypes.data` takes four times as long)."""
    start: int = array.__array_interface__["data"][0]
    return start
