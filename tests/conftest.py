"""Fixtures shared by the tests: backends, weights of full size, the original's recorded outputs."""

import gzip
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, settings
from threadpoolctl import threadpool_limits

from overfeat_tools.backend import Backend, Compiler, CpuBackend, cublas, open_backend
from overfeat_tools.backend.code_cache import CodeCache
from overfeat_tools.backend.compiler import open_compiler
from overfeat_tools.convolution import card_kernels
from overfeat_tools.errors import BackendError
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import TOPOLOGIES
from tests import cupy_stand_in, loopback, synthetic_weights

# A shell starts what it puts in the background with SIGINT ignored, and processes pass that on; the
# programs under test must be able to get it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests for cards, tried without one: what needs a card to be found are the numbers of its libraries, not our slips.
if os.environ.get("OVERFEAT_TEST_CARD") == "stand-in":
    sys.modules.update(cupy_stand_in.modules())
    cublas.load_library = cupy_stand_in.Cublas
    card_kernels._THREADS_OF_FEW_ROWS = card_kernels._THREADS_OF_FEW_CHANNELS = 8  # noqa: SLF001 -- the processor's

REFERENCE_DATA = Path(__file__).parent / "reference_data"

# No deadline: a test that fails on a busy machine says nothing about the program.
settings.register_profile("tests", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(scope="session")
def backend() -> CpuBackend:
    """Give a backend of two threads, whatever the machine has."""
    return CpuBackend(2)


@pytest.fixture(scope="session")
def without_compiler() -> CpuBackend:
    """Give a backend on which numpy does everything, as on a processor that no kernels are compiled for."""
    return CpuBackend(2, compiling=False)


VECTORS = {"avx512": (16, 32), "avx2": (8, 16), "128 bits": (4, 32)}
"""Floats of a vector, and vector registers; wide vectors need a processor that has them."""


@pytest.fixture(scope="session")
def kernels_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder for kernels, empty at first, that all processes of this run of the tests share."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kernels"


@pytest.fixture(scope="session", params=VECTORS)
def compiler(request: pytest.FixtureRequest, kernels_folder: Path) -> Compiler:
    """Give a compiler for each kind of vectors, with a cache of its own."""
    lanes, registers = VECTORS[request.param]
    best = open_compiler()
    if best is None or best.lanes < lanes:
        pytest.skip("this processor has no vectors so wide, or nothing is compiled for it")
    return Compiler(lanes, registers, CodeCache(kernels_folder / request.param))


@pytest.fixture(scope="session")
def graphics_card() -> Backend:
    """Give the graphics card, or skip the test where none works."""
    try:
        return open_backend("cuda")
    except BackendError as error:
        pytest.skip(str(error))


CARDS = [pytest.param("graphics_card", marks=pytest.mark.gpu)] if importlib.util.find_spec("cupy") else []


@pytest.fixture(params=["backend", "without_compiler", *CARDS])
def device(request: pytest.FixtureRequest) -> Backend:
    """Give each device in turn, for tests of numbers."""
    backend: Backend = request.getfixturevalue(request.param)
    return backend


@pytest.fixture(scope="session", autouse=True)
def _one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread in each of ours, as `Network.run` does: else they fight for the processors.

    Not by `computing()`: a thread of another library that forks would wait for its end.
    """
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture(scope="session")
def weights() -> Callable[[str], Path]:
    """Give a function that makes a network's synthetic weights once and gives their folder."""
    return lambda network: synthetic_weights.ensure(network).parent


@pytest.fixture(scope="session")
def open_network(weights: Callable[[str], Path], backend: CpuBackend) -> Callable[..., Network]:
    """Give a function that opens a network with weights of full size."""
    return lambda name, method="auto", on=backend: Network(TOPOLOGIES[name], weights(name), on, method)


def recorded_ppm(name: str) -> bytes:
    """Give an input picture of the record, as the PPM file it was."""
    return gzip.decompress((REFERENCE_DATA / f"{name}.ppm.gz").read_bytes())


def recorded_picture(name: str) -> npt.NDArray[np.uint8]:
    """Give an input picture of the record, (H, W, 3) uint8; read here without the package's parser."""
    magic, size, maxval, raster = recorded_ppm(name).split(b"\n", 3)
    assert (magic, maxval) == (b"P6", b"255")
    width, height = map(int, size.split())
    return np.frombuffer(raster, np.uint8).reshape(height, width, 3)


@pytest.fixture
def download_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what lies between a download test and its loopback server and temporary folder."""
    monkeypatch.setattr("os.fsync", lambda _: None)  # nobody pulls the plug here, and it takes long on a busy disk
    monkeypatch.setattr("ssl.SSLContext.load_verify_locations", lambda *_, **__: None)  # so does this, for each client
    loopback.be_impatient(monkeypatch.setattr)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
