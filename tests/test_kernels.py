"""Each compiled loop gives what its definition gives, with every width of vectors that this processor has.

Sums of small whole numbers are exact in single precision, in any order: where a loop makes nothing but sums of
products, the tests ask for equality.  Whatever a loop must not touch is nan before and after.
"""

import ctypes
import itertools
import math
import mmap
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from overfeat_tools.backend import Compiled, Compiler, CpuBackend
from overfeat_tools.backend.compiler import open_compiler
from overfeat_tools.convolution import Convolution, Geometry, bases, cooktoom, direct, gemm
from overfeat_tools.convolution.ending import Ending, rectify
from overfeat_tools.convolution.kernels import dots, fourier, tiles
from overfeat_tools.convolution.panels import TERMS, Products, Runs, panelled, runs
from overfeat_tools.convolution.plan import is_fused
from tests import reference
from tests.test_convolution import compute, layer, offered

Array = npt.NDArray[Any]
Put = Callable[[Array], Array]
"""Gives the copy of an array that a loop is given in its place."""

WIDTHS = {"avx512": (16, 32), "avx2": (8, 16)}
"""Floats of a vector, and vectors that the processor has names for."""

ROOT = Path(__file__).parent.parent
ALL = slice(None)
PATIENCE_SECONDS = 120.0  # for what would never come, not a measure of speed

# Single precision, spectra of 256 places at most.
TOLERANCE = 2e-6


@pytest.fixture(scope="module", params=WIDTHS)
def compiler(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compiler]:
    """Give a compiler for each width, which begins with nothing kept, and keeps what it makes from the other."""
    lanes, registers = WIDTHS[request.param]
    best = open_compiler()
    if best is None or best.lanes < lanes:
        pytest.skip("no loops are compiled for this processor with vectors so wide")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield Compiler(lanes, registers)


@pytest.fixture(scope="module")
def cpu(compiler: Compiler) -> CpuBackend:
    """Give a backend that has this compiler."""
    return with_compiler(compiler)


def with_compiler(compiler: Compiler) -> CpuBackend:
    """Give a backend of two threads that has this compiler."""
    backend = CpuBackend(2)
    backend.__dict__["compiler"] = compiler
    return backend


def whole_numbers(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Give whole numbers of -7 to 7, float32."""
    return np.random.default_rng(seed).integers(-7, 8, shape).astype(np.float32)


def random(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Give normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def nothing(shape: tuple[int, ...]) -> Array:
    """Give nan, float32."""
    return np.full(shape, np.nan, np.float32)


def assert_close(ours: Array, expected: Array, tolerance: float = TOLERANCE, note: object = "") -> None:
    """Check what is written, and that all else is as it was: nan."""
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(expected), str(note))
    written = ~np.isnan(expected)
    assert reference.distance(ours[written], expected[written]) < tolerance, note


def unaligned(array: Array) -> Array:
    """Copy an array to where no vector would begin."""
    room = np.empty(array.nbytes + 128, np.uint8)
    # Numbers must stand at whole multiples of their size; so vectors of 32 bytes begin at no 8 or 4 bytes more.
    start = (-room.ctypes.data) % 64 + array.itemsize
    copy: Array = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


# The product.


def check_product(
    cpu: CpuBackend, columns: int = 5, starts: tuple[int, ...] = (0,), length: int = 9,
    shape: tuple[int, int, int] = (1, 1, 2), *, step: int | None = None, gap: int = 3, some: slice = ALL,
    put: Put = np.copy,
) -> None:  # fmt: skip
    """Compare the compiled product with a sum of products of gathered inputs.

    `shape` is how many elements, panels of each, and vectors of a panel.  The columns' inputs are `step` floats apart,
    by default as many as they are long; which column has which is left to chance.
    """
    assert cpu.compiler is not None
    elements, panels, vectors = shape
    width, terms = vectors * cpu.compiler.lanes, np.add.outer(starts, np.arange(length)).ravel()
    places = np.arange(columns) * (terms[-1] + 1 if step is None else step)
    x = whole_numbers((elements, places[-1] + terms[-1] + 1), 1)
    np.random.default_rng(columns).shuffle(places)
    weights = whole_numbers((elements, panels, len(terms), width), 2)
    expected = nothing((elements, columns + bool(gap), panels * width + gap))
    out = put(expected)
    what = runs(starts, length)
    products = Products(
        put(x), put(places.astype(np.int64)), Runs(put(what.offsets), what.length, what.group), put(weights),
        out[:, :columns],
    )  # fmt: skip
    numbers = range(elements * panels)[some]
    products.compute(slice(numbers.start, numbers.stop), cpu)
    for number in numbers:
        element, panel = divmod(number, panels)
        gathered = x[element].astype(np.float64)[places[:, None] + terms]
        expected[element, :columns, panel * width : (panel + 1) * width] = gathered @ weights[element, panel]
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("vectors", [1, 2])
@pytest.mark.parametrize(("elements", "panels"), [(1, 1), (1, 3), (2, 2)])
def test_every_number_of_columns(elements: int, panels: int, vectors: int, cpu: CpuBackend) -> None:
    """They are shared out to blocks, each of a loop of its own."""
    for columns in range(1, 41):
        check_product(cpu, columns, shape=(elements, panels, vectors))


def check_complex_product(
    cpu: CpuBackend, columns: int = 5, length: int = 9, shape: tuple[int, int] = (1, 2), *, gap: int = 3,
    some: slice = ALL, put: Put = np.copy,
) -> None:  # fmt: skip
    """Compare the compiled product of complex numbers with numpy's; between real and imaginary parts is some `gap`."""
    assert cpu.compiler is not None
    (elements, panels), lanes = shape, cpu.compiler.lanes
    part, out_part = length + gap, panels * lanes + gap
    x = whole_numbers((elements, columns, part + length), 1)
    weights = whole_numbers((elements, panels, length, 2, lanes), 2)
    expected = nothing((elements, columns + bool(gap), out_part + panels * lanes))
    out = put(expected)
    Products(
        put(x), np.arange(columns, dtype=np.int64) * x.shape[2], runs((0,), length),
        put(weights.reshape(elements, panels, length, 2 * lanes)), out[:, :columns], (part, out_part),
    ).compute(slice(*some.indices(elements * panels)[:2]), cpu)  # fmt: skip
    for number in range(elements * panels)[some]:
        element, panel = divmod(number, panels)
        numbers = x[element, :, :length] + 1j * x[element, :, part : part + length]
        result = numbers @ (weights[element, panel, :, 0] + 1j * weights[element, panel, :, 1])
        for numbers_of_part, start in ((result.real, 0), (result.imag, out_part)):
            expected[element, :columns, start + panel * lanes : start + (panel + 1) * lanes] = numbers_of_part
    np.testing.assert_array_equal(out, expected)


def test_complex_products(cpu: CpuBackend) -> None:
    """Every number of columns, every way for a length to end, sums in groups, some of the panels, at any place."""
    for columns in range(1, 28):
        check_complex_product(cpu, columns)
    for length in (1, 2, 3, 4, 7, 96, TERMS, TERMS + 1, 3 * TERMS - 4):
        check_complex_product(cpu, 13, length, (2, 1))
    for start, stop in itertools.combinations_with_replacement(range(5), 2):
        check_complex_product(cpu, shape=(2, 2), some=slice(start, stop))
    check_complex_product(cpu, 13, shape=(2, 3), put=unaligned)


def test_complex_sums_in_pieces(cpu: CpuBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "cache_bytes", 0)
    check_complex_product(cpu, 14, 5 * TERMS, (2, 2))


LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 11, 63, 64, 65, 127, 255, 256, 257, 258, 300, 509, 512, 514, 1000)


@pytest.mark.parametrize("starts", [(0,), (0, 1000), (0, 1040, 2080, 3001, 3001)])
def test_every_length(starts: tuple[int, ...], cpu: CpuBackend) -> None:
    """Multiples of 4 and others, shorter and longer than a partial sum, primes; runs apart, in a row, and the same."""
    for length in LENGTHS:
        check_product(cpu, 13, starts, length, (1, 1, 1))
        check_product(cpu, 2, starts, length, (1, 2, 2))


@pytest.mark.parametrize("vectors", [1, 2])
def test_many_short_runs(vectors: int, cpu: CpuBackend) -> None:
    """More runs than a partial sum takes, their number no multiple of it."""
    for count, length in ((300, 1), (257, 2), (100, 3), (65, 4), (11, 96)):
        starts = tuple(7 * i + i % 3 for i in range(count))
        check_product(cpu, 7, starts, length, (1, 2, vectors))


def test_some_panels(cpu: CpuBackend) -> None:
    """A share of the panels, which may begin and end within an element, leaves the others alone."""
    for start, stop in itertools.combinations_with_replacement(range(7), 2):
        check_product(cpu, 5, shape=(2, 3, 2), some=slice(start, stop))


@pytest.mark.parametrize("groups", [0, 1, 2, 3])
def test_sums_in_pieces(groups: int, cpu: CpuBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a panel doesn't stay in the cache, all columns use a part of it, then all the next one."""
    assert cpu.compiler is not None
    for (starts, length), vectors in itertools.product([((0,), 1100), ((0, 700, 1500), 700), ((0,), 256)], (1, 2)):
        what, width = runs(starts, length), vectors * cpu.compiler.lanes
        monkeypatch.setattr(cpu, "cache_bytes", groups * 2 * 4 * what.group * what.length * width)
        check_product(cpu, 14, starts, length, (2, 2, vectors))
        check_product(cpu, 3, starts, length, (2, 3, vectors), some=slice(2, 4))


def test_that_small_caches_make_pieces(cpu: CpuBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would see one piece only, as so few columns do that a panel passes but once."""
    assert cpu.compiler is not None
    empty = np.zeros(0, np.float32)
    monkeypatch.setattr(cpu, "cache_bytes", 0)
    few, many = (
        Products(empty, np.zeros(columns, np.int64), runs((0,), 1100), empty.reshape(1, 1, 0, 16), empty)
        for columns in (3, 14)
    )
    assert few._pieces(16, cpu) == [slice(0, 10)]  # noqa: SLF001 -- what decides
    products, pieces = many, many._pieces(16, cpu)  # noqa: SLF001
    assert len(pieces) == 10
    assert [piece.start for piece in pieces[1:]] == [piece.stop for piece in pieces[:-1]]
    assert pieces[-1].stop == len(products.runs.offsets)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_overlapping_columns(stride: int, cpu: CpuBackend) -> None:
    """The inputs of a map's outputs, by the definition of a convolution."""
    assert cpu.compiler is not None
    width = 2 * cpu.compiler.lanes
    for channels, (rows, taps), (height, map_width) in (
        (3, (3, 3), (9, 11)), (1, (1, 5), (4, 9)), (16, (5, 2), (7, 12)), (8, (7, 7), (7, 7)),
    ):  # fmt: skip
        x, weight = whole_numbers((1, channels, height, map_width)), whole_numbers((width, channels, rows, taps), 1)
        expected = reference.convolve(x, weight, np.zeros(width), stride)[0]
        line = map_width * channels
        places = [
            p * stride * line + q * stride * channels
            for p in range(expected.shape[1])
            for q in range(expected.shape[2])
        ]
        out = nothing((1, len(places), width))
        Products(
            np.ascontiguousarray(x.transpose(0, 2, 3, 1)), np.array(places, np.int64),
            runs(tuple(i * line for i in range(rows)), taps * channels),
            np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(1, 1, -1, width), out,
        ).compute(slice(0, 1), cpu)  # fmt: skip
        np.testing.assert_array_equal(out[0].T.reshape(expected.shape), expected)


def test_products_of_arrays_at_any_place(cpu: CpuBackend) -> None:
    """Weights are mapped from a file, aligned to no more than a float."""
    for columns, vectors in itertools.product((1, 5, 13), (1, 2)):
        check_product(cpu, columns, shape=(1, 2, vectors), put=unaligned)
        check_product(cpu, columns, (0, 5), 7, (1, 1, vectors), step=1, put=unaligned)


def test_long_sums_are_made_of_short_ones(cpu: CpuBackend) -> None:
    """What is rounded away grows with a sum: of 65,536 equal terms one after the other it is a thousandth."""
    assert cpu.compiler is not None
    width, terms = 2 * cpu.compiler.lanes, 1 << 16
    x, ones = np.full((1, terms), 0.1, np.float32), np.ones((1, 1, terms, width), np.float32)
    out = nothing((1, 1, width))
    Products(x, np.zeros(1, np.int64), runs((0,), terms), ones, out).compute(slice(0, 1), cpu)
    exact = terms * float(np.float32(0.1))
    assert abs(float(np.cumsum(x[0])[-1]) - exact) / exact > 1e-4
    assert np.abs(out - exact).max() / exact < 1e-5


def test_products_keep_what_is_no_number(cpu: CpuBackend) -> None:
    """An infinite or undefined input shows in its column's outputs, and in no other's."""
    assert cpu.compiler is not None
    width = 2 * cpu.compiler.lanes
    x, weights = np.ones((1, 14 * 5), np.float32), np.ones((1, 1, 5, width), np.float32)
    x[0, [0, 34, 69]] = np.inf, np.nan, -np.inf
    out = nothing((1, 14, width))
    Products(x, np.arange(14) * 5, runs((0,), 5), weights, out).compute(slice(0, 1), cpu)
    expected = np.full((14, width), 5.0)
    expected[[0, 6, 13]] = [[np.inf], [np.nan], [-np.inf]]
    np.testing.assert_array_equal(out[0], expected)


def check_dots(
    cpu: CpuBackend, columns: int, terms: int, *, rows: int = 8, gap: int = 5, put: Put = np.copy
) -> None:  # fmt: skip
    """Compare a matrix times some columns with the definition; the rows of the matrix have gaps between them."""
    assert cpu.compiler is not None
    matrix = put(whole_numbers((rows, terms + gap), 1))
    x, out = put(whole_numbers((columns, terms), 2)), put(nothing((rows + bool(gap), columns)))
    multiply = dots.dotter(cpu.compiler, columns)
    multiply(out.ctypes.data, matrix.ctypes.data, matrix.shape[1], x.ctypes.data, terms, rows)
    np.testing.assert_array_equal(out[:rows], matrix[:, :terms].astype(np.float64) @ x.T)
    assert np.isnan(out[rows:]).all()


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_a_matrix_times_a_few_columns(columns: int, cpu: CpuBackend) -> None:
    assert cpu.compiler is not None
    step = dots.step(cpu.compiler)
    for terms in (step, 3 * step, 4096, 4096 + step, 3 * 4096 - step):
        for put in (np.copy, unaligned):
            check_dots(cpu, columns, terms, put=put)


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("kernels", "channels"), [(8, 64), (6, 64), (8, 60), (1000, 96)])
def test_classifiers_of_a_few_pictures(columns: int, kernels: int, channels: int, cpu: CpuBackend) -> None:
    """Whether the sizes suit the loops for few columns or not."""
    assert cpu.compiler is not None
    cpu.compiler.loaded = True
    weight, bias, x = random((kernels, channels, 3, 3), 1), random((kernels,), 2), random((columns, channels, 3, 3), 3)
    convolution = Convolution(weight, bias, backend=cpu, method="gemm")
    with cpu.computing():
        assert_close(convolution(x), reference.convolve(x, weight, bias))
    assert set(convolution.used) == {"gemm"}


def test_runs() -> None:
    """They are the ones asked for, in their order, in equal pieces that make sums of no more than so many terms."""
    lengths, most = (*range(1, 300), 509, 512, 768, 1000, 4096), (64, TERMS)
    for length, starts, terms in itertools.product(lengths, ((0,), (5, 3, 900)), most):
        what = runs(starts, length, terms)
        places = np.add.outer(what.offsets, np.arange(what.length)).ravel()
        np.testing.assert_array_equal(places, np.add.outer(starts, np.arange(length)).ravel())
        assert what.terms == len(places)
        assert 1 <= what.group * what.length <= terms
        assert what.length == length or length > terms


# Panels.


def check_panels(matrix: Array, cpu: CpuBackend) -> None:
    """Compare panels with their definition, and the product of them with that of matrices."""
    assert cpu.compiler is not None
    lanes = cpu.compiler.lanes
    terms, columns = matrix.shape
    panels = panelled(matrix, cpu)
    width = panels.shape[2]
    assert width == (lanes if columns <= lanes else 2 * lanes)
    assert panels.shape[:2] == (-(-columns // width), terms)
    expected = np.zeros((terms, len(panels) * width))
    expected[:, :columns] = matrix
    np.testing.assert_array_equal(panels.transpose(1, 0, 2).reshape(terms, -1), expected)
    left = whole_numbers((5, terms), 3)
    out = nothing((5, len(panels) * width))
    what = runs((0,), terms)
    Products(left[None], np.arange(5) * terms, what, panels[None], out[None]).compute(slice(0, len(panels)), cpu)
    np.testing.assert_array_equal(out, left.astype(np.float64) @ expected)


def test_room_begins_on_a_line_of_the_cache(cpu: CpuBackend) -> None:
    """A vector on two lines would take twice the time; numpy's own arrays make all of them so."""
    for shape in ((), (1,), (3, 5), (1 << 16,)):
        for room in (cpu.empty(shape), cpu.scratch(f"{shape}", shape, np.float32)):
            assert room.shape == shape
            assert room.dtype == np.float32
            assert room.ctypes.data % 64 == 0


def test_panels(cpu: CpuBackend) -> None:
    """Whatever stood in their memory before, what is beyond the last column is zero."""
    for columns in (*range(1, 36), 47, 48, 49, 63, 64, 65, 100):
        cpu.scratch("panels", (1 << 14,), np.float32)[...] = np.nan
        check_panels(whole_numbers((11, columns)), cpu)


def test_panels_of_a_part_of_a_matrix(cpu: CpuBackend) -> None:
    """Its rows don't follow each other; some have just the width of a panel, and could be mistaken for one."""
    matrix = whole_numbers((11, 100))
    for columns in (1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 64):
        check_panels(matrix[:, 3 : 3 + columns], cpu)


@pytest.mark.parametrize("size", [(4, 8), (4, 16), (3, 32), (5, 11)])
def test_products_of_a_map_in_stretches(
    size: tuple[int, int], cpu: CpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """A map too large to be multiplied at once by 1x1 kernels is cut into rows, each a part of the matrix."""
    monkeypatch.setattr(cpu.compiler, "loaded", True)
    convolution = Convolution(whole_numbers((6, 5, 1, 1)), whole_numbers((6,), 1), backend=cpu, method="gemm")
    x = whole_numbers((1, 5, *size), 2)
    monkeypatch.setattr(gemm, "_COLUMNS_BYTES", 5 * size[1] * 4)
    np.testing.assert_array_equal(
        compute(convolution, x), reference.convolve(x, convolution.weight, convolution.bias)
    )  # fmt: skip


def test_products_with_kernels_in_any_order(cpu: CpuBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read where they lie, which may be a part of something larger, turned around, or all one."""
    monkeypatch.setattr(cpu.compiler, "loaded", True)
    whole = whole_numbers((12, 14, 1, 1))
    x = whole_numbers((2, 7, 3, 11), 2)
    for weight in (
        whole[:, 3:10], whole[::2, :7], whole[::-1, :7], whole[:, ::2], whole[:, 6::-1],
        np.asfortranarray(whole)[:, :7], np.broadcast_to(whole[:1, :7], (5, 7, 1, 1)),
    ):  # fmt: skip
        convolution = Convolution(weight, whole_numbers((len(weight),), 1), backend=cpu, method="gemm")
        np.testing.assert_array_equal(compute(convolution, x), reference.convolve(x, weight, convolution.bias))


# Tiles.


Pair = tuple[int, int]
"""Of rows and of columns."""


class CookToom:
    """Tiles of `size` places for kernels of `kernel`, with the matrices of `cooktoom.py`."""

    depth = 1

    def __init__(self, size: Pair, kernel: int) -> None:
        self.size, self.outputs = size, (size[0] - kernel + 1, size[1] - kernel + 1)
        (evaluate_down, _, down), (evaluate_right, _, right) = (cooktoom.matrices(side, kernel) for side in size)
        self._evaluate, self._interpolate = (evaluate_down, evaluate_right), (down, right)

    def evaluator(self, compiler: Compiler) -> Compiled:
        return tiles.evaluator(compiler, self._evaluate)

    def interpolator(self, compiler: Compiler, squares: int) -> Compiled:
        return tiles.interpolator(compiler, self._interpolate, squares)

    def spectrum(self, tile: Array) -> Array:
        """Give (elements, depth, C) of a tile (*size, C), in float64."""
        return both_axes(self._evaluate, tile).reshape(math.prod(self.size), 1, -1)

    def product(self, numbers: Array) -> Array:
        """Arrange any numbers (*size, K) as a product of spectra: (elements, depth, K)."""
        return numbers.reshape(math.prod(self.size), 1, -1)

    def results(self, numbers: Array) -> Array:
        """Give the outputs (*outputs, K) of such a product, in float64."""
        return both_axes(self._interpolate, numbers)


class Fourier:
    """Fourier tiles of `size` places a side for kernels of `kernel`."""

    depth = 2

    def __init__(self, size: int, kernel: int) -> None:
        self.size, self.outputs = (size, size), (size - kernel + 1, size - kernel + 1)

    def evaluator(self, compiler: Compiler) -> Compiled:
        return fourier.evaluator(compiler, self.size[0])

    def interpolator(self, compiler: Compiler, squares: int) -> Compiled:
        return fourier.interpolator(compiler, self.size[0], self.outputs[0], squares)

    def spectrum(self, tile: Array) -> Array:
        """Give (elements, depth, C) of a tile (size, size, C), in float64."""
        return in_pairs(np.fft.fft2(tile.astype(np.float64), axes=(0, 1)))

    product = spectrum

    def results(self, numbers: Array) -> Array:
        """Give the outputs of the product that is the spectrum of these numbers: them, times what nobody divides by."""
        return math.prod(self.size) * numbers[: self.outputs[0], : self.outputs[1]].astype(np.float64)


Basis = CookToom | Fourier
BASES: list[Basis] = [
    *[CookToom((side, side), kernel) for side, kernel in ((4, 3), (5, 3), (6, 3), (6, 5), (7, 3), (7, 6), (8, 3))],
    *[CookToom(size, kernel) for size, kernel in (((8, 7), 3), ((5, 8), 3), ((6, 8), 5), ((4, 6), 3))],
    *[Fourier(side, kernel) for side, kernel in ((8, 3), (8, 7), (16, 5), (16, 11), (24, 7))],
]


def words(basis: Basis) -> str:
    """Name a basis."""
    height, width = basis.size
    return f"{type(basis).__name__} {height}x{width} {height - basis.outputs[0] + 1}"


def both_axes(matrices: tuple[Array, Array], tile: Array) -> Array:
    """Give down @ tile @ right' for each number of the last axis."""
    down, right = matrices
    result: Array = np.einsum("ia,abc,jb->ijc", down, tile.astype(np.float64), right)
    return result


def in_pairs(spectrum: Array) -> Array:
    """Arrange a spectrum (T, T, C) as `loops/fourier.py` says: (T * T / 2, 2, C)."""
    size, half = len(spectrum), len(spectrum) // 2
    pairs = [spectrum[i, k] for k in range(1, half) for i in range(size)]
    pairs += [spectrum[i, k] for k in (0, half) for i in range(1, half)]
    pairs += [spectrum[0, k].real + 1j * spectrum[half, k].real for k in (0, half)]
    return np.stack([np.real(pairs), np.imag(pairs)], axis=1)


@dataclass(frozen=True)
class Cut:
    """Maps, and the tiles that they are cut into: `rows` x `columns` of each picture."""

    pictures: int
    height: int
    width: int
    rows: int
    columns: int

    @property
    def count(self) -> int:
        """Tiles of all pictures."""
        return self.pictures * self.rows * self.columns

    def place(self, number: int) -> tuple[int, int, int]:
        """Give a tile's picture, row and column."""
        return tuple(map(int, np.unravel_index(number, (self.pictures, self.rows, self.columns))))  # type: ignore[return-value]


def cuts(steps: Pair) -> list[Cut]:
    """List maps for tiles some steps apart: one place, less than a tile, just some, hanging over, wholly outside."""
    down, right = steps
    return [
        Cut(1, 1, 1, 1, 1),
        Cut(2, max(1, down - 1), right, 1, 1),
        Cut(1, 2 * down, 3 * right, 2, 3),
        hanging_over(steps),
        Cut(2, 2 * down - 1, min(2, right), 2, 1),
        Cut(1, down, right, 3, 2),
    ]


def hanging_over(steps: Pair) -> Cut:
    """Give maps whose last tiles hang over."""
    down, right = steps
    return Cut(3, down + 1, 2 * right + 1, 2, 3)


@dataclass(frozen=True)
class Share:
    """What of the work is to be done: some tiles, some vectors of the channels; the rest is to be left alone.

    The room for spectra begins so many tiles `before` the first of them.
    """

    tiles: tuple[int, int] = (0, 999)
    vectors: tuple[int, int] = (0, 999)
    before: int = 0


WHOLE = Share()
SHARES = [
    *(Share(some, before=before) for some in ((0, 18), (4, 11), (17, 18), (5, 5), (5, 6)) for before in (0, some[0])),
    *(Share((3, 9), vectors) for vectors in ((0, 1), (1, 3), (2, 3), (1, 1))),
]
"""Shares of 18 tiles and 3 vectors."""


def check_evaluator(
    basis: Basis, compiler: Compiler, cut: Cut, *, padding: int = 1, vectors: int = 1, share: Share = WHOLE,
    gap: int = 5, put: Put = np.copy,
) -> None:  # fmt: skip
    """Compare the spectra of some tiles with what the basis says of each by itself; channels fill some `vectors`."""
    lanes = compiler.lanes
    channels = vectors * lanes
    numbers, lane_numbers = range(cut.count)[slice(*share.tiles)], range(vectors)[slice(*share.vectors)]
    first, last = lane_numbers.start * lanes, lane_numbers.stop * lanes
    x = random((cut.pictures, cut.height, cut.width, channels))
    origin, elements = numbers.start - share.before, math.prod(basis.size) // basis.depth
    own_floats = basis.depth * channels
    tile_floats = own_floats + gap
    stride = (numbers.stop - origin) * tile_floats + gap
    expected = nothing((elements, stride))
    spectra = put(expected)
    source, zeros = put(x), put(np.zeros(channels, np.float32))
    basis.evaluator(compiler)(
        spectra.ctypes.data, source.ctypes.data, zeros.ctypes.data, stride, tile_floats, *x.shape[1:], *basis.outputs,
        padding, cut.columns, cut.rows, origin, numbers.start, numbers.stop, first, last,
    )  # fmt: skip
    for number in numbers:
        picture, row, column = cut.place(number)
        tile = np.zeros((*basis.size, channels))
        for i, j in np.ndindex(*basis.size):
            y, x_ = row * basis.outputs[0] - padding + i, column * basis.outputs[1] - padding + j
            if 0 <= y < cut.height and 0 <= x_ < cut.width:
                tile[i, j] = x[picture, y, x_]
        start = (number - origin) * tile_floats
        here = expected[:, start : start + own_floats].reshape(elements, basis.depth, channels, copy=False)
        here[..., first:last] = basis.spectrum(tile)[..., first:last]
    assert_close(spectra, expected, note=(cut, padding))
    np.testing.assert_array_equal(source, x)
    assert not zeros.any()


@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("basis", BASES, ids=words)
def test_tiles_into_spectra(basis: Basis, padding: int, compiler: Compiler) -> None:
    for cut in cuts(basis.outputs):
        check_evaluator(basis, compiler, cut, padding=padding)


@pytest.mark.parametrize("basis", BASES[::2], ids=words)
def test_some_tiles_and_channels_into_spectra(basis: Basis, compiler: Compiler) -> None:
    """A share of the tiles, or of the channels, of a round that did not begin with the first tile."""
    cut = hanging_over(basis.outputs)
    for share in SHARES:
        check_evaluator(basis, compiler, cut, vectors=3, share=share)


@pytest.mark.parametrize("basis", [CookToom((6, 5), 3), Fourier(8, 3)], ids=words)
def test_tiles_at_any_place(basis: Basis, compiler: Compiler) -> None:
    cut = Cut(2, basis.outputs[0] + 1, basis.outputs[1], 2, 1)
    check_evaluator(basis, compiler, cut, put=unaligned)
    check_interpolator(basis, compiler, cut, put=unaligned)


def check_interpolator(
    basis: Basis, compiler: Compiler, cut: Cut, squares: int = 1, *, vectors: int = 1, share: Share = WHOLE,
    gap: int = 5, put: Put = np.copy,
) -> None:  # fmt: skip
    """Compare outputs with what the basis says of each tile's product; `cut` is of the map of outputs, after pooling.

    Kernels fill some `vectors`; where there is a `gap` between elements, there is also one of nan after the kernels.
    """
    lanes = compiler.lanes
    kernels = vectors * lanes
    padded, sides = kernels + bool(gap) * lanes, (basis.outputs[0] // squares, basis.outputs[1] // squares)
    numbers, lane_numbers = range(cut.count)[slice(*share.tiles)], range(vectors)[slice(*share.vectors)]
    first, last = lane_numbers.start * lanes, lane_numbers.stop * lanes
    origin, elements = numbers.start - share.before, math.prod(basis.size) // basis.depth
    count, tile_floats = numbers.stop - origin, basis.depth * padded
    stride = count * tile_floats + gap
    bias, products = random((kernels,), 3), nothing((elements, stride))
    expected = nothing((cut.pictures, cut.height, cut.width, kernels))
    for number in numbers:
        picture, row, column = cut.place(number)
        values = random((*basis.size, kernels), number)
        start = (number - origin) * tile_floats
        here = products[:, start : start + tile_floats].reshape(elements, basis.depth, padded, copy=False)
        here[..., :kernels] = basis.product(values)
        outputs = basis.results(values)
        for i, j in np.ndindex(*sides):
            y, x = row * sides[0] + i, column * sides[1] + j
            if y < cut.height and x < cut.width:
                square = outputs[i * squares : (i + 1) * squares, j * squares : (j + 1) * squares]
                expected[picture, y, x, first:last] = (square.max(axis=(0, 1)) + bias)[first:last]
    source, biases, interpolate = put(products), put(bias), basis.interpolator(compiler, squares)

    def interpolated(threshold: float, otherwise: int) -> Array:
        y, nowhere = put(nothing(expected.shape)), put(nothing((kernels,)))
        interpolate(
            y.ctypes.data, source.ctypes.data, biases.ctypes.data, nowhere.ctypes.data, stride, tile_floats,
            *y.shape[1:], padded, cut.columns, cut.rows, origin, numbers.start, numbers.stop, first, last, threshold,
            otherwise,
        )  # fmt: skip
        return y

    plain = interpolated(0.0, -1)
    assert_close(plain, expected, note=(cut, squares))
    rectified = np.where(plain > np.float32(0.5), plain, np.where(np.isnan(plain), plain, 0.0))
    np.testing.assert_array_equal(interpolated(0.5, 0), rectified)
    np.testing.assert_array_equal(source, products)


@pytest.mark.parametrize("basis", BASES, ids=words)
def test_spectra_into_outputs(basis: Basis, compiler: Compiler) -> None:
    """What squares leave over is dropped, too, as where a map is smaller than a tile."""
    for squares in range(1, min(3, *basis.outputs) + 1):
        for cut in cuts((basis.outputs[0] // squares, basis.outputs[1] // squares)):
            check_interpolator(basis, compiler, cut, squares)


@pytest.mark.parametrize("basis", BASES[::2], ids=words)
def test_some_spectra_and_kernels_into_outputs(basis: Basis, compiler: Compiler) -> None:
    """A share of the tiles, or of the kernels, of a round that did not begin with the first tile."""
    cut = hanging_over(basis.outputs)
    for share in SHARES:
        check_interpolator(basis, compiler, cut, vectors=3, share=share)


class AnyMatrices(CookToom):
    """Tiles transformed by whatever matrices: A (n, n) and B (m, n), others for the rows than for the columns."""

    def __init__(self, down: tuple[Array, Array], right: tuple[Array, Array]) -> None:
        self._evaluate, self._interpolate = (down[0], right[0]), (down[1], right[1])
        (rows, height), (columns, width) = down[1].shape, right[1].shape
        self.outputs, self.size = (rows, columns), (height, width)


def matrices(seed: int) -> tuple[Array, Array]:
    """Give matrices rich in what is written in a shorter way: zeros, ones, rows and columns that differ in signs."""
    generator = np.random.default_rng(seed)
    size, outputs = 3 + seed % 2, 2
    values = np.array([0, 0, 1, -1, 0.5, -2, 3.0])
    evaluate, interpolate = generator.choice(values, (size, size)), generator.choice(values, (outputs, size))
    signs = generator.choice([-1.0, 1.0], (2, size))
    evaluate[1] = evaluate[0] * signs[0]
    interpolate[:, 1] = interpolate[:, 0] * signs[1, :outputs]
    evaluate[:, 2] = {0: 0.0, 1: -evaluate[:, 0], 2: evaluate[:, 0], 3: evaluate[:, 2]}[seed % 4]
    return evaluate, interpolate


@pytest.mark.parametrize("seed", range(6))
def test_any_matrices(seed: int, compiler: Compiler) -> None:
    """Sums that several rows share are right for matrices of any signs and zeros, not for the shipped ones only."""
    basis = AnyMatrices(matrices(seed), matrices(seed + 1))
    fresh = Compiler(compiler.lanes, compiler.registers)  # which knows no functions of these names
    for cut in cuts(basis.outputs)[2:4]:
        check_evaluator(basis, fresh, cut)
        check_interpolator(basis, fresh, cut)


@pytest.mark.parametrize(("size", "kernel"), [(8, 3), (8, 7), (16, 5), (16, 11), (16, 16), (24, 7)])
def test_kernels_into_fourier_spectra(size: int, kernel: int) -> None:
    """A tile's spectrum times a kernel's matrices is the spectrum of their correlation, over what nobody divides by."""
    geometry = Geometry(1, size, size, 1, kernel, kernel)
    bins, real = bases.compiled_basis("fft", geometry, (size, size), Compiler(0, 0)).parts
    tile, weight = random((size, size, 1)), random((kernel, kernel, 1), 1)
    surrounded = np.zeros((size, size, 1))
    surrounded[:kernel, :kernel] = weight
    numbers, taps = in_pairs(np.fft.fft2(tile, axes=(0, 1))), weight.reshape(-1, 1).astype(np.float64)
    assert [bins.elements, real.elements] == [slice(0, len(numbers) - 2), slice(len(numbers) - 2, len(numbers))]
    spectrum = [part.kernels.astype(np.float64) @ taps for part in (bins, real)]
    complex_ = (numbers[:-2, 0] + 1j * numbers[:-2, 1]) * (spectrum[0][0] + 1j * spectrum[0][1])
    product = np.concatenate(
        [np.stack([complex_.real, complex_.imag], axis=1), numbers[-2:] * spectrum[1].transpose(1, 0, 2)]
    )  # fmt: skip
    correlation = np.fft.fft2(tile, axes=(0, 1)) * np.fft.fft2(surrounded, axes=(0, 1)).conj()
    assert_close(product, in_pairs(correlation) / size**2)


# What follows the sums.

SPECIAL = np.array(
    [0.0, -0.0, 1e-6, np.nextafter(np.float32(1e-6), np.float32(1)), 1e-45, -1e-45, 1.0, -1.0, -2.5, 3e38, -3e38,
     np.inf, -np.inf, np.nan, -np.nan],
    np.float32,
)  # fmt: skip


def check_finisher(
    cpu: CpuBackend, squares: int, threshold: float | None, size: tuple[int, int] = (4, 5), vectors: int = 3, *,
    values: Array = SPECIAL, gap: int = 2, put: Put = np.copy,
) -> None:  # fmt: skip
    """Compare with numpy: the maximum of each square, plus bias, rectified.

    The sums have some `gap` more rows, columns and kernels; `y` is a part of a larger map.
    """
    assert cpu.compiler is not None
    (height, width), kernels = size, vectors * cpu.compiler.lanes
    generator = np.random.default_rng(squares)
    shape = (height * squares + gap, width * squares + gap, kernels + gap)
    sums, bias = generator.choice(values, shape), generator.choice(values, kernels + gap)
    bias[gap : gap + kernels // 2] = -0.0  # with which every sum is itself
    whole = put(nothing((height + gap, width + gap, kernels + gap)))
    y = whole[:height, :width, gap:]
    source = put(sums)
    Ending(put(bias), threshold, cpu).finish(source, y, slice(gap, gap + kernels), squares)
    expected = nothing(whole.shape)
    square = [
        sums[i : height * squares : squares, j : width * squares : squares, :kernels]
        for i in range(squares)
        for j in range(squares)
    ]
    with np.errstate(all="ignore"):
        result = np.maximum.reduce(square) + bias[gap:]
        if threshold is not None:
            rectify(result, threshold)
    expected[:height, :width, gap:] = result
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(source, sums)
    if squares == 1:
        # Which of two zeros is the larger is left open.
        numbers = ~np.isnan(y)
        np.testing.assert_array_equal(np.signbit(y[numbers]), np.signbit(result[numbers]))
    if threshold is not None and threshold >= 0:
        assert not np.signbit(y).any()
        assert not np.isnan(y).any()


@pytest.mark.parametrize("threshold", [None, 1e-6, 0.0, -1.5])
@pytest.mark.parametrize("squares", [1, 2, 3])
def test_finishing(squares: int, threshold: float | None, cpu: CpuBackend) -> None:
    """Nan, infinities and both zeros included; cleared is +0.0, as -0.0 would print as `-0`."""
    for size, vectors in (((1, 1), 1), ((4, 5), 3), ((7, 2), 2), ((0, 3), 1)):
        check_finisher(cpu, squares, threshold, size, vectors)
        check_finisher(cpu, squares, threshold, size, vectors, values=random((99,)))
        check_finisher(cpu, squares, threshold, size, vectors, gap=0)


@pytest.mark.parametrize("threshold", [None, 1e-6])
def test_finishing_in_place(threshold: float | None, cpu: CpuBackend) -> None:
    assert cpu.compiler is not None
    kernels = 2 * cpu.compiler.lanes
    sums, bias = random((3, 4, kernels)), random((kernels,), 1)
    expected = sums + bias
    if threshold is not None:
        rectify(expected, threshold)
    Ending(bias, threshold, cpu).finish(sums, sums, slice(0, kernels), 1)
    np.testing.assert_array_equal(sums, expected)


def test_pooling_what_was_finished(cpu: CpuBackend) -> None:
    """Squares that stand on two tiles are pooled afterwards; the biases are in already."""
    assert cpu.compiler is not None
    x = random((3, 7, 5, cpu.compiler.lanes))
    pooled = Ending(np.full(cpu.compiler.lanes, 9.0, np.float32), 5.0, cpu).pool(x, 2)
    np.testing.assert_array_equal(pooled.transpose(0, 3, 1, 2), reference.pool(x.transpose(0, 3, 1, 2), 2))


# All of them together.

DIRECT = "gemm-direct"


@pytest.mark.parametrize("kernel", [1, 3, 5, 6, 7])
def test_every_compiled_way(kernel: int, cpu: CpuBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """With channels and kernels that fill vectors of this width, the last panel half full."""
    assert cpu.compiler is not None
    lanes = cpu.compiler.lanes
    options: dict[str, Any] = {"channels": lanes, "kernels": 3 * lanes, "padding": 1}
    tried = set()
    for pictures, size in ((1, (9, 16)), (3, (18, 7))):
        x = random((pictures, lanes, *size))
        convolution = layer(cpu, (kernel, kernel), **options)
        geometry = convolution.geometry(*size)
        expected = reference.convolve(x, convolution.weight, convolution.bias, padding=1)
        for way in offered(convolution, geometry, pictures):
            if way.method == DIRECT or is_fused(way.method, way.size, geometry, 2 * lanes):
                one_way = layer(cpu, (kernel, kernel), **options)
                monkeypatch.setattr(one_way, "choose", lambda *_, way=way: way)
                # Cook-Toom tiles of 7 and 8 places lose two bits more.
                assert reference.distance(compute(one_way, x), expected) < 8e-6, str(way)
                tried.add(way.method)
    tiled = {1: [], 3: ["cook-toom"], 7: ["fft"]}.get(kernel, ["cook-toom", "fft"])
    assert tried == {DIRECT, *tiled}


# Beyond the ends of arrays.


def guarded(array: Array, *, at_end: bool) -> Array:
    """Copy an array to where its last number is followed, or its first preceded, by memory that must not be touched."""
    page = mmap.PAGESIZE
    size = -(-array.nbytes // page) * page
    room = mmap.mmap(-1, size + 2 * page)
    first = ctypes.addressof(ctypes.c_char.from_buffer(room))
    libc = ctypes.CDLL(None, use_errno=True)
    for address in (first, first + page + size):
        assert libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(page), 0) == 0, os.strerror(ctypes.get_errno())
    start = page + (size - array.nbytes if at_end else 0)
    copy: Array = np.frombuffer(room, array.dtype, array.size, start).reshape(array.shape)
    copy[...] = array
    return copy


def check_direct(cpu: CpuBackend, kernel: int, stride: int, squares: int, rows: int, *, put: Put = np.copy) -> None:
    """Compare a direct convolution that uses its map up with the definition; of its bands the last one is lower."""
    compiler = cpu.compiler
    assert compiler is not None
    height, width = ((outputs - 1) * stride + kernel for outputs in (rows, 2 * squares))
    x, kernels = whole_numbers((2, 3, height, width)), 3 * compiler.lanes
    weight, nothing_more = whole_numbers((kernels, 3, kernel, kernel), 1), np.zeros(kernels, np.float32)
    geometry = Geometry(3, height, width, kernels, kernel, kernel, stride)
    expected = reference.pool(reference.convolve(x, weight, nothing_more, stride=stride), squares).transpose(0, 2, 3, 1)
    panels, ending = put(direct.prepare(weight, geometry, cpu)), Ending(nothing_more, None, cpu)
    for pictures in (1, 2):
        maps, y = put(x[:pictures].transpose(0, 2, 3, 1)), put(nothing(expected[:pictures].shape))
        direct.convolve(maps, panels, y, geometry, cpu, ending, squares)
        np.testing.assert_array_equal(y, expected[:pictures])


def guarded_cases(compiler: Compiler, put: Put) -> Iterator[tuple[str, Callable[[], None]]]:
    """List what to do between guards: each loop, on all its edges."""
    cpu = with_compiler(compiler)
    for columns, length, vectors in itertools.product((1, 7, 12, 13, 40), (1, 4, 6, 300), (1, 2)):
        for starts, step in (((0,), None), ((0, length + 3), 1)):
            case = partial(check_product, cpu, columns, starts, length, (2, 2, vectors), step=step, gap=0, put=put)
            yield f"product {columns} {starts} {length} {vectors}", case
    for columns, length in itertools.product((1, 7, 12, 13, 40), (1, 4, 6, 300)):
        case = partial(check_complex_product, cpu, columns, length, (2, 2), gap=0, put=put)
        yield f"complex product {columns} {length}", case
    for columns, terms in itertools.product((1, 4), (dots.step(compiler), 4096 + dots.step(compiler))):
        yield f"dots {columns} {terms}", partial(check_dots, cpu, columns, terms, gap=0, put=put)
    for basis in BASES:
        for cut, padding in itertools.product(cuts(basis.outputs), (0, 2)):
            case = partial(check_evaluator, basis, compiler, cut, padding=padding, gap=0, put=put)
            yield f"evaluator {words(basis)} {cut} {padding}", case
        for squares in range(1, min(3, *basis.outputs) + 1):
            for cut in cuts((basis.outputs[0] // squares, basis.outputs[1] // squares)):
                case = partial(check_interpolator, basis, compiler, cut, squares, gap=0, put=put)
                yield f"interpolator {words(basis)} {cut} {squares}", case
    for squares, size, threshold in itertools.product((1, 2, 3), ((1, 1), (3, 4)), (None, 0.0)):
        case = partial(check_finisher, cpu, squares, threshold, size, 2, gap=0, put=put)
        yield f"finisher {squares} {size}", case
    yield from direct_cases(cpu, put)


def direct_cases(cpu: CpuBackend, put: Put) -> Iterator[tuple[str, Callable[[], None]]]:
    """List direct convolutions: of a single place, and of patches that overlap or don't."""
    for kernel, stride, (squares, rows) in itertools.product((1, 3), (1, 2), ((1, 11), (2, 34), (3, 51))):
        case = partial(check_direct, cpu, kernel, stride, squares, rows, put=put)
        yield f"direct {kernel} {stride} {squares}", case


def try_guards() -> None:
    """Show that guards work: touching the number beyond an array ends the process."""
    for at_end in (True, False):
        array = guarded(np.zeros(5, np.float32), at_end=at_end)
        child = os.fork()
        if not child:
            ctypes.c_float.from_address(array.ctypes.data + (array.nbytes if at_end else -4)).value = 1.0
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) in (signal.SIGSEGV, signal.SIGBUS)


def between_guards(lanes: int, registers: int) -> None:
    """Do all that is listed between guards, telling on stdout what comes next."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try_guards()
    compiler = Compiler(lanes, registers)
    count = 0
    for at_end in (True, False):
        for name, case in guarded_cases(compiler, partial(guarded, at_end=at_end)):
            sys.stdout.write(f"{'end' if at_end else 'beginning'} of {name}\n")
            sys.stdout.flush()
            case()
            count += 1
    sys.stdout.write(f"done: {count}\n")


def test_nothing_beyond_arrays_is_touched(compiler: Compiler) -> None:
    """Neither read nor written: a process of its own would die of it."""
    script = f"from tests import test_loops; test_loops.between_guards({compiler.lanes}, {compiler.registers})"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, (last, done.returncode, done.stderr)
    assert last[0].startswith("done: "), last
    assert int(last[0].removeprefix("done: ")) > 300
