"""Copies between host and graphics card through pinned memory, and the card's errors in words."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend.arrays import Array, FloatArray
from overfeat_tools.errors import BackendError


def reason_of(error: BaseException) -> str:
    """Give the first line of an error, or its name, for a message."""
    return (str(error).strip().partition("\n")[0] or type(error).__name__).lower()


def trouble_of(error: BaseException) -> str:
    """Tell why a card can't be opened, in the words of someone who would know what to do about it."""
    reason, visible = reason_of(error), os.environ.get("CUDA_VISIBLE_DEVICES")
    if _is_shortage(error):
        return "its memory is full; other programs may be using it"
    if "devicesunavailable" in reason or "devicealreadyinuse" in reason:
        return "it is busy: another program keeps it for itself"
    if visible is not None and any(word in reason for word in ("nodevice", "none found", "invaliddevice")):
        return f"CUDA_VISIBLE_DEVICES={visible} leaves none"
    return reason


def _is_shortage(error: BaseException) -> bool:
    """Tell whether memory was short, whoever speaks of it: cupy, CUDA, or one of its libraries."""
    reason = reason_of(error)
    return isinstance(error, MemoryError) or "memoryallocation" in reason or "alloc_failed" in reason


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Turn errors of CUDA and its libraries into a line for the user, or into `MemoryError`.

    Most shortages are one already: `cupy.cuda.memory.OutOfMemoryError` is derived from it.
    """
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith("cupy"):
            raise
        reason = reason_of(error)
        if _is_shortage(error):
            raise MemoryError(reason) from error
        raise BackendError(f"device cuda: the card failed ({reason}); use the device cpu") from error


def round_up(size_bytes: int) -> int:
    """Round up to a power of two: pictures of all sizes then leave no more than twice the largest in the pools."""
    return int(1 << (size_bytes - 1).bit_length())


class Download:
    """A result on its way from the card; calling it waits for the result.

    Parameters
    ----------
    pinned : array
        Where it arrives.
    there : cupy array
        Where it comes from: must be kept until it has.
    arrived : cupy event
    """

    def __init__(self, pinned: FloatArray, there: Any, arrived: Any) -> None:  # noqa: ANN401 -- cupy's are untyped
        self._pinned, self._there, self._arrived = pinned, there, arrived
        self._values: FloatArray | None = None

    def __call__(self) -> FloatArray:
        """Give the result, an array of its own: the pinned memory is needed for another one."""
        if self._values is None:
            with translated_errors():
                self._arrived.synchronize()
            self._values, self._there = self._pinned.copy(), None
        return self._values


class Slot:
    """Pinned memory, with room on the card for what it sends; `busy` waits until it may be used again."""

    def __init__(self, empty_pinned: Callable[[int, npt.DTypeLike], Array]) -> None:
        self._empty_pinned = empty_pinned
        self._pinned: Array | None = None
        self.device: Any = None
        self.busy: Callable[[], object] | None = None

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Give pinned memory as an array of a shape and dtype, once the last use of the slot is over."""
        if self.busy:
            self.busy()
            self.busy = None
        size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        if self._pinned is None or self._pinned.nbytes < size_bytes:
            self._pinned = None
            self._pinned = self._empty_pinned(round_up(size_bytes), np.uint8)
        return self._pinned[:size_bytes].view(dtype).reshape(shape)
