"""No kernel reads or writes beyond the ends of its arrays: they lie between pages that must not be touched."""

import ctypes
import itertools
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from overfeat_tools.backend import Compiler
from overfeat_tools.backend.code_cache import CodeCache
from overfeat_tools.convolution.kernels.gemv import max_columns, terms_multiple
from tests.kernel_arrays import Put, guarded
from tests.test_kernels import (
    check_complex_matmul,
    check_epilogue,
    check_gemv,
    check_indirect_convolution,
    check_matmul,
)
from tests.test_transform_kernels import BASES, check_forward, check_inverse, cuts, words

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 120.0  # for what would never come, not a measure of speed

Case = tuple[str, Callable[[], None]]


def product_cases(compiler: Compiler, put: Put) -> Iterator[Case]:
    """List products and epilogues."""
    for columns, length, vectors in itertools.product((1, 7, 12, 13, 40), (1, 4, 6, 300), (1, 2)):
        for starts, step in (((0,), None), ((0, length + 3), 1)):
            reads = starts, length
            case = partial(check_matmul, compiler, columns, reads, (2, 2, vectors), step=step, gap=0, put=put)
            yield f"product {columns} {reads} {vectors}", case
    for columns, length in itertools.product((1, 7, 12, 13, 40), (1, 4, 6, 300)):
        case = partial(check_complex_matmul, compiler, columns, length, (2, 2), gap=0, put=put)
        yield f"complex product {columns} {length}", case
    for window, stride in itertools.product((1, 3), (1, 2)):
        size = 6 * stride + window, 8 * stride + window
        case = partial(check_indirect_convolution, compiler, 3, (window, window), size, stride, put=put)
        yield f"convolution {window} {stride}", case
    least = terms_multiple(compiler)
    for columns, terms in itertools.product((1, max_columns(compiler)), (least, 4096 + least)):
        yield f"gemv {columns} {terms}", partial(check_gemv, compiler, columns, terms, gap=0, put=put)
    for pool_size, size, threshold in itertools.product((1, 2, 3), ((1, 1), (3, 4)), (None, 0.0)):
        case = partial(check_epilogue, compiler, pool_size, threshold, size, 2, gap=0, put=put)
        yield f"epilogue {pool_size} {size}", case


def transform_cases(compiler: Compiler, put: Put) -> Iterator[Case]:
    """List transforms, with maps of all sizes."""
    for basis in BASES:
        for cut, padding in itertools.product(cuts(basis.outputs), (0, 2)):
            case = partial(check_forward, basis, compiler, cut, padding=padding, gap=0, put=put)
            yield f"forward {words(basis)} {cut} {padding}", case
        for pool_size in range(1, min(3, *basis.outputs) + 1):
            for cut in cuts((basis.outputs[0] // pool_size, basis.outputs[1] // pool_size)):
                case = partial(check_inverse, basis, compiler, cut, pool_size, gap=0, put=put)
                yield f"inverse {words(basis)} {cut} {pool_size}", case


def try_guards() -> None:
    """Show that guards work: touching the item beyond an array ends the process."""
    for at_end in (True, False):
        array = guarded(np.zeros(5, np.float32), at_end=at_end)
        child = os.fork()
        if not child:
            ctypes.c_float.from_address(array.ctypes.data + (array.nbytes if at_end else -4)).value = 1.0
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) in (signal.SIGSEGV, signal.SIGBUS)


def main(lanes: int, registers: int, cache: str) -> None:
    """Do all that is listed, telling on stdout what comes next."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try_guards()
    compiler = Compiler(lanes, registers, CodeCache(Path(cache)))
    count = 0
    for at_end in (True, False):
        put = partial(guarded, at_end=at_end)
        for name, case in itertools.chain(product_cases(compiler, put), transform_cases(compiler, put)):
            sys.stdout.write(f"{'end' if at_end else 'beginning'} of {name}\n")
            sys.stdout.flush()
            case()
            count += 1
    sys.stdout.write(f"done: {count}\n")


@pytest.mark.parametrize(
    "compiler",
    ["avx512", *(pytest.param(name, marks=pytest.mark.long) for name in ("avx2", "128 bits"))],
    indirect=True,
)
def test_nothing_beyond_arrays_is_touched(compiler: Compiler) -> None:
    """Neither read nor written: a process of its own would die of it."""
    assert compiler.cache is not None
    arguments = compiler.lanes, compiler.registers, str(compiler.cache.folder)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"from tests import test_kernel_bounds as it; it.main{arguments}"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, (last, done.returncode, done.stderr)
    assert last[0].startswith("done: "), last
    assert int(last[0].removeprefix("done: ")) > 300
