"""What the engine calls an array, and what it asks of a device."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from overfeat_tools.backend.calls import Piece
    from overfeat_tools.backend.compiler import Compiler
    from overfeat_tools.backend.program import Recording

# On a graphics card these are cupy's arrays, which take numpy's operators and methods.
FloatArray = npt.NDArray[np.float32]
ComplexArray = npt.NDArray[np.complex64]
Array = npt.NDArray[Any]

Item = TypeVar("Item")


LINE_BYTES = 64
"""A line of the cache, which is the longest vector, too."""


def aligned_empty(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
    """Give a new, uninitialised numpy array that begins with a line of the cache.

    numpy's begin 16 bytes behind one: a vector as long as a line would always lie on two, and take twice the time.
    Bulk took 1.08 times as long.  (pyfftw has such arrays, too, but importing it takes 12 ms.)
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + LINE_BYTES, np.uint8)
    start = -memory.ctypes.data % LINE_BYTES
    return memory[start : start + size].view(dtype).reshape(shape)


class FftPlan(Protocol):
    """Complex transforms, in place, of a stack of equal maps.

    `inverse` does not divide by the size.
    """

    @property
    def tiles(self) -> ComplexArray:
        """The maps, (height, width, maps)."""

    @property
    def forward(self) -> Callable[[], None]:
        """Transform `tiles`."""

    @property
    def inverse(self) -> Callable[[], None]:
        """Transform `tiles` back."""


class Recorded(Protocol):
    """A recorded pass."""

    def step_seconds(self, times: Array) -> list[float]:
        """Tell how long each step took, by the times that `replay` gives."""


class Backend(Protocol):
    """A device.

    `compiler` is what makes machine code for the device; it is None where there is no such thing, or where it has
    turned out not to work.  `cache_bytes` is how much a chunk of work should touch at a time where its data is used
    again.  `ahead` is how many batches it may be computing while the next is brought, and `usual_batch` how many
    pictures keep it busy.  `is_cold` tells that a first batch has to wait for kernels to be compiled.  `precision` is
    what `xp.matmul` rounds its factors to: "float32", or on a card "tf32" or "half"; `xp.dot` doesn't round.
    """

    name: str
    compiler: "Compiler | None"
    cache_bytes: int
    ahead: int
    usual_batch: int
    is_cold: bool
    precision: str

    @property
    def xp(self) -> ModuleType:
        """The module with numpy's functions for the device's arrays."""

    @property
    def threads(self) -> int:
        """Threads that compute."""

    @property
    def parallel(self) -> int:
        """Threads that can run at the same time."""

    def parallel_for(self, work: Callable[[Item], object], items: Sequence[Item]) -> None:
        """Call `work` with each of the items; the calls must not depend on each other."""

    def launch(self, pieces: "Sequence[Piece]", scratch_bytes: int = 0) -> None:
        """Carry out compiled calls; the pieces must not depend on each other.  Only where there is a compiler."""

    def records(self, x: Array) -> bool:
        """Tell whether passes of such batches can be recorded; with a compiler if it computes every step."""

    def record(self, compute: "Callable[[Recording, Array], list[FloatArray]]", x: Array) -> "Recorded":
        """Record what `compute` launches, which reads the array it is given and writes its results."""

    def replay(self, program: Any, x: Array) -> tuple[list[FloatArray], Array]:  # noqa: ANN401 -- what `record` gave
        """Carry out a program; return new arrays and when each stage began, and the last ended, in nanoseconds."""

    def chunks(self, length: int, least: int = 1) -> list[slice]:
        """Cut `range(length)` into slices for `parallel_for`, none shorter than `least`."""

    def block_bytes(self, cached: int) -> int:
        """Tell how much to work on at a time, in any unit, where a thread's cache suggests `cached`."""

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
        """Give a new, uninitialised array, aligned as the device's vectors need it."""

    def workspace(
        self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32, *, of_thread: bool = False
    ) -> Array:
        """Give an uninitialised array, valid until the next call with the same name, or the next of this thread."""

    def fft_plan(self, height: int, width: int, maps: int) -> FftPlan:
        """Give the transform of maps of one size; the same one until another size is asked for."""

    def library_fft_plan(self, height: int, width: int, maps: int) -> FftPlan:
        """Give the same by a library for transforms, where `fft_plan` is something else."""

    def computing(self) -> AbstractContextManager[None]:
        """Do what must be done around the computing of a batch; may be nested."""

    def to_device(self, host: Array) -> Array:
        """Bring what stays, weights and tables, to the device."""

    def upload(self, pictures: Array | Sequence[Array]) -> Array:
        """Bring a batch (N, H, W, C), or pictures of one shape as a batch, to the device; inside `computing`.

        On a processor it is valid until the next call in this thread.
        """

    def download(self, x: FloatArray) -> Callable[[], FloatArray]:
        """Begin to bring a result back; what is returned waits for it.  Inside `computing`."""

    def free_bytes(self) -> int | None:
        """Give the memory that can be had now, or None where that is not known."""

    def memory_bytes(self) -> int:
        """Give the size of the device's memory."""
