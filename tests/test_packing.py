"""Packed weights and the products made of them, and every compiled algorithm, for each kind of vectors."""

import itertools

import numpy as np
import pytest

from overfeat_tools.backend import Compiler, CpuBackend
from overfeat_tools.convolution.geometry import Geometry
from overfeat_tools.convolution.packing import TERMS, Products, pack_panel, runs
from overfeat_tools.convolution.unpacked import Unpacked
from tests import reference
from tests.kernel_arrays import integers, normal, untouched
from tests.test_algorithms import expected, layer, offered, run, tolerance


@pytest.fixture(scope="module")
def cpu(compiler: Compiler) -> CpuBackend:
    """Give a backend of two threads that has this compiler, with kernels loaded."""
    backend = CpuBackend(2)
    backend.__dict__["compiler"] = compiler
    compiler.loaded = compiler.usable()
    return backend


@pytest.mark.parametrize("cache_bytes", [0, 1 << 15, 1 << 20])
@pytest.mark.parametrize("is_complex", [False, True])
def test_products(cache_bytes: int, *, is_complex: bool, cpu: CpuBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a panel doesn't stay in the cache, all rows use a part of it, then all the next one."""
    assert cpu.compiler is not None
    monkeypatch.setattr(cpu, "cache_bytes", cache_bytes)
    elements, panels, width = 2, 2, 2 * cpu.compiler.lanes
    parts = 2 if is_complex else 1
    for rows, length in itertools.product((3, 14), (TERMS, 5 * TERMS, 1100)):
        x = integers((elements, rows, parts, length), 1)
        weights = integers((elements, panels, length, parts, width // parts), 2)
        out = untouched((elements, rows, panels * width))
        products = Products(
            x, rows * parts * length, np.arange(rows, dtype=np.int64) * parts * length, runs((0,), length),
            weights.reshape(elements, panels, length, width), out, (rows * panels * width, panels * width),
            (length, panels * width // 2) if is_complex else None,
        )  # fmt: skip
        cpu.launch([products.calls(slice(0, elements * panels), cpu)])
        left, right = (
            values[:, :, 0] + 1j * values[:, :, 1] if is_complex else values[:, :, 0].astype(np.float64)
            for values in (x, weights.swapaxes(2, 3))
        )
        product = np.einsum("ect,eptk->ecpk", left, right).reshape(elements, rows, -1)
        answer = np.concatenate([product.real, product.imag], axis=2) if is_complex else product
        np.testing.assert_array_equal(out, answer)


def test_runs() -> None:
    """They are the ones asked for, in their order, in equal lengths that make sums of no more than so many terms."""
    lengths, most = (*range(1, 300), 509, 512, 768, 1000, 4096), (64, TERMS)
    for length, starts, terms in itertools.product(lengths, ((0,), (5, 3, 900)), most):
        found = runs(starts, length, terms)
        places = np.add.outer(found.offsets, np.arange(found.length)).ravel()
        np.testing.assert_array_equal(places, np.add.outer(starts, np.arange(length)).ravel())
        assert found.terms == len(places)
        assert 1 <= found.group * found.length <= terms
        assert found.length == length or length > terms


@pytest.mark.parametrize("kernels", [1, 8, 15, 16, 17, 40])
def test_panels_of_weights(kernels: int) -> None:
    """Whatever stood in their memory before, what is beyond the last kernel is zero."""
    weight = integers((kernels, 3, 2, 4))
    for number in range(-(-kernels // 16)):
        panel = np.full((8, 3, 16), np.nan, np.float32)
        pack_panel(weight, number, panel)
        for j in range(16):
            k = 16 * number + j
            taps = weight[k].reshape(3, 8).T if k < kernels else np.zeros((8, 3))
            np.testing.assert_array_equal(panel[..., j], taps)


def test_panels_of_patches(cpu: CpuBackend) -> None:
    """A few positions go into a panel of one vector; what is beyond the last one is zero, whatever stood there."""
    assert cpu.compiler is not None
    lanes = cpu.compiler.lanes
    for rows in (*range(1, 36), 47, 48, 49, 63, 64, 65, 100):
        cpu.workspace("patches", (1 << 14,))[...] = np.nan
        x = integers((rows, 1, 1, 11))
        panels = Unpacked(Geometry(11, 1, 1, 5, 1, 1), cpu)._panels(x, rows)  # noqa: SLF001 -- what the kernel reads
        width = panels.shape[2]
        assert width == (lanes if rows <= lanes else 2 * lanes)
        answer = np.zeros((11, len(panels) * width))
        answer[:, :rows] = x[:, 0, 0].T
        np.testing.assert_array_equal(panels.transpose(1, 0, 2).reshape(11, -1), answer)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 33])
@pytest.mark.parametrize(("kernels", "channels"), [(8, 64), (6, 64), (8, 60), (1000, 96)])
def test_classifiers(rows: int, kernels: int, channels: int, cpu: CpuBackend) -> None:
    """Whether the sizes suit the kernel for few rows or not."""
    convolution, x = layer(cpu, channels=channels, kernels=kernels, method="gemm"), normal((rows, 3, 3, channels), 3)
    with cpu.computing():
        # Whatever stood in the memory for patches before.
        cpu.workspace("patches", (1 << 16,), np.float32)[...] = np.nan
        assert reference.distance(convolution(x), expected(convolution, x)) < 3e-6
    assert set(convolution.used) == {"unpacked"}


@pytest.mark.parametrize(("kernel", "size"), [(3, (9, 13)), (5, (17, 12)), (7, (21, 26))])
def test_compiled_algorithms(kernel: int, size: tuple[int, int], cpu: CpuBackend) -> None:
    x, tried = normal((2, *size, 32), 3), set()
    convolution = layer(cpu, (kernel, kernel), channels=32, kernels=48, padding=1)
    for pool_size in (1, 2):
        answer = reference.pool(expected(convolution, x).transpose(0, 3, 1, 2), pool_size).transpose(0, 2, 3, 1)
        for algorithm in offered(convolution, *size, pool_size):
            if str(algorithm) in {"indirect", "cook-toom 6x6", "cook-toom 7x8", "cook-toom 9x8 trimmed", "fft 16x16"}:
                error = reference.distance(run(convolution, algorithm, x, pool_size), answer)
                assert error < tolerance(algorithm.method), str(algorithm)
                tried.add(str(algorithm))
    assert len(tried) > 1


def test_memory_begins_on_a_line_of_the_cache(cpu: CpuBackend) -> None:
    """A vector on two lines would take twice the time; numpy's own arrays make all of them so."""
    for shape in ((), (1,), (3, 5), (1 << 16,)):
        for memory in (cpu.empty(shape), cpu.workspace(f"{shape}", shape, np.float32)):
            assert (memory.shape, memory.dtype, memory.ctypes.data % 64) == (shape, np.float32, 0)
