"""The two bases as the compiled tiles (`fused.py`) take them.

An element of a spectrum is `depth` numbers: one evaluation of a Cook-Toom tile, or the two parts of a Fourier bin. Its
product over the channels is one of real numbers in either case, as a complex number times a complex
number is two numbers times a matrix of two by two:

    (Vr, Vi) -> (Vr, Vi) @ [[Ur, Ui], [-Ui, Ur]]

Two bins of a Fourier spectrum that are real share an element; their matrix is [[Ua, 0], [0, Ub]].  Four products of
real numbers for a complex one, as complex products take anyway; the kernels' spectra are twice as large.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend import Compiled, Compiler, FloatArray
from overfeat_tools.convolution import cooktoom
from overfeat_tools.convolution.geometry import Geometry
from overfeat_tools.convolution.loops import fourier, tiles

FOURIER_SIZES = (8, 16)
"""Fourier tiles that there are compiled transforms for."""


@dataclass(frozen=True)
class CompiledBasis:
    """What turns tiles, kernels and products into each other.

    Parameters
    ----------
    kernels : array (depth, depth, elements, kh * kw) float32
        What makes a kernel's spectrum: number i of an element of the tiles contributes to number j of the
        product by kernels[i, j] @ kernel.
    evaluate : callable
        Gives the compiled function that turns tiles into spectra.
    interpolate : callable
        Gives the one that turns products into outputs, of which squares so large are taken.
    """

    kernels: FloatArray
    evaluate: Callable[[], Compiled]
    interpolate: Callable[[int], Compiled]

    @property
    def depth(self) -> int:
        """Numbers of an element."""
        return len(self.kernels)


def depth_of(method: str) -> int:
    """Give the numbers of an element, which is as many as the product has terms for a channel."""
    return 2 if method == "fft" else 1


def compiled_basis(method: str, geometry: Geometry, size: int, compiler: Compiler) -> CompiledBasis:
    """Give the basis of a method for kernels and tiles of a size."""
    if method == "cook-toom":
        return _cook_toom(geometry, size, compiler)
    return _fourier(geometry, size, compiler)


def _cook_toom(geometry: Geometry, size: int, compiler: Compiler) -> CompiledBasis:
    # Rounded as they will be used: the last bits of their derivation, which BLAS may change, make no other function.
    evaluate_input, evaluate_kernel, interpolate = (
        matrix.astype(np.float32).astype(np.float64) for matrix in cooktoom.matrices(size, geometry.kernel_height)
    )
    return CompiledBasis(
        cooktoom.on_both_axes(evaluate_kernel)[None, None],
        lambda: tiles.evaluator(compiler, evaluate_input),
        lambda squares: tiles.interpolator(compiler, interpolate, squares),
    )


def _fourier(geometry: Geometry, size: int, compiler: Compiler) -> CompiledBasis:
    outputs = size - geometry.kernel_height + 1
    return CompiledBasis(
        _fourier_kernels(geometry, size),
        lambda: fourier.evaluator(compiler, size),
        lambda squares: fourier.interpolator(compiler, size, outputs, squares),
    )


def _fourier_kernels(geometry: Geometry, size: int) -> FloatArray:
    """Give the matrices of the conjugate spectra of kernels, divided by the number of places.

    They are in the order of `loops/fourier.py`.
    """
    half = size // 2
    columns = [(k, row) for k in range(1, half) for row in range(size)]
    # Of columns 0 and T/2 the first pair stands for two real bins, 0 and T/2.
    real = [(k, row) for k in (0, half) for row in range(half)]
    bins = np.array(columns + real)
    folded = (bins[:, 0] % half == 0) & (bins[:, 1] == 0)
    first = _conjugate_spectrum(bins[:, 1], bins[:, 0], geometry, size)
    second = _conjugate_spectrum(np.where(folded, half, bins[:, 1]), bins[:, 0], geometry, size)
    # A real bin's imaginary part is nothing.
    matrices: FloatArray = np.array([[first.real, first.imag], [-first.imag, second.real]]).astype(np.float32)
    return matrices


def _conjugate_spectrum(
    rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], geometry: Geometry, size: int
) -> npt.NDArray[np.complex128]:
    """Give exp(2 pi i (row * i + column * j) / T) / T**2, for bins (row, column) and places (i, j) of a kernel.

    Shape (bins, kh * kw).
    """
    down = np.outer(rows, np.arange(geometry.kernel_height))
    right = np.outer(columns, np.arange(geometry.kernel_width))
    turns = (down[:, :, None] + right[:, None, :]) % size / size
    spectrum: npt.NDArray[np.complex128] = np.exp(2j * np.pi * turns) / size**2
    return spectrum.reshape(len(rows), -1)
