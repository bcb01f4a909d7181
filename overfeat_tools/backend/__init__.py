"""Devices to compute on: arrays, transforms, threads, transfers.

Everything above computes with `backend.xp`, shares work out with `backend.parallel_for` and takes Fourier
transforms from `backend.fft_plan`; what else differs between devices is a method of theirs too
(`arrays.Backend`).  `cpu.py` is the door to pyfftw and threadpoolctl, `compiler.py` the one to llvmlite, `cuda.py` the
one to cupy.
"""

from overfeat_tools.backend.arrays import Array, Backend, ComplexArray, FloatArray
from overfeat_tools.backend.compiler import Compiled, Compiler
from overfeat_tools.backend.cpu import CpuBackend
from overfeat_tools.errors import BackendError

__all__ = [
    "Array", "Backend", "Compiled", "Compiler", "ComplexArray", "CpuBackend", "FloatArray",
    "open_backend",
]  # fmt: skip


def open_backend(device: str = "auto", threads: int | None = None) -> Backend:
    """Open the device to compute on.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        `auto` takes a graphics card where one works, and else the processor.
    threads : int, optional
        Threads of the CPU; by default all this process may use.

    Raises
    ------
    BackendError
        The device asked for is not available.
    """
    if device != "cpu":
        from overfeat_tools.backend.cuda import open_cuda

        try:
            return open_cuda()
        except BackendError:
            if device == "cuda":
                raise
    return CpuBackend(threads)
