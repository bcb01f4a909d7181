"""The two bases of the compiled tiles (`compiled_tiles.py`).

An element of a spectrum is `depth` numbers: one evaluation of a Cook-Toom tile, or the two parts of a Fourier bin. Two
bins of a Fourier spectrum that are real share an element, so not all elements of it are multiplied alike.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend import Compiled, Compiler, FloatArray
from overfeat_tools.convolution import cook_toom
from overfeat_tools.convolution.geometry import Geometry
from overfeat_tools.convolution.kernels import fourier_transform, matrix_transform

FOURIER_SIZES = (8, 16, 24)
"""Fourier tiles that there are compiled transforms for."""

REAL_BINS = 4
"""Bins of a Fourier spectrum that are real: none and half of the tile's places, down and right."""


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
    imaginary : int
        Elements from that of the real to that of the imaginary part, where each part is an element of its own.
    """

    elements: slice
    kernels: FloatArray
    complex: bool = False
    imaginary: int = 0


@dataclass(frozen=True)
class CompiledBasis:
    """What turns tiles, kernels and products into each other.

    Parameters
    ----------
    parts : tuple of Part
        All elements, in order.
    forward : callable
        Gives the kernel that turns tiles into spectra.
    inverse : callable
        Takes a pool's size; gives the kernel that turns products into outputs, pooled.
    """

    parts: tuple[Part, ...]
    forward: Callable[[], Compiled]
    inverse: Callable[[int], Compiled]

    @property
    def depth(self) -> int:
        """Numbers of an element."""
        return len(self.parts[0].kernels)

    @property
    def elements(self) -> int:
        """Elements of a spectrum."""
        last: int = self.parts[-1].elements.stop
        return last + self.parts[-1].imaginary


Size = tuple[int, int]
"""Rows and columns."""


def compiled_basis(
    method: str, geometry: Geometry, size: Size, compiler: Compiler, largest: Size | None = None
) -> CompiledBasis:
    """Give the basis of a method for kernels and tiles of a size; Fourier tiles are squares.

    With a `largest` size it has the first elements, on each axis, of the basis of tiles of that size.
    """
    if method == "cook-toom":
        return _cook_toom(geometry, size, compiler, largest or size)
    return _fourier(geometry, size, compiler)


def _cook_toom(geometry: Geometry, size: Size, compiler: Compiler, largest: Size) -> CompiledBasis:
    axes = zip(size, (geometry.kernel_height, geometry.kernel_width), largest, strict=True)
    # Rounded as they will be used: the last bits of their derivation, which BLAS may change, make no other function.
    down, right = (
        [matrix.astype(np.float32).astype(np.float64) for matrix in cook_toom.matrices(*axis)] for axis in axes
    )
    evaluate_input, evaluate_kernel, interpolate = zip(down, right, strict=True)
    kernels, (height, width) = cook_toom.on_both_axes(*evaluate_kernel), size
    real = cook_toom.real_points(height) * width
    parts = [Part(slice(0, real), kernels[None, :real])]
    if real < height * width:
        rows = kernels[real:].reshape(2, width, -1)
        parts.append(Part(slice(real, real + width), rows, complex=True, imaginary=width))
    return CompiledBasis(
        tuple(parts),
        lambda: matrix_transform.forward_kernel(compiler, evaluate_input),
        lambda pool_size: matrix_transform.inverse_kernel(compiler, interpolate, pool_size),
    )


def _fourier(geometry: Geometry, size: Size, compiler: Compiler) -> CompiledBasis:
    side, half = size[0], size[0] // 2
    # Elements are in the order of `kernels/fourier_transform.py`.
    columns = [(k, row) for k in range(1, half) for row in range(side)]
    bins = columns + [(k, row) for k in (0, half) for row in range(1, half)]
    complex_ = conjugate_spectrum(bins, geometry, size)
    real = [conjugate_spectrum([(0, row), (half, row)], geometry, size).real for row in (0, half)]
    parts = (
        Part(slice(0, len(bins)), np.array([complex_.real, complex_.imag], np.float32), complex=True),
        Part(slice(len(bins), len(bins) + 2), np.array(real, np.float32)),
    )
    outputs = side - geometry.kernel_height + 1
    return CompiledBasis(
        parts,
        lambda: fourier_transform.forward_kernel(compiler, side),
        lambda pool_size: fourier_transform.inverse_kernel(compiler, side, outputs, pool_size),
    )


def conjugate_spectrum(bins: npt.ArrayLike, geometry: Geometry, size: Size) -> npt.NDArray[np.complex128]:
    """Give the matrix that makes the conjugate spectra of kernels, divided by the number of places.

    It is exp(2 pi i (row * i / height + column * j / width)) / (height * width) for bins (column, row) of tiles of
    `size` and places (i, j) of a kernel, of shape (bins, kh * kw).
    """
    (columns, rows), (height, width) = np.transpose(bins), size
    down = np.outer(rows, np.arange(geometry.kernel_height)) * width
    right = np.outer(columns, np.arange(geometry.kernel_width)) * height
    turns = (down[:, :, None] + right[:, None, :]) % (height * width) / (height * width)
    spectrum: npt.NDArray[np.complex128] = np.exp(2j * np.pi * turns) / (height * width)
    return spectrum.reshape(len(rows), -1)
