"""Compiled products and epilogues give what their definitions give, for every kind of vectors."""

import itertools
from typing import Any

import numpy as np
import pytest

from overfeat_tools.backend import Compiler
from overfeat_tools.convolution.kernels.epilogue import EPILOGUE, epilogue_kernel
from overfeat_tools.convolution.kernels.gemv import GEMV, gemv_kernel, max_columns, terms_multiple
from overfeat_tools.convolution.kernels.matmul import MATMUL, block_columns, complex_matmul_kernel, matmul_kernel
from tests import reference
from tests.kernel_arrays import ALL, Array, Put, call, integers, normal, unaligned, untouched

LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 11, 63, 64, 65, 127, 128, 257, 300, 512)


# Real products.


def multiply(
    compiler: Compiler, out: Array, weights: Array, x: Array, columns: Array, runs: Array, length: int, **changed: int
) -> None:  # fmt: skip
    """Multiply all panels of weights (products, panels, terms, width) with inputs x (products, floats)."""
    products, panels, _, width = weights.shape
    arguments: dict[str, Any] = {
        "out": out, "column_stride": out.strides[1] // 4, "product_stride": out.strides[0] // 4,
        "panels": weights, "panel_stride": weights.strides[1] // 4, "panel_start": 0, "panel_stop": products * panels,
        "panel_count": panels, "x": x, "x_product_stride": x.strides[0] // 4, "columns": columns,
        "column_count": len(columns), "runs": runs, "run_count": len(runs), "run_length": length, "group": 1,
        "accumulate": 0, "x_imaginary": 0, "out_imaginary": 0,
    }  # fmt: skip
    call(matmul_kernel(compiler, width), MATMUL, **{**arguments, **changed})


def check_matmul(
    compiler: Compiler, columns: int = 5, reads: tuple[tuple[int, ...], int] = ((0,), 9),
    shape: tuple[int, int, int] = (1, 1, 2), *, groups: tuple[int, int] = (1, 0), step: int | None = None,
    gap: int = 3, some: slice = ALL, put: Put = np.copy,
) -> None:  # fmt: skip
    """Compare with a sum of products of gathered inputs.

    `reads` is where the runs begin, and their length; `shape` the number of products, panels of each, and vectors of a
    panel; `groups` the runs of a group, and which run a second call begins with, if any.  The columns' inputs are
    `step` floats apart, by default as many as they are long; which column has which is left to chance.
    """
    (starts, length), (products, panels, vectors), (group, second) = reads, shape, groups
    width, terms = vectors * compiler.lanes, np.add.outer(starts, np.arange(length)).ravel()
    places = np.arange(columns) * (terms.max() + 1 if step is None else step)
    x = integers((products, places[-1] + terms.max() + 1), 1)
    np.random.default_rng(columns).shuffle(places)
    weights = integers((products, panels, len(terms), width), 2)
    expected = untouched((products, columns + bool(gap), panels * width + gap))
    out, panels_given, runs = put(expected), put(weights), put(np.array(starts, np.int64))
    numbers = range(products * panels)[some]
    given = out, panels_given, put(x), put(places.astype(np.int64))
    limits: dict[str, Any] = {"panel_start": numbers.start, "panel_stop": numbers.stop, "group": group}
    if second:
        multiply(compiler, *given, runs, length, run_count=second, **limits)
        # The same panels, from the weights of that run on.
        later = panels_given.ctypes.data + 4 * second * length * width
        multiply(compiler, *given, runs[second:], length, panels=later, accumulate=1, **limits)
    else:
        multiply(compiler, *given, runs, length, **limits)
    for number in numbers:
        product, panel = divmod(number, panels)
        gathered = x[product].astype(np.float64)[places[:, None] + terms]
        expected[product, :columns, panel * width : (panel + 1) * width] = gathered @ weights[product, panel]
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("vectors", [1, 2])
@pytest.mark.parametrize(("products", "panels"), [(1, 1), (1, 3), (2, 2)])
def test_every_number_of_columns(products: int, panels: int, vectors: int, compiler: Compiler) -> None:
    """They are shared out to blocks, each multiplied by a microkernel of its own."""
    for columns in range(1, 3 * block_columns(compiler) + 4):
        check_matmul(compiler, columns, shape=(products, panels, vectors))


@pytest.mark.parametrize("starts", [(0,), (0, 1000), (0, 1040, 2080, 3001, 3001)])
def test_every_length(starts: tuple[int, ...], compiler: Compiler) -> None:
    """Multiples of what is unrolled and others, primes; runs apart, in a row, and the same."""
    for length in LENGTHS:
        check_matmul(compiler, 13, (starts, length), (1, 1, 1))
        check_matmul(compiler, 2, (starts, length), (1, 2, 2), groups=(3, 0))


@pytest.mark.parametrize("vectors", [1, 2])
def test_groups_of_runs(vectors: int, compiler: Compiler) -> None:
    """Whether the runs are a multiple of a group or not, and added up by one call or by two."""
    for count, length, group in ((300, 1, 128), (257, 2, 64), (64, 3, 32), (11, 96, 1), (5, 4, 9)):
        starts = tuple(7 * i + i % 3 for i in range(count))
        check_matmul(compiler, 7, (starts, length), (1, 2, vectors), groups=(group, 0))
        shape, groups = (2, 2, vectors), (group, count // 2)
        check_matmul(compiler, 14, (starts, length), shape, groups=groups, some=slice(1, 4))


def test_some_panels(compiler: Compiler) -> None:
    """A share of the panels, which may begin and end within a product, leaves the others alone."""
    for start, stop in itertools.combinations_with_replacement(range(7), 2):
        check_matmul(compiler, 5, shape=(2, 3, 2), some=slice(start, stop))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_overlapping_columns(stride: int, compiler: Compiler) -> None:
    """The inputs of a map's outputs, by the definition of a convolution."""
    for channels, window, size in (
        (3, (3, 3), (9, 11)), (1, (1, 5), (4, 9)), (16, (5, 2), (7, 12)), (8, (7, 7), (7, 7))
    ):  # fmt: skip
        check_indirect_convolution(compiler, channels, window, size, stride)


def check_indirect_convolution(
    compiler: Compiler, channels: int, window: tuple[int, int], size: tuple[int, int], stride: int, *,
    put: Put = np.copy,
) -> None:  # fmt: skip
    """Compare the convolution of a map (1, C, H, W) with the oracle."""
    width = 2 * compiler.lanes
    x, weight = integers((1, channels, *size)), integers((width, channels, *window), 1)
    maps, panel = x.transpose(0, 2, 3, 1), weight.transpose(2, 3, 1, 0).reshape(1, 1, -1, width)
    expected = reference.convolve(x, weight, np.zeros(width), stride)[0]
    row = size[1] * channels
    rows, columns = np.indices(expected.shape[1:])
    out = put(untouched((1, rows.size, width)))
    multiply(
        compiler, out, put(np.ascontiguousarray(panel)), put(np.ascontiguousarray(maps)),
        put((stride * (rows * row + columns * channels)).ravel()), put(np.arange(window[0]) * row),
        window[1] * channels,
    )  # fmt: skip
    np.testing.assert_array_equal(out[0].T.reshape(expected.shape), expected)


def test_products_of_arrays_at_any_place(compiler: Compiler) -> None:
    """Weights are mapped from a file, aligned to no more than a float."""
    for columns, vectors in itertools.product((1, 5, 13), (1, 2)):
        check_matmul(compiler, columns, shape=(1, 2, vectors), put=unaligned)
        check_matmul(compiler, columns, ((0, 5), 7), (1, 1, vectors), step=1, put=unaligned)


def test_long_sums_are_made_of_short_ones(compiler: Compiler) -> None:
    """The rounding error grows with a sum: of 65,536 equal terms one after the other it is a thousandth."""
    width, length = 2 * compiler.lanes, 128
    x, ones = np.full((1, 1 << 16), 0.1, np.float32), np.ones((1, 1, 1 << 16, width), np.float32)
    out, runs = untouched((1, 1, width)), np.arange(0, x.size, length)
    multiply(compiler, out, ones, x, np.zeros(1, np.int64), runs, length)
    exact = x.size * float(np.float32(0.1))
    assert abs(float(np.cumsum(x[0])[-1]) - exact) / exact > 1e-4
    assert np.abs(out - exact).max() / exact < 1e-5


def test_products_keep_what_is_no_number(compiler: Compiler) -> None:
    """An infinite or undefined input shows in its column's outputs, and in no other's."""
    width = 2 * compiler.lanes
    x, weights = np.ones((1, 14 * 5), np.float32), np.ones((1, 1, 5, width), np.float32)
    x[0, [0, 34, 69]] = np.inf, np.nan, -np.inf
    out = untouched((1, 14, width))
    multiply(compiler, out, weights, x, np.arange(14) * 5, np.zeros(1, np.int64), 5)
    expected = np.full((14, width), 5.0)
    expected[[0, 6, 13]] = [[np.inf], [np.nan], [-np.inf]]
    np.testing.assert_array_equal(out[0], expected)


# Complex products.


def check_complex_matmul(
    compiler: Compiler, columns: int = 5, length: int = 9, shape: tuple[int, int] = (1, 2), *, runs: int = 1,
    group: int = 1, gap: int = 3, some: slice = ALL, put: Put = np.copy,
) -> None:  # fmt: skip
    """Compare with numpy's complex numbers; between real and imaginary parts is some `gap`."""
    (products, panels), lanes, terms = shape, compiler.lanes, runs * length
    part, out_part = terms + gap, panels * lanes + gap
    x = integers((products, columns, part + terms), 1)
    weights = integers((products, panels, terms, 2, lanes), 2)
    expected = untouched((products, columns + bool(gap), out_part + panels * lanes))
    out, given = put(expected), put(weights)
    numbers = range(products * panels)[some]
    call(
        complex_matmul_kernel(compiler), MATMUL, out=out, column_stride=out.shape[2], product_stride=out[0].size,
        panels=given, panel_stride=given[0, 0].size, panel_start=numbers.start, panel_stop=numbers.stop,
        panel_count=panels, x=put(x), x_product_stride=x[0].size, columns=put(np.arange(columns) * x.shape[2]),
        column_count=columns, runs=put(np.arange(runs) * length), run_count=runs, run_length=length, group=group,
        accumulate=0, x_imaginary=part, out_imaginary=out_part,
    )  # fmt: skip
    for number in numbers:
        product, panel = divmod(number, panels)
        inputs = x[product, :, :terms] + 1j * x[product, :, part : part + terms]
        result = inputs @ (weights[product, panel, :, 0] + 1j * weights[product, panel, :, 1])
        for values, start in ((result.real, 0), (result.imag, out_part)):
            expected[product, :columns, start + panel * lanes : start + (panel + 1) * lanes] = values
    np.testing.assert_array_equal(out, expected)


def test_complex_products(compiler: Compiler) -> None:
    """Every number of columns, every way for a length to end, sums in groups, some of the panels, at any place."""
    for columns in range(1, 2 * block_columns(compiler) + 4):
        check_complex_matmul(compiler, columns)
    for length, runs, group in ((1, 1, 1), (2, 3, 2), (3, 1, 1), (4, 9, 4), (7, 2, 2), (96, 5, 1)):
        check_complex_matmul(compiler, 13, length, (2, 1), runs=runs, group=group)
    for start, stop in itertools.combinations_with_replacement(range(5), 2):
        check_complex_matmul(compiler, shape=(2, 2), some=slice(start, stop))
    check_complex_matmul(compiler, 13, shape=(2, 3), put=unaligned)


# A matrix times a few columns.


def check_gemv(
    compiler: Compiler, columns: int, terms: int, *, rows: int = 8, gap: int = 5, put: Put = np.copy
) -> None:  # fmt: skip
    """Compare with numpy; the rows of the matrix have gaps between them."""
    matrix = put(integers((rows, terms + gap), 1))
    x, out = put(integers((columns, terms), 2)), put(untouched((rows + bool(gap), columns)))
    kernel = gemv_kernel(compiler, columns)
    call(kernel, GEMV, out=out, matrix=matrix, row_stride=matrix.shape[1], x=x, terms=terms, rows=rows)
    np.testing.assert_array_equal(out[:rows], matrix[:, :terms].astype(np.float64) @ x.T)
    assert np.isnan(out[rows:]).all()


def test_a_matrix_times_a_few_columns(compiler: Compiler) -> None:
    least = terms_multiple(compiler)
    for columns in range(1, max_columns(compiler) + 1):
        for terms in (least, 3 * least, 4096, 4096 + least, 3 * 4096 - least):
            for put in (np.copy, unaligned):
                check_gemv(compiler, columns, terms, put=put)


# Epilogues.

SPECIAL = np.array(
    [0.0, -0.0, 1e-6, np.nextafter(np.float32(1e-6), np.float32(1)), 1e-45, -1e-45, 1.0, -1.0, -2.5, 3e38, -3e38,
     np.inf, -np.inf, np.nan, -np.nan],
    np.float32,
)  # fmt: skip


def check_epilogue(
    compiler: Compiler, pool_size: int, threshold: float | None, size: tuple[int, int] = (4, 5), vectors: int = 3, *,
    values: Array = SPECIAL, gap: int = 2, rest: int = 0, put: Put = np.copy,
) -> None:  # fmt: skip
    """Compare with numpy: the maximum of each window, plus bias, rectified.

    The sums have some `gap` more rows, columns and channels; the output is a part of a larger map.  The channels are
    those of some vectors, and a rest.
    """
    (height, width), channels = size, vectors * compiler.lanes + rest
    generator = np.random.default_rng(pool_size)
    shape = (height * pool_size + gap, width * pool_size + gap, channels + gap)
    sums, bias = generator.choice(values, shape), generator.choice(values, channels)
    bias[: channels // 2] = -0.0  # with which every sum is itself
    whole = put(untouched((height + gap, width + gap, channels + gap)))
    source, y = put(sums), whole[:height, :width, gap:]
    end(compiler, y, source, put(bias), threshold, pool_size)
    pooled_sums = sums[: height * pool_size, : width * pool_size, :channels]
    pooled = reference.pool(pooled_sums.transpose(2, 0, 1)[None], pool_size)
    with np.errstate(all="ignore"):
        result = pooled[0].transpose(1, 2, 0) + bias
        if threshold is not None:
            result = np.where(result > np.float32(threshold), result, 0.0)
    expected = untouched(whole.shape)
    expected[:height, :width, gap:] = result
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(source, sums)
    if pool_size == 1:
        # Which of two zeros is the larger is left open.
        numbers = ~np.isnan(y)
        np.testing.assert_array_equal(np.signbit(y[numbers]), np.signbit(result[numbers]))
    if threshold is not None and threshold >= 0:
        assert not np.signbit(y).any()
        assert not np.isnan(y).any()


def end(compiler: Compiler, y: Array, sums: Array, bias: Array, threshold: float | None, pool_size: int) -> None:
    """Call the kernel for sums (H * pool_size or more, W * pool_size or more, K or more) and y (H, W, K)."""
    (y_row, y_column, _), (row, column, _) = ([step // 4 for step in array.strides] for array in (y, sums))
    call(
        epilogue_kernel(compiler, pool_size), EPILOGUE, y=y, sums=sums, bias=bias, y_row_stride=y_row,
        y_column_stride=y_column, sums_row_stride=row, sums_column_stride=column, height=y.shape[0], width=y.shape[1],
        channels=y.shape[2], threshold=threshold or 0.0, keep_mask=-1 if threshold is None else 0,
    )  # fmt: skip


@pytest.mark.parametrize("threshold", [None, 1e-6, 0.0, -1.5])
@pytest.mark.parametrize("pool_size", [1, 2, 3])
def test_epilogues(pool_size: int, threshold: float | None, compiler: Compiler) -> None:
    """Nan, infinities and both zeros included; cleared is +0.0, as -0.0 would print as `-0`."""
    for size, vectors in (((1, 1), 1), ((4, 5), 3), ((7, 2), 2), ((0, 3), 1)):
        check_epilogue(compiler, pool_size, threshold, size, vectors)
        check_epilogue(compiler, pool_size, threshold, size, vectors, values=normal((99,)))
        check_epilogue(compiler, pool_size, threshold, size, vectors, gap=0)
        for rest in (1, compiler.lanes - 1):
            check_epilogue(compiler, pool_size, threshold, size, vectors, rest=rest)


@pytest.mark.parametrize("threshold", [None, 1e-6])
def test_an_epilogue_in_place(threshold: float | None, compiler: Compiler) -> None:
    sums, bias = normal((3, 4, 2 * compiler.lanes)), normal((2 * compiler.lanes,), 1)
    expected = sums + bias
    if threshold is not None:
        expected = reference.rectify(expected, threshold)
    end(compiler, sums, sums, bias, threshold, 1)
    np.testing.assert_array_equal(sums, expected)
