"""Copies between host and graphics card through pinned memory, and the card's errors in words."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend.arrays import Array, FloatArray
from overfeat_tools.errors import BackendError


def reason_of(error: BaseException) -> str:
    """Give the first line of an error, or its name, for a message."""
    return (str(error).strip().partition("\n")[0] or type(error).__name__).lower()


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
        if "memoryallocation" in reason or "alloc_failed" in reason:
            raise MemoryError(reason) from error
        raise BackendError(f"--device cuda: the card failed ({reason}); use --device cpu") from error


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
        """Give the result, an array of its own."""
        if self._values is None:
            self.synchronize()
        assert self._values is not None  # noqa: S101 -- for the type checker
        return self._values

    def synchronize(self) -> None:
        """Take the result out of the pinned memory, which another one needs."""
        if self._values is None:
            with translated_errors():
                self._arrived.synchronize()
            self._values = self._pinned.copy()
            self._there = None


class Slot:
    """Pinned memory, with room on the card for what it sends, and what must be over before it is used again."""

    def __init__(self, empty_pinned: Callable[[int, npt.DTypeLike], Array]) -> None:
        self._empty_pinned = empty_pinned
        self._pinned: Array | None = None
        self.device: Any = None
        self.busy: Any = None

    def wait(self) -> None:
        """Wait until its last use is over."""
        if self.busy is not None:
            self.busy.synchronize()
            self.busy = None

    def pinned(self, like: Array) -> Array:
        """Give pinned memory as an array of a shape and dtype."""
        if self._pinned is None or self._pinned.nbytes < like.nbytes:
            self._pinned = None
            self._pinned = self._empty_pinned(round_up(like.nbytes), np.uint8)
        array: Array = self._pinned[: like.nbytes].view(like.dtype).reshape(like.shape)
        return array
