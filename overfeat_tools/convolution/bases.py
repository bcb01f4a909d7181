"""The two bases as the compiled tiles (`fused.py`) take them.

An element of a spectrum is `depth` numbers: one evaluation of a Cook-Toom tile, or the two parts of a Fourier bin. Two
bins of a Fourier spectrum that are real share an element, so not all elements of it are multiplied alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend import Compiled, Compiler, FloatArray
from overfeat_tools.convolution import cooktoom
from overfeat_tools.convolution.geometry import Geometry
from overfeat_tools.convolution.kernels import fourier_transform, matrix_transform

FOURIER_SIZES = (8, 16, 24)
"""Fourier tiles that there are compiled transforms for."""

REAL_BINS = 4
"""Bins of a Fourier spectrum that are real: none and half of the tile's places, down and right."""

LARGE_TILE = 8
"""From this size on Cook-Toom tiles make much of the rounding of a sum: shorter ones are worth 3 % of the time."""


@dataclass(frozen=True)
class Part:
    """Elements of a spectrum that are multiplied alike.

    Parameters
    ----------
    elements : slice
        Which they are.
    kernels : array (depth, elements, kh * kw) float32
        What makes a kernel's spectrum: kernels[i] @ kernel are numbers i of the elements.
    complex : bool
        Whether the two numbers of an element are parts of one; else each is multiplied by itself.
    """

    elements: slice
    kernels: FloatArray
    complex: bool = False

    @property
    def count(self) -> int:
        """How many elements."""
        return int(self.kernels.shape[1])


@dataclass(frozen=True)
class CompiledBasis:
    """What turns tiles, kernels and products into each other.

    Parameters
    ----------
    parts : tuple of Part
        All elements, in order.
    evaluate : callable
        Gives the compiled function that turns tiles into spectra.
    interpolate : callable
        Gives the one that turns products into outputs, of which squares so large are taken.
    """

    parts: tuple[Part, ...]
    evaluate: Callable[[], Compiled]
    interpolate: Callable[[int], Compiled]

    @property
    def depth(self) -> int:
        """Numbers of an element."""
        return len(self.parts[0].kernels)

    @property
    def elements(self) -> int:
        """Elements of a spectrum."""
        return int(self.parts[-1].elements.stop)


def has_short_sums(method: str, size: tuple[int, int]) -> bool:
    """Tell whether the sums of tiles are kept shorter than others."""
    return method == "cook-toom" and max(size) >= LARGE_TILE


def compiled_basis(method: str, geometry: Geometry, size: tuple[int, int], compiler: Compiler) -> CompiledBasis:
    """Give the basis of a method for kernels and tiles of a size; Fourier tiles are squares."""
    if method == "cook-toom":
        return _cook_toom(geometry, size, compiler)
    return _fourier(geometry, size[0], compiler)


def _cook_toom(geometry: Geometry, size: tuple[int, int], compiler: Compiler) -> CompiledBasis:
    axes = zip(size, (geometry.kernel_height, geometry.kernel_width), strict=True)
    # Rounded as they will be used: the last bits of their derivation, which BLAS may change, make no other function.
    down, right = (
        [matrix.astype(np.float32).astype(np.float64) for matrix in cooktoom.matrices(*axis)] for axis in axes
    )
    evaluate_input, evaluate_kernel, interpolate = zip(down, right, strict=True)
    return CompiledBasis(
        (Part(slice(0, size[0] * size[1]), cooktoom.on_both_axes(*evaluate_kernel)[None]),),
        lambda: matrix_transform.forward_kernel(compiler, evaluate_input),
        lambda squares: matrix_transform.inverse_kernel(compiler, interpolate, squares),
    )


def _fourier(geometry: Geometry, size: int, compiler: Compiler) -> CompiledBasis:
    outputs = size - geometry.kernel_height + 1
    return CompiledBasis(
        _fourier_parts(geometry, size),
        lambda: fourier_transform.forward_kernel(compiler, size),
        lambda squares: fourier_transform.inverse_kernel(compiler, size, outputs, squares),
    )


def _fourier_parts(geometry: Geometry, size: int) -> tuple[Part, ...]:
    """Give what makes the conjugate spectra of kernels, divided by the number of places.

    Elements are in the order of `kernels/fourier_transform.py`.
    """
    half = size // 2
    columns = [(k, row) for k in range(1, half) for row in range(size)]
    bins = columns + [(k, row) for k in (0, half) for row in range(1, half)]
    complex_ = _conjugate_spectrum(bins, geometry, size)
    real = [_conjugate_spectrum([(k, row) for k in (0, half)], geometry, size).real for row in (0, half)]
    return (
        Part(slice(0, len(bins)), np.array([complex_.real, complex_.imag], np.float32), complex=True),
        Part(slice(len(bins), len(bins) + 2), np.array(real, np.float32)),
    )


def _conjugate_spectrum(
    bins: Sequence[tuple[int, int]], geometry: Geometry, size: int
) -> npt.NDArray[np.complex128]:
    """Give exp(2 pi i (row * i + column * j) / T) / T**2, for bins (column, row) and places (i, j) of a kernel.

    Shape (bins, kh * kw).
    """
    columns, rows = np.array(bins).T
    down = np.outer(rows, np.arange(geometry.kernel_height))
    right = np.outer(columns, np.arange(geometry.kernel_width))
    turns = (down[:, :, None] + right[:, None, :]) % size / size
    spectrum: npt.NDArray[np.complex128] = np.exp(2j * np.pi * turns) / size**2
    return spectrum.reshape(len(bins), -1)
