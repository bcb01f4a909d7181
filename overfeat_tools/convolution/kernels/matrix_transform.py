"""Tiles into spectra and spectra into outputs, for a transform given by its matrices (Cook-Toom, or Winograd).

Both directions are separable: one matrix acts on the columns of a tile, another on its rows,

    spectrum = A tile A',        outputs = B spectrum B',

and both are the same where tiles are square.  The products are written out as multiplications by constants.  A vector
holds neighbouring channels of one pixel, so nothing moves between lanes; each float of a tile is loaded once, each of
a spectrum stored once.

Rows of A for points p and -p differ in the signs of their odd columns only, and so do columns of B.
Their even and odd parts are computed once for both, which saves half of the work.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend import Compiled, Compiler, FunctionBuilder, Value
from overfeat_tools.convolution.kernels.kernel import compiled
from overfeat_tools.convolution.kernels.tile_access import (
    FORWARD,
    INVERSE,
    input_pointers,
    output_pointers,
    pooled,
    spectrum_pointer,
)

Matrix = npt.NDArray[np.float64]

Matrices = tuple[Matrix, Matrix]
"""What acts on the columns of a tile, and what acts on its rows."""

# Smaller entries of a matrix are zeros with the rounding errors of its derivation.
_ROUNDING = 1e-12


def forward_kernel(compiler: Compiler, matrices: Matrices) -> Compiled:
    """Return the kernel that turns tiles into spectra; its parameters are `tile_access.FORWARD`'s.

    Parameters
    ----------
    compiler : Compiler
    matrices : two arrays (n, n)
        A.
    """
    name = f"matrix_forward_{_words(matrices)}"
    return compiled(compiler, name, FORWARD, partial(_write_forward, matrices=matrices))


def inverse_kernel(compiler: Compiler, matrices: Matrices, pool_size: int) -> Compiled:
    """Return the kernel that turns spectra into outputs; its parameters are `tile_access.INVERSE`'s.

    Parameters
    ----------
    compiler : Compiler
    matrices : two arrays (m, n)
        B.
    pool_size : int
        Side of the windows of max pooling, 1 for none; m must be a multiple of it.
    """
    name = f"matrix_inverse_{_words(matrices)}_{pool_size}"
    return compiled(compiler, name, INVERSE, partial(_write_inverse, matrices=matrices, pool_size=pool_size))


def _words(matrices: Matrices) -> str:
    """Return a text that tells matrices from all others."""
    import hashlib

    shapes = "_".join("x".join(map(str, matrix.shape)) for matrix in matrices)
    return f"{shapes}_{hashlib.sha256(b''.join(matrix.tobytes() for matrix in matrices)).hexdigest()[:16]}"


def _write_forward(builder: FunctionBuilder, matrices: Matrices) -> None:
    on_columns, on_rows = matrices
    height, width = len(on_columns), len(on_rows)
    a, offset = builder.arguments, builder.offset
    with builder.loop(a.tile_start, a.tile_stop) as tile:
        pointers = input_pointers(builder, tile, (height, width))
        spectrum = spectrum_pointer(builder, tile)
        with builder.loop(a.channel_start, a.channel_stop, builder.lanes) as channel:
            pixels = [[builder.load(offset(pointer, channel)) for pointer in row] for row in pointers]
            columns = [_multiply(builder, on_columns, [row[j] for row in pixels]) for j in range(width)]
            for i in range(height):
                for j, vector in enumerate(_multiply(builder, on_rows, [column[i] for column in columns])):
                    element = builder.times(a.element_stride, i * width + j)
                    builder.store(vector, offset(spectrum, element, channel))


def _write_inverse(builder: FunctionBuilder, matrices: Matrices, pool_size: int) -> None:
    on_columns, on_rows = matrices
    (out_height, height), (out_width, width) = on_columns.shape, on_rows.shape
    a, offset, times = builder.arguments, builder.offset, builder.times
    epilogue = builder.epilogue(a.bias, a.threshold, a.keep_mask)
    with builder.loop(a.tile_start, a.tile_stop) as tile:
        pointers = output_pointers(builder, tile, (out_height // pool_size, out_width // pool_size))
        spectrum = spectrum_pointer(builder, tile)
        with builder.loop(a.channel_start, a.channel_stop, builder.lanes) as channel:
            elements = [
                [builder.load(offset(spectrum, times(a.element_stride, i * width + j), channel)) for j in range(width)]
                for i in range(height)
            ]
            columns = [_multiply(builder, on_columns, [row[j] for row in elements]) for j in range(width)]
            rows = [_multiply(builder, on_rows, [column[i] for column in columns]) for i in range(out_height)]
            for i, row_pointers in enumerate(pointers):
                for j, pointer in enumerate(row_pointers):
                    largest = pooled(builder, rows[i * pool_size : (i + 1) * pool_size], j, pool_size)
                    builder.store(epilogue(largest, channel), offset(pointer, channel))


def _multiply(builder: FunctionBuilder, matrix: Matrix, vectors: Sequence[Value]) -> list[Value]:
    """Write the product of a constant matrix and a column of vectors."""
    inputs: list[tuple[Value, Matrix]] = []
    left = list(range(len(vectors)))
    # Of two columns that differ in some signs only, the sum and the difference of the inputs serve all rows.
    while left:
        column = left.pop(0)
        twin = next((other for other in left if _are_twins(matrix[:, column], matrix[:, other])), None)
        if twin is None:
            inputs.append((vectors[column], matrix[:, column]))
        else:
            left.remove(twin)
            same = np.isclose(matrix[:, column], matrix[:, twin])
            inputs.append((builder.emit.fadd(vectors[column], vectors[twin]), np.where(same, matrix[:, column], 0.0)))
            inputs.append((builder.emit.fsub(vectors[column], vectors[twin]), np.where(same, 0.0, matrix[:, column])))
    columns = np.stack([weights for _, weights in inputs], axis=1)
    return _multiply_rows(builder, columns, [vector for vector, _ in inputs])


def _multiply_rows(builder: FunctionBuilder, matrix: Matrix, vectors: Sequence[Value]) -> list[Value]:
    """Write the product; rows that differ in some signs only share the sums of the terms with the same signs."""
    results: list[Value] = [None] * len(matrix)
    for row, weights in enumerate(matrix):
        if results[row] is not None:
            continue
        twin = next((other for other in range(row + 1, len(matrix)) if _are_twins(weights, matrix[other])), None)
        if twin is None:
            results[row] = _weighted_sum(builder, weights, vectors)
        else:
            same = np.isclose(weights, matrix[twin])
            even = _weighted_sum(builder, np.where(same, weights, 0.0), vectors)
            odd = _weighted_sum(builder, np.where(same, 0.0, weights), vectors)
            results[row], results[twin] = builder.emit.fadd(even, odd), builder.emit.fsub(even, odd)
    return results


def _are_twins(a: Matrix, b: Matrix) -> bool:
    """Tell whether two rows (or columns) differ in the signs of some entries and agree in others."""
    same, opposite = np.isclose(a, b), np.isclose(a, -b)
    return bool((same | opposite).all() and not same.all() and (np.abs(a[same]) > _ROUNDING).any())


def _weighted_sum(builder: FunctionBuilder, weights: Matrix, vectors: Sequence[Value]) -> Value:
    """Write the sum of weights * vectors."""
    total = None
    terms = [term for term in zip(weights, vectors, strict=True) if abs(term[0]) > _ROUNDING]
    for weight, vector in terms:
        factor = builder.constant(weight)
        if weight == 1.0:
            total = vector if total is None else builder.emit.fadd(total, vector)
        else:
            total = builder.emit.fmul(factor, vector) if total is None else builder.multiply_add(factor, vector, total)
    return builder.constant(0.0) if total is None else total
