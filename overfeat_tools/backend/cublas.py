"""Products by cuBLAS itself, for what cupy's don't do: sums cut short, tensor cores, capture in a CUDA graph.

cupy's matmul copies operands that are slices, decides for a whole process whether TF32 is used, and refuses to be
captured.  None of these has run on a card yet: see `cuda.Paths`.

Source: docs.nvidia.com/cuda/cublas: cublasGemmStridedBatchedEx, and cublasSetWorkspace for graphs.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from overfeat_tools.backend.arrays import Array

# cuBLAS's numbers for what it computes in and for what arrays hold.
_COMPUTE = {"float32": 68, "tf32": 77, "half": 74}
_TYPES = {np.dtype(np.float32): 0, np.dtype(np.complex64): 4}
_DEFAULT_ALGORITHM = -1

_WORKSPACE_BYTES = 32 << 20  # as the documentation advises for Hopper

# Products summed up at a time, as on the processor: rounding grows with the length of a sum.
_TERMS = 512
# Of long sums at most so many parts are kept, and at most so many bytes of them.
_PARTS, _PARTS_BYTES = 32, 128 << 20


class CublasError(RuntimeError):
    """cuBLAS refused; its module makes it one of the card's errors."""

    __module__ = "cupy.cublas"


def load_library() -> Any:  # noqa: ANN401 -- ctypes makes the functions
    """Give the cuBLAS that cupy has loaded."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    return ctypes.CDLL(next(line.split(maxsplit=5)[-1] for line in lines if "/libcublas.so" in line))


class Cublas:
    """A handle of cuBLAS, on one stream and with a workspace of its own.

    Parameters
    ----------
    stream : cupy stream
    empty : callable
        Gives an uninitialised array of a shape and dtype on the card.
    precision : {"float32", "tf32", "half"}
        To what factors are rounded before they are multiplied; sums are float32.
    """

    def __init__(self, stream: Any, empty: Callable[..., Any], precision: str) -> None:  # noqa: ANN401
        self._library, self._handle = load_library(), ctypes.c_void_p()
        self._empty, self._compute = empty, _COMPUTE[precision]
        self._workspace = empty((_WORKSPACE_BYTES,), np.uint8)
        self._call("cublasCreate_v2", ctypes.byref(self._handle))
        self._call("cublasSetStream_v2", self._handle, ctypes.c_void_p(stream.ptr))
        where = ctypes.c_void_p(self._workspace.data.ptr)
        self._call("cublasSetWorkspace_v2", self._handle, where, ctypes.c_size_t(_WORKSPACE_BYTES))

    def matmul(self, left: Array, right: Array, out: Array | None = None) -> Array:
        """Multiply matrices (M, K) and (K, N), or stacks (B, M, K) and (B, K, N), as numpy does.

        Sums of a single product are cut into parts of 512, or 32 parts if there would be more.
        """
        shape = (*left.shape[:-1], right.shape[-1])
        y: Any = self._empty(shape, left.dtype) if out is None else out
        target = y if _is_whole(y) else self._empty(shape, left.dtype)
        if left.ndim == 3:  # noqa: PLR2004 -- a stack
            self._multiply(left, right, target)
        else:
            self._sum_in_short(left, right, target)
        if target is not y:
            y[...] = target
        return y  # type: ignore[no-any-return]

    def _sum_in_short(self, left: Array, right: Array, out: Array) -> None:
        length, columns = right.shape
        parts = min(_PARTS, -(-length // _TERMS))
        if parts == 1:
            self._multiply(left[None], right[None], out[None])
            return
        terms = -(-length // parts)
        whole = length // terms
        rows = max(1, _PARTS_BYTES // (parts * columns * out.itemsize))
        for start in range(0, len(left), rows):
            some, target = left[start : start + rows], out[start : start + rows]
            sums: Any = self._empty((-(-length // terms), len(some), columns), out.dtype)
            self._multiply(_Parts(some, whole, terms, 1), _Parts(right, whole, terms, 0), sums[:whole])
            if length % terms:
                self._multiply(some[None, :, whole * terms :], right[None, whole * terms :], sums[whole:])
            sums.sum(axis=0, out=target)

    def _multiply(self, left: Any, right: Any, out: Any) -> None:  # noqa: ANN401
        """Multiply stacks; `out` is contiguous, the others along one of the last two axes.

        cuBLAS takes columns first, so it is asked for right' @ left' = out'.
        """
        count, rows, columns = out.shape
        left_operation, left_arguments = _operand(left)
        right_operation, right_arguments = _operand(right)
        kind = _TYPES[out.dtype]
        one, zero = ((ctypes.c_float * 2)(value, 0.0) for value in (1.0, 0.0))
        self._call(
            "cublasGemmStridedBatchedEx", self._handle, right_operation, left_operation, columns, rows, left.shape[2],
            ctypes.byref(one), ctypes.c_void_p(right_arguments[0]), kind, right_arguments[1],
            ctypes.c_longlong(right_arguments[2]), ctypes.c_void_p(left_arguments[0]), kind, left_arguments[1],
            ctypes.c_longlong(left_arguments[2]), ctypes.byref(zero), ctypes.c_void_p(out.data.ptr), kind, columns,
            ctypes.c_longlong(rows * columns), count, self._compute, _DEFAULT_ALGORITHM,
        )  # fmt: skip

    def _call(self, name: str, *arguments: object) -> None:
        if status := getattr(self._library, name)(*arguments):
            reason = "ALLOC_FAILED" if status == 3 else f"status {status}"  # noqa: PLR2004 -- as the header has it
            raise CublasError(f"{name}: {reason}")


def _is_whole(array: Any) -> bool:  # noqa: ANN401
    return bool(array.flags.c_contiguous)


class _Parts:
    """Parts of a matrix along an axis, as a stack: what `_operand` asks of an array."""

    def __init__(self, matrix: Any, count: int, terms: int, axis: int) -> None:  # noqa: ANN401
        self.data, self.itemsize = matrix.data, matrix.itemsize
        rows, columns = matrix.shape
        self.shape = (count, rows, terms) if axis else (count, terms, columns)
        self.strides = (terms * matrix.strides[axis], *matrix.strides)


def _operand(stack: Any) -> tuple[int, tuple[int, int, int]]:  # noqa: ANN401
    """Give whether cuBLAS has to transpose, and where a stack begins, with its steps to the next row and matrix."""
    _, rows, columns = stack.shape
    step, row, column = (stride // stack.itemsize for stride in stack.strides)
    if 1 in (column, columns):
        return 0, (stack.data.ptr, row if rows > 1 else columns, step)
    assert 1 in (row, rows), stack.strides  # noqa: S101 -- what the engine multiplies lies along one axis
    return 1, (stack.data.ptr, column, step)
