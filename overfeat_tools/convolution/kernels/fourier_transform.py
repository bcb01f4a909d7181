"""Tiles into Fourier spectra and back, for tiles of T x T pixels, T a power of two or three times one.

Maps are real, so half of a tile's T * T bins are enough.  The rows are transformed first, T real numbers into
T/2 + 1 bins; then the columns: those of bins 0 and T/2 are real again, the T/2 - 1 between them complex.  The
spectrum is T * T / 2 pairs of numbers, each the real and imaginary part of one bin:

    column k = 1 .. T/2 - 1    bin i is pair (k - 1) * T + i
    columns 0 and T/2          bins 1 .. T/2 - 1 of both follow; the two last pairs hold bins 0 and T/2, both real

In `spectra` (pairs, tiles, 2 * C) the first numbers of all channels stand before the second ones.

The transform of one row or column is written out; loops go over the rows and columns.  What is between them, T planes
of T vectors, stands on the stack, in the first-level cache: the real numbers of bin 0, then the two parts of each bin
up to T/2 - 1, then the real numbers of bin T/2.
"""

from functools import partial

from overfeat_tools.backend import Compiled, Compiler, FunctionBuilder, Value
from overfeat_tools.convolution.kernels.fft import Complex, fft, ifft, irfft, rfft
from overfeat_tools.convolution.kernels.kernel import compiled
from overfeat_tools.convolution.kernels.tile_access import (
    FORWARD,
    INVERSE,
    input_pointers,
    output_pointers,
    pooled,
    spectrum_pointer,
)


def forward_kernel(compiler: Compiler, size: int) -> Compiled:
    """Return the kernel that turns tiles of T = `size` into spectra; its parameters are `tile_access.FORWARD`'s."""
    return compiled(compiler, f"fourier_forward_{size}", FORWARD, partial(_write_forward, size=size))


def inverse_kernel(compiler: Compiler, size: int, outputs: int, pool_size: int) -> Compiled:
    """Return the kernel that turns spectra into outputs; its parameters are `tile_access.INVERSE`'s.

    Parameters
    ----------
    compiler : Compiler
    size : int
        T.
    outputs : int
        Side of the tile's outputs that are free of wrap-around.
    pool_size : int
        Side of the windows of max pooling, 1 for none; outputs that fill no window are dropped.
    """
    write = partial(_write_inverse, size=size, side=outputs // pool_size, pool_size=pool_size)
    return compiled(compiler, f"fourier_inverse_{size}_{outputs}_{pool_size}", INVERSE, write)


def _write_forward(builder: FunctionBuilder, size: int) -> None:
    a = builder.arguments
    pointers, planes = builder.array(a.zeros.type, size * size), builder.array(builder.vector_type, size * size)
    with builder.loop(a.tile_start, a.tile_stop) as tile:
        _store_all(builder, input_pointers(builder, tile, (size, size)), pointers)
        spectrum = spectrum_pointer(builder, tile)
        with builder.loop(a.channel_start, a.channel_stop, builder.lanes) as channel:
            _transform_rows(builder, size, pointers, channel, planes)
            _transform_columns(builder, size, planes, builder.offset(spectrum, channel))


def _transform_rows(builder: FunctionBuilder, size: int, pointers: Value, channel: Value, planes: Value) -> None:
    """Write the transform of a tile's rows into planes."""
    emit, offset, integer = builder.emit, builder.offset, builder.integer
    with builder.loop(integer(0), integer(size)) as i:
        row = [offset(pointers, builder.times(i, size), j) for j in range(size)]
        pixels = [builder.load(offset(emit.load(pointer), channel)) for pointer in row]
        first, *inner, last = rfft(builder, pixels)
        for plane, value in enumerate([first[0], *(part for bin_ in inner for part in bin_), last[0]]):
            emit.store(value, offset(planes, i, plane * size))


def _transform_columns(builder: FunctionBuilder, size: int, planes: Value, spectrum: Value) -> None:
    """Write the transform of the columns into the pairs of a spectrum."""
    a, emit, offset, times, integer = (
        builder.arguments, builder.emit, builder.offset, builder.times, builder.integer
    )  # fmt: skip

    def store(pair: Value, bin_: Complex) -> None:
        for number, part in enumerate(bin_):
            builder.store(part, offset(spectrum, emit.mul(a.element_stride, pair), times(a.channels, number)))

    for number, plane in enumerate((0, size - 1)):
        first, *inner, last = rfft(builder, [emit.load(offset(planes, plane * size + i)) for i in range(size)])
        for i, bin_ in enumerate([(first[0], last[0]), *inner]):
            store(integer(_pair(size, number, i)), bin_)
    with builder.loop(integer(1), integer(size // 2)) as k:
        plane = _plane(builder, size, planes, k)
        column = [(emit.load(offset(plane, i)), emit.load(offset(plane, size + i))) for i in range(size)]
        for i, bin_ in enumerate(fft(builder, column)):
            store(builder.plus(times(emit.sub(k, integer(1)), size), i), bin_)


def _write_inverse(builder: FunctionBuilder, size: int, side: int, pool_size: int) -> None:
    a = builder.arguments
    epilogue = builder.epilogue(a.bias, a.threshold, a.keep_mask)
    pointers, planes = builder.array(a.discard.type, side * side), builder.array(builder.vector_type, size * size)
    with builder.loop(a.tile_start, a.tile_stop) as tile:
        _store_all(builder, output_pointers(builder, tile, (side, side)), pointers)
        spectrum = spectrum_pointer(builder, tile)
        with builder.loop(a.channel_start, a.channel_stop, builder.lanes) as channel:
            _restore_columns(builder, size, builder.offset(spectrum, channel), planes)
            with builder.loop(builder.integer(0), builder.integer(side)) as i:
                rows = _restore_rows(builder, size, planes, i, pool_size)
                for j in range(side):
                    largest = pooled(builder, rows, j, pool_size)
                    pointer = builder.emit.load(builder.offset(pointers, builder.times(i, side), j))
                    builder.store(epilogue(largest, channel), builder.offset(pointer, channel))


def _restore_columns(builder: FunctionBuilder, size: int, spectrum: Value, planes: Value) -> None:
    """Write the inverse of `_transform_columns`."""
    a, emit, offset, integer = builder.arguments, builder.emit, builder.offset, builder.integer

    def load(pair: Value) -> tuple[Value, Value]:
        first = offset(spectrum, emit.mul(a.element_stride, pair))
        return builder.load(first), builder.load(offset(first, a.imaginary))

    for number, plane in enumerate((0, size - 1)):
        (first, last), *inner = [load(integer(_pair(size, number, i))) for i in range(size // 2)]
        for i, value in enumerate(irfft(builder, [(first, None), *inner, (last, None)], size)):
            emit.store(value, offset(planes, plane * size + i))
    with builder.loop(integer(1), integer(size // 2)) as k:
        bins = [load(builder.plus(builder.times(emit.sub(k, integer(1)), size), i)) for i in range(size)]
        plane = _plane(builder, size, planes, k)
        for i, value in enumerate(ifft(builder, bins)):
            for number, part in enumerate(value):
                emit.store(part, offset(plane, number * size + i))


def _restore_rows(builder: FunctionBuilder, size: int, planes: Value, i: Value, pool_size: int) -> list[list[Value]]:
    """Write the inverse of `_transform_rows`, for the rows that pooled row `i` is the maximum of."""
    rows = []
    for number in range(pool_size):
        row = builder.plus(builder.times(i, pool_size), number)
        first, *parts, last = [
            builder.emit.load(builder.offset(planes, row, plane * size)) for plane in range(size)
        ]  # fmt: skip
        inner = zip(parts[::2], parts[1::2], strict=True)
        rows.append(irfft(builder, [(first, None), *inner, (last, None)], size))
    return rows


def _store_all(builder: FunctionBuilder, pointers: list[list[Value]], array: Value) -> None:
    """Write the pointers to a tile's pixels into an array."""
    for number, pointer in enumerate(pointer for row in pointers for pointer in row):
        builder.emit.store(pointer, builder.offset(array, number))


def _plane(builder: FunctionBuilder, size: int, planes: Value, k: Value) -> Value:
    """Return the pointer to the real parts of column k, which its imaginary parts follow."""
    return builder.offset(planes, builder.times(builder.emit.sub(builder.times(k, 2), builder.integer(1)), size))


def _pair(size: int, number: int, row: int) -> int:
    """Return the pair of a bin of column 0 (`number` 0) or T/2 (1); row 0 stands for rows 0 and T/2."""
    half = size // 2
    return half * size - 2 + number if row == 0 else (half - 1) * (size + number) + row - 1
