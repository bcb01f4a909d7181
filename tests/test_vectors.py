"""Vectors of every width: whole networks with narrower ones than the processor's, and what is compiled for others."""

import importlib.util
import platform
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from overfeat_tools.backend import Compiler, CpuBackend, executor
from overfeat_tools.convolution.kernels.matmul import block_columns, matmul_kernel, panel_width
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import TINY
from tests import reference
from tests.kernel_arrays import Array

PICTURES = np.random.default_rng(7).integers(0, 256, (5, 231, 231, 3), np.uint8)
SCRIPT = Path(__file__).parent.parent / "benchmarks" / "instructions.py"


@pytest.fixture(scope="module")
def expected(without_compiler: CpuBackend) -> Array:
    """Give the features that numpy computes."""
    return Network(TINY, None, without_compiler).run(PICTURES, TINY.feature_layer)


@pytest.mark.parametrize("compiler", ["avx2", "128 bits"], indirect=True)
def test_a_whole_network(compiler: Compiler, expected: Array) -> None:
    """As on a processor that has no wider vectors; of all algorithms, in one order for any batch."""
    backend = CpuBackend(2)
    backend.compiler = compiler
    network = Network(TINY, None, backend, reproducible=True)
    features = network.run(PICTURES, TINY.feature_layer)
    assert str(backend).endswith(f"kernels compiled for vectors of {compiler.lanes}")
    assert reference.distance(features, expected) < 4e-6
    assert network.run(PICTURES[2:3], TINY.feature_layer).tobytes() == features[2:3].tobytes()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Give the script that compiles for other processors."""
    binding = pytest.importorskip("llvmlite.binding")
    binding.initialize_all_targets()
    try:
        for triple in ("x86_64-linux-gnu", "aarch64-linux-gnu"):
            binding.Target.from_triple(triple)
    except RuntimeError as error:
        pytest.skip(str(error))
    specification = importlib.util.spec_from_file_location("instructions", SCRIPT)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "processor", ["AVX-512 (Skylake)", "AVX2 (Haswell)", "NEON (Neoverse N1)", "NEON (Neoverse V1)", "NEON (Apple M1)"]
)
def test_sums_stay_in_registers(processor: str, script: ModuleType) -> None:
    """The product's inner loop does little but multiply, on processors that nobody here has, too."""
    compiler = script.CrossCompiler(*script.PROCESSORS[processor])
    matmul_kernel(compiler, panel_width(compiler))
    columns = block_columns(compiler)
    loop = script.inner_loop(compiler.functions[f"microkernel_{columns}"])
    assert script.multiplications(loop) == 4 * 2 * columns
    assert script.on_stack(loop) == 0
    assert len(loop) < (1.3 if compiler.lanes == 4 else 2.0) * script.multiplications(loop)


@pytest.mark.parametrize(
    ("processor", "machine", "system", "instructions"),
    [
        ("AVX2 (Haswell)", "x86_64", "linux", {"pause"}),
        ("NEON (Neoverse N1)", "aarch64", "linux", {"isb", "ldar", "stlr"}),
        ("NEON (Apple M1)", "arm64", "darwin", {"isb", "ldar", "stlr"}),
    ],
)
def test_the_executor_elsewhere(
    processor: str, machine: str, system: str, instructions: set[str], script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It is compiled for each system with that one's way to wait, and with what keeps memory in order."""
    compiler = script.CrossCompiler(*script.PROCESSORS[processor])
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", system)
    compiler.function("executor", b"", executor.build)
    used = {line.split()[0] for lines in compiler.functions.values() for line in lines}
    assert instructions <= used
    clock = "6" if system == "darwin" else "1"
    assert f"@clock_gettime(i32 {clock}," in executor.build(None, "executor")
