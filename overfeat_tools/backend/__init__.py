"""Devices to compute on: arrays, transforms, threads, transfers, machine code.

`arrays.Backend` is what the engine knows of a device: it computes with `backend.xp`, divides work with
`backend.parallel_for`, and takes Fourier transforms from `backend.fft_plan`.  `cpu` is the processor, with numpy and
FFTW on a pool of `threads`, within the limits that `machine` finds; its `compiler` makes machine code of kernels, which
are written with a `function_builder`, and keeps it in a `code_cache`.  What is compiled is not called from Python: it
becomes `calls` in a `program`, which an `executor` carries out.  `cuda` is a graphics card, with its `transfers`.
"""

from importlib.util import find_spec

from overfeat_tools.backend.arrays import Array, Backend, ComplexArray, FloatArray, Recorded
from overfeat_tools.backend.calls import Argument, Call, Compiled, Piece, Place, Scratch
from overfeat_tools.backend.compiler import Compiler
from overfeat_tools.backend.cpu import CpuBackend
from overfeat_tools.backend.function_builder import FunctionBuilder, Parameters, Value
from overfeat_tools.backend.program import Program, Recording
from overfeat_tools.errors import BackendError

__all__ = [
    "Argument", "Array", "Backend", "Call", "Compiled", "Compiler", "ComplexArray", "CpuBackend", "FloatArray",
    "FunctionBuilder", "Parameters", "Piece", "Place", "Program", "Recorded", "Recording", "Scratch", "Value",
    "open_backend",
]  # fmt: skip


def open_backend(device: str = "auto", threads: int | None = None, precision: str = "float32") -> Backend:
    """Open the device to compute on.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        `auto` takes a graphics card where one works, and else the processor.
    threads : int, optional
        Threads of the CPU; by default all this process may use.
    precision : {"float32", "tf32", "half"}
        To what a card rounds the factors of convolutions; a processor knows only the first.

    Raises
    ------
    BackendError
        The device asked for is not available, or not in this precision.
    """
    if device == "cuda" or (device == "auto" and find_spec("cupy")):
        from overfeat_tools.backend.cuda import open_cuda

        try:
            return open_cuda(precision)
        except BackendError:
            if device == "cuda":
                raise
    if precision != "float32":
        raise BackendError(f"the precision {precision} needs a graphics card that works; a processor has float32 only")
    return CpuBackend(threads)
