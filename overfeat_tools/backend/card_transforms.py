"""Fourier transforms of tiles on a graphics card: products with the DFT's matrix, and cuFFT's.

Tiles have 8 to 64 places a side.  Their transforms as products, one for each axis, need no plan, and their 8
operations a place and side are a few percent of those of the convolution.  A plan of cuFFT is made for one number of
maps, and mixed pictures bring all numbers; so it transforms chunks of a fixed number, and a plan for each size of tiles
is enough.  cuFFT's way has not run on a card yet: it is used where Fourier tiles are asked for, and not chosen.

Source: docs.nvidia.com/cuda/cufft, about batched plans.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from overfeat_tools.backend.arrays import Array, Backend, ComplexArray

CHUNK_MAPS = 512
"""Maps that a plan of cuFFT transforms at a time."""


class DftPlan:
    """Complex transforms by products with the DFT's matrix; see `arrays.FftPlan`."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        backend: Backend,
        tables: Sequence[Sequence[Array]],
        matmul: Callable[..., Any],
    ) -> None:
        self.shape, self._matmul = shape, matmul
        self._forward, self._inverse = tables
        self.tiles: ComplexArray = backend.empty(shape, np.complex64)

    def forward(self) -> None:
        """Transform `tiles`."""
        self._apply(*self._forward)

    def inverse(self) -> None:
        """Transform `tiles` back."""
        self._apply(*self._inverse)

    def _apply(self, rows: Array, columns: Array) -> None:
        between = self._matmul(rows, self.tiles.reshape(self.shape[0], -1)).reshape(self.shape)
        self._matmul(columns, between, out=self.tiles)


def dft_tables(height: int, width: int, backend: Backend) -> list[list[Array]]:
    """Give what a `DftPlan` multiplies maps of one size by: their rows and their columns, forward and inverse."""
    # One matrix a row of the map: equal products of equal operands go to cuBLAS as one strided batch.
    tables = _dft(height), np.broadcast_to(_dft(width), (height, width, width))
    return [[backend.to_device(table) for table in some] for some in (tables, [table.conj() for table in tables])]


def _dft(size: int) -> ComplexArray:
    """Give the matrix of a DFT, exp(-2 pi i j k / size)."""
    places = np.arange(size)
    matrix: ComplexArray = np.exp(-2j * np.pi * (np.outer(places, places) % size) / size).astype(np.complex64)
    return matrix


class CufftPlan:
    """Complex transforms by cuFFT; see `arrays.FftPlan`.

    Each map lies in one piece, which suits cuFFT; `tiles` is a view of them with the maps last.  The last chunk is
    filled up with maps that nobody reads.

    Parameters
    ----------
    shape : (int, int, int)
        Height, width, maps.
    backend : Backend
    plan : PlanNd of cupy
        From `chunk_plan`, for this height and width.
    cufft : module
        cupy's.
    """

    def __init__(self, shape: tuple[int, int, int], backend: Backend, plan: Any, cufft: Any) -> None:  # noqa: ANN401 -- cupy's are untyped
        self.shape = shape
        height, width, maps = shape
        chunks = -(-maps // CHUNK_MAPS)
        self._chunks = backend.empty((chunks, CHUNK_MAPS, height, width), np.complex64)
        self._plan, self._directions = plan, (cufft.CUFFT_FORWARD, cufft.CUFFT_INVERSE)
        self.tiles: ComplexArray = self._chunks.reshape(-1, height, width)[:maps].transpose(1, 2, 0)

    def forward(self) -> None:
        """Transform `tiles`."""
        self._apply(self._directions[0])

    def inverse(self) -> None:
        """Transform `tiles` back."""
        self._apply(self._directions[1])

    def _apply(self, direction: int) -> None:
        for number in range(len(self._chunks)):
            chunk = self._chunks[number]
            self._plan.fft(chunk, chunk, direction)


def chunk_plan(height: int, width: int, cufft: Any) -> Any:  # noqa: ANN401
    """Make cuFFT's plan for a chunk of maps of one size, each in one piece."""
    # Nothing is embedded in more; a place after the other, a map after the other.
    layout = (height, width), 1, height * width
    return cufft.PlanNd((height, width), *layout, *layout, cufft.CUFFT_C2C, CHUNK_MAPS, "C", 2, None)
