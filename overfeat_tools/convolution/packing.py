"""Packed weights, and the tables of offsets that go with them, as the compiled product takes them.

    panels[p, t, j] = weights[p * width + j, t],        zeros where there are no more kernels

so the weights that a step of the product needs follow each other; see `kernels/matmul.py`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from overfeat_tools.backend import Array, Backend, Call, FloatArray, Piece, Place, Scratch
from overfeat_tools.convolution.algorithm import compiler_of
from overfeat_tools.convolution.geometry import FLOAT_BYTES, split
from overfeat_tools.convolution.kernels.matmul import (
    block_columns,
    complex_matmul_kernel,
    matmul_kernel,
    panel_width,
)

__all__ = ["TERMS", "Products", "Runs", "pack_panel", "padded_count", "panel_count", "panel_width", "runs"]

TERMS = 128
"""Products summed up in registers; such sums are then added to each other."""

_OFFSET_BYTES = 8


def panel_count(kernels: int, width: int) -> int:
    """Count the panels that kernels fill."""
    return -(-kernels // width)


def padded_count(kernels: int, width: int) -> int:
    """Count the kernels that these panels have room for."""
    return panel_count(kernels, width) * width


def pack_panel(weight: FloatArray, number: int, panel: FloatArray) -> None:
    """Write the kernels of panel `number` among `weight` (K, C, kh, kw) into `panel` (kh * kw, C, width).

    Where there are no more kernels it is zero.
    """
    taps, channels, width = panel.shape
    kernels = weight[number * width : (number + 1) * width]
    panel[..., : len(kernels)] = kernels.reshape(len(kernels), channels, taps).transpose(2, 1, 0)
    panel[..., len(kernels) :] = 0.0


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
    """Cut runs of `length` from `starts` into shorter ones, for partial sums of at most `terms` terms."""
    short = next(size for size in range(min(length, terms), 0, -1) if length % size == 0)
    offsets = np.add.outer(starts, np.arange(0, length, short)).ravel().astype(np.int64)
    return Runs(offsets, short, max(1, terms // short))


@dataclass(frozen=True)
class Products:
    """Products of one shape, one for each element: out[e] (rows, kernels) = x[e] @ panels[e].

    Parameters
    ----------
    x : array or Place
        Floats: the inputs of the first element.
    x_step : int
        Floats from the inputs of one element to those of the next.
    rows : array (rows,) int64
        Where the inputs of each row begin, counted from the beginning of its x[e].
    runs : Runs
        What each sum reads from there.
    panels : array (elements, panels, terms, width) float32, contiguous
    out : array, Place or Scratch
        Floats: the outputs of the first element.
    out_strides : (int, int)
        Floats from one element to the next, and from one row to the next; those of a row stand side by side.
    imaginary : (int, int), optional
        For complex products: floats from real to imaginary parts, of x and of out.  A panel then has half as many
        kernels, a vector of real parts beside one of imaginary parts.
    """

    x: Array | Place
    x_step: int
    rows: Array
    runs: Runs
    panels: FloatArray
    out: Array | Place | Scratch
    out_strides: tuple[int, int]
    imaginary: tuple[int, int] | None = None

    def calls(self, panels: slice, backend: Backend) -> Piece:
        """Give the calls that compute some panels, numbered through all elements."""
        runs, width, compiler = self.runs, self.panels.shape[3], compiler_of(backend)
        product = complex_matmul_kernel(compiler) if self.imaginary else matmul_kernel(compiler, width)
        out_step, row_stride = self.out_strides
        # All panels meet one part of the inputs before the next.
        return [
            Call(product, (
                self.out, row_stride, out_step,
                Place(self.panels, FLOAT_BYTES * width * chunk.start * runs.length), runs.terms * width,
                panels.start, panels.stop, self.panels.shape[1],
                self.x, self.x_step, self.rows, len(self.rows),
                Place(runs.offsets, _OFFSET_BYTES * chunk.start), chunk.stop - chunk.start, runs.length, runs.group,
                int(chunk.start > 0), *(self.imaginary or (0, 0)),
            ))
            for chunk in self._run_chunks(width, backend)
        ]  # fmt: skip

    def _run_chunks(self, width: int, backend: Backend) -> list[slice]:
        """Cut the sums so that their part of a panel stays in the cache while all rows use it."""
        if len(self.rows) <= block_columns(compiler_of(backend)):
            return [slice(0, len(self.runs.offsets))]
        group_floats = self.runs.group * self.runs.length * width
        groups = max(1, backend.cache_bytes // (2 * FLOAT_BYTES * group_floats))
        return split(len(self.runs.offsets), groups * self.runs.group)
