"""Convolutions that use compiled kernels, for every kind of vectors: packing, cutting, pooling, and all algorithms."""

import itertools
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from overfeat_tools.backend import Compiler, CpuBackend
from overfeat_tools.backend import compiler as compiler_module
from overfeat_tools.convolution import Convolution, Geometry, bases, direct, gemm
from overfeat_tools.convolution.ending import Ending
from overfeat_tools.convolution.panels import TERMS, Products, panelled, runs
from overfeat_tools.convolution.plan import is_fused
from tests import reference
from tests.kernel_arrays import Array, assert_close, guarded, integers, normal, untouched
from tests.test_convolution import compute, error_of, layer, offered
from tests.test_transform_kernels import in_pairs


@pytest.fixture(scope="module")
def cpu(compiler: Compiler) -> CpuBackend:
    """Give a backend of two threads that has this compiler."""
    backend = CpuBackend(2)
    backend.__dict__["compiler"] = compiler
    return backend


# Products.


def check_products(cpu: CpuBackend, columns: int, length: int, shape: tuple[int, int], *, complex_: bool) -> None:
    """Compare all of some products of one run with numpy's."""
    assert cpu.compiler is not None
    (elements, panels), width = shape, 2 * cpu.compiler.lanes
    parts = 2 if complex_ else 1
    x = integers((elements, columns, parts, length), 1)
    weights = integers((elements, panels, length, parts, width // parts), 2)
    out = untouched((elements, columns, panels * width))
    Products(
        x, np.arange(columns, dtype=np.int64) * parts * length, runs((0,), length),
        weights.reshape(elements, panels, length, width), out, (length, panels * width // 2) if complex_ else None,
    ).compute(slice(0, elements * panels), cpu)  # fmt: skip
    real_or_complex = [
        values[:, :, 0] + 1j * values[:, :, 1] if complex_ else values[:, :, 0].astype(np.float64)
        for values in (x, weights.swapaxes(2, 3))
    ]
    product = np.einsum("ect,eptk->ecpk", *real_or_complex).reshape(elements, columns, -1)
    expected = np.concatenate([product.real, product.imag], axis=2) if complex_ else product
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("cache_bytes", [0, 1 << 15, 1 << 20])
@pytest.mark.parametrize("complex_", [False, True])
def test_sums_in_pieces(cache_bytes: int, *, complex_: bool, cpu: CpuBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a panel doesn't stay in the cache, all columns use a part of it, then all the next one."""
    monkeypatch.setattr(cpu, "cache_bytes", cache_bytes)
    for columns, length in itertools.product((3, 14), (TERMS, 5 * TERMS, 1100)):
        check_products(cpu, columns, length, (2, 2), complex_=complex_)


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


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("kernels", "channels"), [(8, 64), (6, 64), (8, 60), (1000, 96)])
def test_classifiers_of_a_few_pictures(
    columns: int, kernels: int, channels: int, cpu: CpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the sizes suit the kernels for few columns or not."""
    monkeypatch.setattr(cpu.compiler, "loaded", True)
    weight, bias, x = normal((kernels, channels, 3, 3), 1), normal((kernels,), 2), normal((columns, channels, 3, 3), 3)
    convolution = Convolution(weight, bias, backend=cpu, method="gemm")
    with cpu.computing():
        assert_close(convolution(x), reference.convolve(x, weight, bias))
    assert set(convolution.used) == {"gemm"}


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
    left = integers((5, terms), 3)
    out = untouched((5, len(panels) * width))
    Products(
        left[None], np.arange(5) * terms, runs((0,), terms), panels[None], out[None]
    ).compute(slice(0, len(panels)), cpu)  # fmt: skip
    np.testing.assert_array_equal(out, left.astype(np.float64) @ expected)


def test_panels(cpu: CpuBackend) -> None:
    """Whatever stood in their memory before, what is beyond the last column is zero."""
    for columns in (*range(1, 36), 47, 48, 49, 63, 64, 65, 100):
        cpu.scratch("panels", (1 << 14,), np.float32)[...] = np.nan
        check_panels(integers((11, columns)), cpu)


def test_panels_of_a_part_of_a_matrix(cpu: CpuBackend) -> None:
    """Its rows don't follow each other; some have just the width of a panel, and could be mistaken for one."""
    matrix = integers((11, 100))
    for columns in (1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 64):
        check_panels(matrix[:, 3 : 3 + columns], cpu)


def test_room_begins_on_a_line_of_the_cache(cpu: CpuBackend) -> None:
    """A vector on two lines would take twice the time; numpy's own arrays make all of them so."""
    for shape in ((), (1,), (3, 5), (1 << 16,)):
        for room in (cpu.empty(shape), cpu.scratch(f"{shape}", shape, np.float32)):
            assert room.shape == shape
            assert room.dtype == np.float32
            assert room.ctypes.data % 64 == 0


@pytest.mark.parametrize("size", [(4, 8), (4, 16), (3, 32), (5, 11)])
def test_products_of_a_map_in_stretches(
    size: tuple[int, int], cpu: CpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """A map too large to be multiplied at once by 1x1 kernels is cut into rows, each a part of the matrix."""
    monkeypatch.setattr(cpu.compiler, "loaded", True)
    convolution = Convolution(integers((6, 5, 1, 1)), integers((6,), 1), backend=cpu, method="gemm")
    x = integers((1, 5, *size), 2)
    monkeypatch.setattr(gemm, "_COLUMNS_BYTES", 5 * size[1] * 4)
    np.testing.assert_array_equal(
        compute(convolution, x), reference.convolve(x, convolution.weight, convolution.bias)
    )  # fmt: skip


def test_products_with_kernels_in_any_order(cpu: CpuBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read where they lie, which may be a part of something larger, turned around, or all one."""
    monkeypatch.setattr(cpu.compiler, "loaded", True)
    whole = integers((12, 14, 1, 1))
    x = integers((2, 7, 3, 11), 2)
    for weight in (
        whole[:, 3:10], whole[::2, :7], whole[::-1, :7], whole[:, ::2], whole[:, 6::-1],
        np.asfortranarray(whole)[:, :7], np.broadcast_to(whole[:1, :7], (5, 7, 1, 1)),
    ):  # fmt: skip
        convolution = Convolution(weight, integers((len(weight),), 1), backend=cpu, method="gemm")
        np.testing.assert_array_equal(compute(convolution, x), reference.convolve(x, weight, convolution.bias))


# Spectra and pools.


@pytest.mark.parametrize(("size", "kernel"), [(8, 3), (8, 7), (16, 5), (16, 11), (16, 16), (24, 7)])
def test_kernels_into_fourier_spectra(size: int, kernel: int) -> None:
    """A tile's spectrum times a kernel's matrices is the spectrum of their correlation, over what nobody divides by."""
    geometry = Geometry(1, size, size, 1, kernel, kernel)
    bins, real = bases.compiled_basis("fft", geometry, (size, size), Compiler(0, 0)).parts
    tile, weight = normal((size, size, 1)), normal((kernel, kernel, 1), 1)
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


def test_pooling_what_was_finished(cpu: CpuBackend) -> None:
    """Windows that stand on two tiles are pooled afterwards; the biases are in already."""
    assert cpu.compiler is not None
    x = normal((3, 7, 5, cpu.compiler.lanes))
    pooled = Ending(np.full(cpu.compiler.lanes, 9.0, np.float32), 5.0, cpu).pool(x, 2)
    np.testing.assert_array_equal(pooled.transpose(0, 3, 1, 2), reference.pool(x.transpose(0, 3, 1, 2), 2))


# All of them together.


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
@pytest.mark.parametrize(("squares", "rows"), [(1, 11), (2, 34), (3, 51)])
def test_direct_convolutions(
    kernel: int, stride: int, squares: int, rows: int, *, at_end: bool, cpu: CpuBackend
) -> None:
    """They use their map up, between pages that must not be touched; of its bands the last one is lower."""
    compiler = cpu.compiler
    assert compiler is not None
    height, width = ((outputs - 1) * stride + kernel for outputs in (rows, 2 * squares))
    x, kernels = integers((2, 3, height, width)), 3 * compiler.lanes
    weight, bias = integers((kernels, 3, kernel, kernel), 1), np.zeros(kernels, np.float32)
    geometry = Geometry(3, height, width, kernels, kernel, kernel, stride)
    expected = reference.pool(reference.convolve(x, weight, bias, stride=stride), squares).transpose(0, 2, 3, 1)
    panels, ending = guarded(direct.prepare(weight, geometry, cpu), at_end=at_end), Ending(bias, None, cpu)
    for pictures in (1, 2):
        maps = guarded(x[:pictures].transpose(0, 2, 3, 1), at_end=at_end)
        y = guarded(untouched(expected[:pictures].shape), at_end=at_end)
        direct.convolve(maps, panels, y, geometry, cpu, ending, squares)
        np.testing.assert_array_equal(y, expected[:pictures])


DIRECT = "gemm-direct"


@pytest.mark.parametrize("kernel", [1, 3, 5, 6, 7])
def test_every_compiled_way(kernel: int, cpu: CpuBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """With channels and kernels that fill vectors of this width, the last panel half full."""
    assert cpu.compiler is not None
    lanes = cpu.compiler.lanes
    options: dict[str, Any] = {"channels": lanes, "kernels": 3 * lanes, "padding": 1}
    tried = set()
    for pictures, size in ((1, (9, 16)), (3, (18, 7))):
        x = normal((pictures, lanes, *size))
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


def break_llvmlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let llvmlite be found, but have nothing of what it should."""
    module = ModuleType("llvmlite")
    module.__spec__ = ModuleSpec("llvmlite", None)
    monkeypatch.setitem(sys.modules, "llvmlite", module)
    for part in ("binding", "ir"):
        monkeypatch.delitem(sys.modules, f"llvmlite.{part}", raising=False)


def break_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no memory that was written to be executed."""
    monkeypatch.setattr(compiler_module, "_may_make_code", lambda: False)


@pytest.mark.parametrize("method", ["auto", "gemm", "cook-toom"])
@pytest.mark.parametrize("break_", [break_llvmlite, break_system])
def test_a_compiler_that_does_not_work_is_done_without(
    break_: Callable[[pytest.MonkeyPatch], None], method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    backend = CpuBackend(2)
    if backend.compiler is None:
        pytest.skip("nothing is compiled for this processor")
    break_(monkeypatch)
    if backend.compiler.cache:
        backend.compiler.cache.create()
    convolution = layer(backend, channels=16, kernels=16, method=method)
    for size in (9, 30):
        x = np.random.default_rng(0).standard_normal((4, 16, size, size), np.float32)
        assert error_of(convolution, x) < 8e-6
    assert backend.compiler is None
    assert all(way.startswith(("gemm", "fft", "cook-toom")) for way in convolution.used)
    assert DIRECT not in convolution.used
