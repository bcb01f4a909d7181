"""What is chosen, and what is prepared when: never at more than twice the best possible cost."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfeat_tools.backend import CpuBackend
from overfeat_tools.convolution import RATES, Convolution, Geometry, Ledger, rates_of
from overfeat_tools.convolution.algorithm import Algorithm
from overfeat_tools.convolution.planner import Estimate, choose, estimate, list_algorithms

CONV5 = Geometry(1024, 12, 12, 1024, 3, 3, padding=1)
GEOMETRIES = [
    Geometry(3, 231, 231, 96, 11, 11, stride=4),
    Geometry(96, 28, 28, 256, 5, 5),
    Geometry(256, 12, 12, 512, 3, 3, padding=1),
    CONV5,
    Geometry(1024, 6, 6, 3072, 6, 6),
    Geometry(1024, 30, 40, 3072, 6, 6),
    Geometry(96, 36, 36, 256, 7, 7),
    Geometry(4096, 1, 1, 1000, 1, 1),
]
RATE = RATES["cpu"]


def device(*, compiling: bool) -> CpuBackend:
    """Give a backend to plan for: with kernels loaded, or without a compiler."""
    backend = CpuBackend(2, compiling=compiling)
    if compiling and backend.compiler is None:
        pytest.skip("no kernels are compiled for this processor")
    if backend.compiler:
        backend.compiler.loaded = True
        backend.compiler.usable = lambda: True  # type: ignore[method-assign]
    return backend


@pytest.fixture(params=["compiled", "portable"])
def planning(request: pytest.FixtureRequest) -> CpuBackend:
    """Give each kind of backend."""
    return device(compiling=request.param == "compiled")


class Planner:
    """A convolution of one geometry that only plans; packed weights become no more than a note."""

    def __init__(self, geometry: Geometry, backend: CpuBackend, ledger: Ledger | None = None) -> None:
        shape = (geometry.kernels, geometry.channels, geometry.kernel_height, geometry.kernel_width)
        weight = np.broadcast_to(np.float32(0), shape)  # of full size in no memory
        self.ledger = ledger or Ledger(RATE, compiler=backend.compiler)
        self.convolution = Convolution(
            weight, np.zeros(shape[0], np.float32), backend=backend, stride=geometry.stride,
            padding=geometry.padding, ledger=self.ledger,
        )  # fmt: skip
        self.geometry, self.packed, self.backend = geometry, self.convolution.packed, backend

    @property
    def loaded(self) -> bool:
        """Whether compiled kernels can be used at once."""
        return self.backend.compiler is not None and self.backend.compiler.loaded

    def estimates(self, pictures: int) -> list[Estimate]:
        """List what there is to choose from."""
        return estimate(list_algorithms(self.geometry, self.backend), pictures, RATE)

    def batch(self, pictures: int) -> tuple[Algorithm, float]:
        """Plan a batch; give the algorithm and what it costs, packing included."""
        algorithm = self.convolution.choose(pictures, self.geometry)
        seconds = algorithm.seconds(pictures, RATE)
        if algorithm.packed_bytes and algorithm.packing not in self.packed:
            seconds += algorithm.packing_seconds(RATE)
            self.packed.clear()
            self.packed[algorithm.packing] = []
            self.convolution._account.replace(algorithm.packed_bytes)  # noqa: SLF001 -- as packing would
        return algorithm, seconds


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("pictures", [1, 2, 32])
def test_first_batch_prepares_only_what_it_pays_back(geometry: Geometry, pictures: int, planning: CpuBackend) -> None:
    planner = Planner(geometry, planning)
    algorithm, seconds = planner.batch(pictures)
    gemm = choose(planner.estimates(pictures), (), kernels_loaded=planner.loaded)
    assert seconds <= gemm.seconds
    gain = gemm.seconds - algorithm.seconds(pictures, RATE)
    assert not algorithm.packed_bytes or algorithm.packing_seconds(RATE) < gain


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("batches", [[1] * 400, [32] * 60, [1, 2, 64, 3, 8, 1] * 40, [1] * 50 + [64] * 20])
def test_never_twice_the_best_time(geometry: Geometry, batches: list[int], planning: CpuBackend) -> None:
    """The claim of `Ledger`, at every length of the stream.

    The best possible: one algorithm known beforehand, prepared at the start, or none prepared at all.
    """
    planner = Planner(geometry, planning)
    taken, best = 0.0, {str(one): one.packing_seconds(RATE) for one, _ in planner.estimates(1)}
    for number, pictures in enumerate(batches):
        taken += planner.batch(pictures)[1]
        for algorithm, seconds in planner.estimates(pictures):
            best[str(algorithm)] += seconds
        assert taken <= 2.0 * min(best.values()) * (1 + 1e-9), f"after {number + 1} batches"


def test_every_preparation_pays_back_by_itself(planning: CpuBackend) -> None:
    """What packed weights would have saved over gemm is no reason to pack once others are there that save the same."""
    for geometry, batches in itertools.product(GEOMETRIES, ([1] * 60, [32] * 20)):
        planner = Planner(geometry, planning)
        saved: Counter[str] = Counter()
        for number, pictures in enumerate(batches):
            found = planner.estimates(pictures)
            ready = choose(found, planner.packed, kernels_loaded=planner.loaded)
            for algorithm, seconds in found:
                saved[str(algorithm)] += max(0.0, ready.seconds - seconds)  # type: ignore[assignment]
            before = set(planner.packed)
            chosen, _ = planner.batch(pictures)
            if set(planner.packed) != before:
                assert saved[str(chosen)] >= chosen.packing_seconds(RATE), f"{chosen} at batch {number + 1}"
                saved.clear()


def test_large_batches_prepare_at_once(planning: CpuBackend) -> None:
    """A stream begins with one picture; what the first large batch packs is not thrown away four batches later."""
    for geometry in GEOMETRIES:
        planner = Planner(geometry, planning)
        planner.batch(1)
        first = planner.batch(64)[0]
        assert [planner.batch(64)[0] for _ in range(7)] == [first] * 7, geometry


def test_all_layers_pay_for_loading_kernels() -> None:
    """None begins with a compiled algorithm before all together have missed what loading takes; then all may."""
    backend = device(compiling=True)
    assert backend.compiler
    backend.compiler.loaded = False
    ledger = Ledger(RATE, compiler=backend.compiler)
    planners = [Planner(geometry, backend, ledger) for geometry in GEOMETRIES[:4]]
    missed = 0.0
    for _ in range(200):
        for planner in planners:
            found = planner.estimates(1)
            fastest = min(seconds for algorithm, seconds in found if algorithm.is_compiled)
            missed += max(0.0, choose(found, planner.packed, kernels_loaded=planner.loaded).seconds - fastest)
            algorithm, _ = planner.batch(1)
            assert not algorithm.is_compiled or missed > 0.049
        if missed > 2.0:
            break
    assert all(planner.batch(1)[0].is_compiled for planner in planners)


@pytest.mark.parametrize("limit_bytes", [0, 100e6, 200e6, 400e6])
def test_limit_of_packed_weights(limit_bytes: float) -> None:
    backend = device(compiling=True)
    planner = Planner(CONV5, backend, Ledger(RATE, limit_bytes, backend.compiler))
    for _ in range(100):
        planner.batch(32)
    held = planner.convolution._account.packed_bytes  # noqa: SLF001 -- what is limited
    assert held <= limit_bytes
    assert held or limit_bytes < 160e6


def test_limit_of_packed_weights_of_many_map_sizes() -> None:
    """The weights of all tile sizes count together."""
    backend = device(compiling=True)
    planner = Planner(CONV5, backend, Ledger(RATE, 400e6, backend.compiler))
    for size in range(12, 60, 3):
        planner.geometry = Geometry(1024, size, size + 2, 1024, 3, 3, padding=1)
        for _ in range(30):
            planner.batch(8)
            assert planner.convolution._account.packed_bytes <= 400e6  # noqa: SLF001 -- what is limited


def test_the_classifiers_weights_are_not_copied() -> None:
    """Where the patches lie as they should, half a gigabyte in another order gains nothing."""
    for geometry in GEOMETRIES:
        if geometry.covers_map or geometry.is_pointwise:
            algorithms = list_algorithms(geometry, device(compiling=True))
            assert "indirect" not in {str(algorithm) for algorithm in algorithms}, geometry


@given(st.sampled_from(GEOMETRIES), st.integers(1, 64), st.booleans())
def test_choice_depends_on_its_arguments_alone(geometry: Geometry, pictures: int, compiling: bool) -> None:  # noqa: FBT001
    backend = device(compiling=compiling)
    found = estimate(list_algorithms(geometry, backend), pictures, RATE)
    assert found == estimate(list_algorithms(geometry, backend), pictures, RATE)
    assert [one.seconds for one in found] == sorted(one.seconds for one in found)
    names = [str(one.algorithm) for one in found]
    assert len(set(names)) == len(names)
    assert names.count("gemm") == 1
    assert all((one.algorithm.packed_bytes > 0) == (str(one.algorithm) not in {"gemm", "unpacked"}) for one in found)
    assert all(one.seconds > 0 and one.algorithm.packing_seconds(RATE) >= 0 for one in found)
    for packed in (set(), {found[0].algorithm.packing}, set(names)):
        assert choose(found, packed, kernels_loaded=True) == next(
            one for one in found if not one.algorithm.packed_bytes or one.algorithm.packing in packed
        )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
def test_what_a_pool_drops_is_not_planned_for(stride: int, padding: int) -> None:
    for height, width, pool_size in itertools.product(range(5, 24), (5, 18, 23), (1, 2, 3)):
        whole = Geometry(3, height, width, 5, 5, 5, stride, padding)
        wanted = whole.cropped(pool_size)
        sides = [(whole.out_height, wanted.out_height), (whole.out_width, wanted.out_width)]
        if min(whole.out_height, whole.out_width) < pool_size:
            assert wanted == whole  # there is no window
        else:
            assert all(left == out - out % pool_size for out, left in sides)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_pool_that_is_not_held_costs_a_pass_over_the_map(geometry: Geometry, planning: CpuBackend) -> None:
    found = list_algorithms(geometry, planning)
    for pool_size in (1, 2, 3):
        for algorithm, seconds in estimate(found, 16, RATE, pool_size):
            assert (seconds == algorithm.seconds(16, RATE)) == algorithm.holds(pool_size), str(algorithm)


def test_rates_of_threads() -> None:
    """Those of two are as they are; computing grows with the threads, reading memory to three times as much at most."""
    assert RATE.for_threads(2) == RATE
    found = [RATE.for_threads(threads) for threads in (1, 2, 4, 8, 16, 64)]
    assert [rates.compiled_flops / RATE.compiled_flops for rates in found] == [0.5, 1, 2, 4, 8, 32]
    read = [rates.memory_bytes / RATE.memory_bytes for rates in found]
    assert read == sorted(set(read))
    assert read[0] > 0.5
    assert 2 < read[-1] < 3


def test_rates_of_narrow_vectors() -> None:
    """With vectors of 4 all that computes takes twice the time, and reading memory as long as ever."""
    assert RATE.for_lanes(16) == RATE.for_lanes(8) == RATE
    narrow = RATE.for_lanes(4)
    assert narrow.compiled_seconds(1e9, 0) == 2 * RATE.compiled_seconds(1e9, 0)
    assert narrow.compiled_seconds(0, 1e9) == RATE.compiled_seconds(0, 1e9)
    assert narrow.blas_seconds(1e12, 1000, 0) == 2 * RATE.blas_seconds(1e12, 1000, 0)
    backend = device(compiling=True)
    assert backend.compiler
    backend.compiler.lanes = 4
    assert rates_of(backend) == narrow.for_threads(backend.parallel)
