"""What the engine calls an array, and what it asks of a device."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend.compiler import Compiler

# On a graphics card these are cupy's arrays, which take numpy's operators and methods.
FloatArray = npt.NDArray[np.float32]
ComplexArray = npt.NDArray[np.complex64]
Array = npt.NDArray[Any]


class Transform(Protocol):
    """Complex transforms of a stack of equal maps, which stand in `tiles` (height, width, columns).

    `forward` and `inverse` work in place; `inverse` does not divide by the size.
    """

    @property
    def tiles(self) -> ComplexArray:
        """The maps, or what they have been turned into."""

    @property
    def forward(self) -> Callable[[], None]:
        """Transform `tiles`."""

    @property
    def inverse(self) -> Callable[[], None]:
        """Transform `tiles` back."""


class Backend(Protocol):
    """A device.

    `xp` is the module with numpy's functions for its arrays.  `cache_bytes` is how much a piece of
    work should touch at a time where its data is used again.  `batched` tells that it makes many equal
    products in one call rather than one after the other on several threads, and `ahead` how many
    batches it may be computing while the next is brought.
    """

    xp: ModuleType
    name: str
    threads: int
    cache_bytes: int
    batched: bool
    ahead: int

    @property
    def compiler(self) -> Compiler | None:
        """What makes machine code for the device, or None where it has no such thing."""

    def drop_compiler(self) -> None:
        """Go on without the compiler, which has turned out not to work."""

    def share(self, work: Callable[[int], object], count: int) -> None:
        """Call `work(0)` to `work(count - 1)`, each once; they must not depend on each other."""

    def pieces(self, length: int, least: int = 1) -> list[slice]:
        """Cut `range(length)` into slices to share out, none below `least`."""

    def at_once(self, cached: int) -> int:
        """Tell how much to work on at a time, in any unit, where a thread's cache suggests `cached`."""

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
        """Give a new, uninitialised array that lies as the device's vectors like it."""

    def scratch(self, use: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Give an uninitialised array, valid until the next call for the same use."""

    def thread_scratch(self, use: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Give an array like `scratch`, but each of the threads of `share` its own."""

    def fourier_plan(self, height: int, width: int, columns: int) -> Transform:
        """Give the transform of maps of one size; the same one until another size is asked for."""

    def computing(self) -> AbstractContextManager[None]:
        """Do what must be done around the computing of a batch."""

    def array(self, host: Array) -> Array:
        """Bring what stays, weights and tables, to the device."""

    def upload(self, pictures: Array) -> Array:
        """Bring a batch (N, C, H, W) to the device; inside `computing`."""

    def download(self, x: FloatArray) -> Callable[[], FloatArray]:
        """Begin to bring a result back; what is given waits for it.  Inside `computing`."""

    def free_bytes(self) -> int | None:
        """Give the memory that can be had now, or None where that is not known."""

    def memory_bytes(self) -> int:
        """Give the size of the device's memory."""


def compiler_of(backend: Backend) -> Compiler:
    """Give the compiler of a backend that has one: what needs it is offered by the planner nowhere else."""
    compiler = backend.compiler
    assert compiler is not None  # noqa: S101 -- for the type checker
    return compiler
