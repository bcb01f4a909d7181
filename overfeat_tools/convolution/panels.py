"""Matrices as the compiled product takes them: panels of kernels, tables of columns and runs.

    panels[p, t, j] = matrix[t, p * width + j],        zeros where there are no more kernels

so the weights that a step of the product needs follow each other; see `kernels/matmul.py`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray, compiler_of
from overfeat_tools.convolution.geometry import FLOAT_BYTES, stretches
from overfeat_tools.convolution.kernels.matmul import (
    block_columns,
    complex_matmul_kernel,
    matmul_kernel,
    panel_width,
)

TERMS = 128
"""Products added up in registers; the sums of so many are then added to each other."""


def panel_count(kernels: int, width: int) -> int:
    """Count the panels of so many kernels."""
    return -(-kernels // width)


def padded(kernels: int, width: int) -> int:
    """Count the kernels that so many panels have room for."""
    return panel_count(kernels, width) * width


@dataclass(frozen=True)
class Runs:
    """What each sum reads: runs of `length` neighbours that begin at `offsets`, `group` of them to a partial sum."""

    offsets: Array
    length: int
    group: int

    @property
    def terms(self) -> int:
        """Terms of a sum."""
        return len(self.offsets) * self.length


@lru_cache
def runs(starts: tuple[int, ...], length: int, terms: int = TERMS) -> Runs:
    """Cut runs of `length` from `starts` into pieces that make partial sums of no more than so many terms."""
    piece = next(size for size in range(min(length, terms), 0, -1) if length % size == 0)
    offsets = np.add.outer(starts, np.arange(0, length, piece)).ravel().astype(np.int64)
    return Runs(offsets, piece, max(1, terms // piece))


def put_in_order(weight: FloatArray, number: int, panel: FloatArray) -> None:
    """Write kernels, those of panel `number` among `weight` (K, C, kh, kw), into it: (kh * kw, C, width).

    Where there are no more kernels it is zero.
    """
    taps, channels, width = panel.shape
    some = weight[number * width : (number + 1) * width]
    panel[..., : len(some)] = some.reshape(len(some), channels, taps).transpose(2, 1, 0)
    panel[..., len(some) :] = 0.0


def panelled(matrix: FloatArray, backend: Backend) -> FloatArray:
    """Cut a matrix (terms, columns) into panels (panels, terms, width); it may be the matrix itself.

    A few columns go into a panel of one vector.
    """
    compiler = compiler_of(backend)
    terms, columns = matrix.shape
    width = min(panel_width(compiler), padded(columns, compiler.lanes))
    if columns == width and matrix.flags.c_contiguous:
        return matrix[None]
    panels: FloatArray = backend.scratch("panels", (panel_count(columns, width), terms, width), np.float32)

    def copy(number: int) -> None:
        some = pieces[number]
        for panel, first in zip(panels, range(0, columns, width), strict=True):
            source = matrix[some, first : first + width]
            panel[some, : source.shape[1]] = source
            panel[some, source.shape[1] :] = 0.0

    pieces = backend.pieces(terms)
    backend.share(copy, len(pieces))
    return panels


@dataclass(frozen=True)
class Products:
    """Products of one shape, one for each element: out[e] (columns, kernels) = x[e] @ panels[e].

    Parameters
    ----------
    x : array (elements, ...) float32
        The offsets of `columns` count from the beginning of each x[e].
    columns : array (columns,) int64
        Where each column's inputs begin.
    runs : Runs
        What each sum reads of them.
    panels : array (elements, panels, terms, width) float32, contiguous
    out : array (elements, columns, panels * width or more) float32
        Its rows are contiguous.
    imaginary : (int, int), optional
        For complex products: floats from real to imaginary parts, of x and of out.  A panel is of half as many
        kernels then, a vector of real parts beside one of imaginary ones.
    """

    x: FloatArray
    columns: Array
    runs: Runs
    panels: FloatArray
    out: FloatArray
    imaginary: tuple[int, int] | None = None

    @property
    def count(self) -> int:
        """Panels of all elements."""
        return len(self.panels) * int(self.panels.shape[1])

    def compute(self, some: slice, backend: Backend) -> None:
        """Compute with some of the panels of all elements, numbered through."""
        what, width = self.runs, self.panels.shape[3]
        compiler = compiler_of(backend)
        product = complex_matmul_kernel(compiler) if self.imaginary else matmul_kernel(compiler, width)
        out_stride, stride = (step // FLOAT_BYTES for step in self.out.strides[:2])
        x, out, places = self.x.ctypes.data, self.out.ctypes.data, (self.columns.ctypes.data, len(self.columns))
        panels, panel_count, x_stride = self.panels.ctypes.data, self.panels.shape[1], self.x.strides[0] // FLOAT_BYTES
        for piece in self._pieces(width, backend):
            # All panels meet one piece of the inputs before the next.
            product(
                out, stride, out_stride, panels + FLOAT_BYTES * width * piece.start * what.length, what.terms * width,
                some.start, some.stop, panel_count, x, x_stride, *places, what.offsets[piece].ctypes.data,
                piece.stop - piece.start, what.length, what.group, int(piece.start > 0),
                *(self.imaginary or (0, 0)),
            )  # fmt: skip

    def _pieces(self, width: int, backend: Backend) -> list[slice]:
        """Cut the sums so that the part of a panel that they take stays in the cache while all columns use it."""
        if len(self.columns) <= block_columns(compiler_of(backend)):
            return [slice(0, len(self.runs.offsets))]
        group_floats = self.runs.group * self.runs.length * width
        groups = max(1, backend.cache_bytes // (2 * FLOAT_BYTES * group_floats))
        return stretches(len(self.runs.offsets), groups * self.runs.group)


__all__ = ["TERMS", "Products", "Runs", "padded", "panel_count", "panel_width", "panelled", "put_in_order", "runs"]
