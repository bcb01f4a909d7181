"""Every way to convolve gives what the definition gives, on every geometry, by itself.

Each method is run with the other forbidden, so that no silent fallback can hide a broken one.
"""

import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from overfeat_tools.backend import Backend, CpuBackend
from overfeat_tools.convolution import Budget, Convolution, Geometry, Way, direct, fused, gemm, rows
from overfeat_tools.convolution.fused import FusedTiles
from overfeat_tools.convolution.plan import Rates, ways
from overfeat_tools.convolution.product import multiply
from overfeat_tools.convolution.transform import Tiled
from overfeat_tools.networks.layers import Rectify
from tests import reference

Array = npt.NDArray[np.float32]

# Single precision: the sums are of some hundred products; Fourier and Cook-Toom lose a few bits more, and Cook-Toom's
# largest tiles two more where there are few channels.
TOLERANCE = 3e-6
TOLERANCE_OF_LARGE_TILES = 8e-6
LARGE_TILE = 7


def tolerance(method: str, size: int = LARGE_TILE) -> float:
    """Give the error allowed to a method that may use tiles of this size."""
    return TOLERANCE_OF_LARGE_TILES if method in {"cook-toom", "auto"} and size >= LARGE_TILE else TOLERANCE


KERNELS = (1, 3, 5, 6, 7, 11)
BATCHES = (1, 2, 3, 7)

# Channels and kernels: too few for vectors, and such as fill them, the last panel perhaps not.
ODD, VECTORS = (3, 5), (16, 48)


def random(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Give normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def layer(
    backend: Backend,
    kernel: tuple[int, int] = (3, 3),
    *,
    channels: int = 3,
    kernels: int = 5,
    method: str = "auto",
    **options: float,
) -> Convolution:
    """Give a small convolution with random weights."""
    weight, bias = random((kernels, channels, *kernel), 1), random((kernels,), 2)
    return Convolution(weight, bias, backend=backend, method=method, **options)  # type: ignore[arg-type]


def offered(convolution: Convolution, geometry: Geometry, pictures: int) -> list[Way]:
    """List the ways that a convolution chooses from."""
    return ways(geometry, pictures, Rates(), convolution._panel_width)  # noqa: SLF001 -- what is tested


def compute(convolution: Convolution, x: Array, threshold: float | None = None, squares: int = 1) -> Array:
    """Bring a batch to the device and the result back."""
    backend = convolution._backend  # noqa: SLF001 -- where it was told to compute
    with backend.computing():
        result = backend.download(convolution(backend.upload(x), threshold, squares))
    return result()


def error_of(convolution: Convolution, x: Array) -> float:
    """Give the distance from the oracle."""
    expected = reference.convolve(x, convolution.weight, convolution.bias, convolution.stride, convolution.padding)
    return reference.distance(compute(convolution, x), expected)


def map_sizes(kernel: int) -> list[tuple[int, int]]:
    """List map sizes: one place, smaller than any tile, odd, even, oblong both ways, several tiles."""
    return [(kernel, kernel), (kernel + 1, kernel + 4), (15, 15), (16, 28), (31, 17), (43, 12), (12, 47)]


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give a function that forbids every method but one."""

    def forbidden(*_: object) -> None:
        pytest.fail("another method was used")

    def forbid(method: str) -> None:
        if method == "gemm":
            monkeypatch.setattr(Tiled, "convolve", forbidden)
            monkeypatch.setattr(FusedTiles, "convolve", forbidden)
        else:
            for module in (gemm, rows, direct):
                monkeypatch.setattr(module, "convolve", forbidden)

    return forbid


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("kernel", KERNELS)
def test_gemm(kernel: int, stride: int, padding: int, device: Backend, only: Callable[[str], None]) -> None:
    only("gemm")
    convolution = layer(device, (kernel, kernel), stride=stride, padding=padding, method="gemm")
    for (height, width), pictures in itertools.product(map_sizes(kernel), BATCHES):
        x = random((pictures, 3, height, width))
        if min(height, width) + 2 * padding >= kernel:
            assert error_of(convolution, x) < TOLERANCE, (height, width, pictures)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("unfolding", ["gemm", "gemm-rows", "gemm-direct"])
def test_every_unfolding(
    unfolding: str, kernel: int, stride: int, padding: int, device: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two layouts of unfolded patches, and none, whichever the planner would choose."""
    if unfolding == "gemm-direct" and device.compiler is None:
        pytest.skip("it is compiled")
    channels, kernels = VECTORS if unfolding == "gemm-direct" else ODD
    tried = 0
    for (height, width), pictures in itertools.product(map_sizes(kernel), BATCHES):
        if min(height, width) + 2 * padding < kernel:
            continue
        options = {"channels": channels, "kernels": kernels, "stride": stride, "padding": padding}
        convolution = layer(device, (kernel, kernel), **options)
        for way in offered(convolution, convolution.geometry(height, width), pictures):
            if way.method == unfolding:
                monkeypatch.setattr(convolution, "choose", lambda *_, way=way: way)
                error = error_of(convolution, random((pictures, channels, height, width)))
                assert error < TOLERANCE, (height, width, pictures)
                tried += 1
    assert tried > 1


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(
    ("method", "kernel"), [*(("fft", k) for k in KERNELS if k > 1), *(("cook-toom", k) for k in (3, 5, 6))]
)
@pytest.mark.parametrize("sizes", [ODD, VECTORS])
def test_every_tile_size(
    sizes: tuple[int, int], method: str, kernel: int, padding: int, device: Backend, only: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Each tile size that the planner may offer, not only the one that it likes best here."""
    if sizes == VECTORS and device.compiler is None:
        pytest.skip("the other sizes are enough for numpy")
    only(method)
    channels, kernels = sizes
    options = {"channels": channels, "kernels": kernels, "padding": padding}
    convolution = layer(device, (kernel, kernel), **options)
    tried = set()
    for height, width in map_sizes(kernel):
        if min(height, width) + 2 * padding < kernel:
            continue
        geometry = convolution.geometry(height, width)
        for pictures in (1, 3) if sizes == VECTORS else BATCHES:
            x = random((pictures, channels, height, width))
            expected = reference.convolve(x, convolution.weight, convolution.bias, padding=padding)
            for way in [way for way in offered(convolution, geometry, pictures) if way.method == method]:
                one_way = layer(device, (kernel, kernel), **options)
                monkeypatch.setattr(one_way, "choose", lambda *_, way=way: way)
                error = reference.distance(compute(one_way, x), expected)
                assert error < tolerance(way.method, max(way.size)), (str(way), height, width, pictures)
                tried.add(way.size)
    assert len(tried) > 1 or (method, kernel) == ("cook-toom", 6)


# Pictures, by how much a map is larger than the kernel, padding: one output, less than a tile in height only, in width
# only, tiles that hang over both ways.
AWKWARD_MAPS = ((1, (0, 0), 0), (2, (0, 12), 1), (3, (12, 1), 1), (2, (10, 7), 0))


@pytest.mark.parametrize("squares", [1, 2, 3])
@pytest.mark.parametrize("channels", [16, 512])
@pytest.mark.parametrize("kernel", [3, 5, 6])
def test_every_compiled_rectangle(
    kernel: int, channels: int, squares: int, backend: CpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In rounds that begin anywhere, pooled by squares that fit both sides of a tile, one, or none.

    None is large on both sides, however many channels there are.  Of many only the large ones are tried.
    """
    if backend.compiler is None:
        pytest.skip("they are compiled")
    monkeypatch.setattr(fused, "tiles_at_once", lambda *_: 5)
    sides = range(max(4, kernel + 1), 9)
    expected_sizes = {size for size in itertools.product(sides, sides) if min(size) < 8}
    tried = {size for size in expected_sizes if channels == 16 or max(size) == 8}
    for pictures, larger, padding in AWKWARD_MAPS:
        convolution = layer(backend, (kernel, kernel), channels=channels, kernels=48, padding=padding)
        x = random((pictures, channels, *(kernel + more for more in larger)))
        whole = reference.convolve(x, convolution.weight, convolution.bias, padding=padding)
        geometry = convolution.geometry(x.shape[2], x.shape[3], squares)
        found = {way.size: way for way in offered(convolution, geometry, pictures) if way.method == "cook-toom"}
        assert set(found) == expected_sizes
        for size in sorted(tried):
            monkeypatch.setattr(convolution, "choose", lambda *_, way=found[size]: way)
            error = reference.distance(compute(convolution, x, squares=squares), reference.pool(whole, squares))
            assert error < tolerance("cook-toom", max(size)), (size, x.shape, padding)


@pytest.mark.parametrize(
    ("method", "kernel"), [("fft", 3), ("fft", 11), ("cook-toom", 3), ("cook-toom", 6), ("gemm", 5)]
)
def test_forced_method_is_used(method: str, kernel: int, device: Backend) -> None:
    """A method asked for is taken at the first call, however dear."""
    convolution = layer(device, (kernel, kernel), method=method)
    compute(convolution, random((1, 3, 14, 14)))
    assert [used.split()[0].removesuffix("-rows").removesuffix("-direct") for used in convolution.used] == [method]


@pytest.mark.parametrize("method", ["fft", "cook-toom"])
def test_what_a_method_cannot_do_falls_to_gemm(method: str, device: Backend) -> None:
    for kernel, stride in ((1, 1), (3, 2), (7, 4)):
        convolution = layer(device, (kernel, kernel), stride=stride, method=method)
        assert error_of(convolution, random((2, 3, 19, 22))) < TOLERANCE
        assert set(convolution.used) <= {"gemm", "gemm-rows", "gemm-direct"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kernel=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    stride=st.integers(1, 5),
    padding=st.integers(0, 3),
    pictures=st.integers(1, 5),
    channels=st.integers(1, 5) | st.sampled_from([8, 16, 48]),
    kernels=st.integers(1, 40) | st.sampled_from([16, 64]),
    method=st.sampled_from(["auto", "gemm", "fft", "cook-toom"]),
    threads=st.integers(1, 3),
)
def test_random_geometries(
    *, kernel: tuple[int, int], size: tuple[int, int], stride: int, padding: int, pictures: int, channels: int,
    kernels: int, method: str, threads: int,
) -> None:  # fmt: skip
    assume(all(length + 2 * padding >= taps for length, taps in zip(size, kernel, strict=True)))
    convolution = layer(
        BACKENDS[threads], kernel, channels=channels, kernels=kernels, method=method, stride=stride, padding=padding
    )
    assert error_of(convolution, random((pictures, channels, *size))) < tolerance(method)


BACKENDS = {threads: CpuBackend(threads) for threads in (1, 2, 3)}


@pytest.mark.parametrize("method", ["gemm", "fft", "cook-toom"])
def test_threads_agree(method: str) -> None:
    """How the work is shared out changes nothing but rounding, of which large tiles of numpy's make most."""
    for channels, kernels in ((19, 67), (32, 96)):
        bar = 2e-6 if (method, channels) == ("cook-toom", 19) else 1e-6
        x = random((3, channels, 17, 20))
        results = [
            layer(backend, channels=channels, kernels=kernels, padding=1, method=method)(x)
            for backend in BACKENDS.values()
        ]
        for result in results[1:]:
            assert reference.distance(result, results[0]) < bar


@pytest.mark.parametrize("method", ["gemm", "fft", "cook-toom"])
@pytest.mark.parametrize("pictures", [1, 3])
def test_results_are_new_and_inputs_untouched(method: str, pictures: int, backend: CpuBackend) -> None:
    """The original's library gives views of its buffers, so that every result equals the last one."""
    convolution = layer(backend, method=method, padding=1)
    first, second = random((pictures, 3, 14, 14), 3), random((pictures, 3, 14, 14), 4)
    kept = first.copy()
    one = convolution(first, Rectify().threshold)
    copy = one.copy()
    two = convolution(second, Rectify().threshold)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(one, copy)
    assert not np.shares_memory(one, two)
    assert not np.shares_memory(one, first)
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal(convolution(first, Rectify().threshold), copy)


@pytest.mark.parametrize("method", ["gemm", "fft", "cook-toom"])
def test_any_memory_order_and_bytes(method: str, device: Backend) -> None:
    """Steps, reversed axes, other orders and other dtypes are the same numbers."""
    x = np.random.default_rng(5).integers(0, 256, (4, 6, 34, 38), np.uint8)
    convolution = layer(device, channels=3, padding=1, method=method)
    wide = x.astype(np.float64)
    for view in (x[::2, ::2, ::2, ::2], x[:2, 2::-1, ::-1, 17:], wide[:, 3:, 5:20], np.asfortranarray(x)[1:2, 3:]):
        expected = reference.convolve(view, convolution.weight, convolution.bias, padding=1)
        assert reference.distance(compute(convolution, view), expected) < tolerance(method)
    pictures_last = np.ascontiguousarray(x[:, :3].transpose(1, 2, 3, 0), np.float32).transpose(3, 0, 1, 2)
    assert error_of(convolution, pictures_last) < tolerance(method)


def test_read_only_and_unaligned_weights(device: Backend) -> None:
    """Weights come from a file mapped read-only, not aligned to more than a float."""
    raw = np.frombuffer(random((5 * 3 * 9 + 5 + 1,)).tobytes(), np.float32)[1:]
    weight, bias = raw[:135].reshape(5, 3, 3, 3), raw[135:]
    for method in ("gemm", "fft", "cook-toom"):
        assert error_of(Convolution(weight, bias, backend=device, method=method), random((2, 3, 9, 9))) < tolerance(
            method
        )


@pytest.mark.parametrize("method", ["gemm", "fft", "cook-toom"])
def test_biases_of_any_kind(method: str, device: Backend) -> None:
    """Steps between them, doubles, other byte orders: the loops read plain floats."""
    weight, bias, x = random((16, 16, 3, 3), 1), random((32,), 2), random((2, 16, 9, 9))
    for some in (bias[::2], bias[15::-1], bias[:16].astype(np.float64), bias[:16].astype(">f4")):
        assert error_of(Convolution(weight, some, backend=device, method=method), x) < tolerance(method)


@pytest.mark.parametrize("sizes", [ODD, VECTORS])
@pytest.mark.parametrize("method", ["gemm", "fft", "cook-toom"])
def test_the_fused_rectifier(method: str, sizes: tuple[int, int], device: Backend) -> None:
    """It equals rectifying afterwards, also where tiles overlap, and leaves no -0.0, which prints as `-0`."""
    channels, kernels = sizes
    convolution = layer(device, channels=channels, kernels=kernels, method=method, padding=1)
    x = random((3, channels, 17, 23))
    x[1] = 0.0
    plain, fused = compute(convolution, x), compute(convolution, x, Rectify().threshold)
    np.testing.assert_array_equal(fused, np.where(plain > np.float32(1e-6), plain, 0.0))
    assert not np.signbit(fused).any()


@pytest.mark.parametrize("sizes", [ODD, VECTORS])
@pytest.mark.parametrize("squares", [2, 3])
@pytest.mark.parametrize("method", ["auto", "gemm", "fft", "cook-toom"])
def test_the_fused_pool(method: str, squares: int, sizes: tuple[int, int], device: Backend) -> None:
    """It equals pooling afterwards, also where tiles hang over the edge, and drops what is left over there."""
    channels, kernels = sizes
    for size in (*((n, n + 3) for n in range(1, 24, 2)), (34, 41)):
        convolution = layer(device, (5, 5), channels=channels, kernels=kernels, method=method, padding=2)
        x = random((3, channels, *size))
        pooled = compute(convolution, x, Rectify().threshold, squares)
        height, width = size[0] // squares, size[1] // squares
        plain = compute(convolution, x, Rectify().threshold)[:, :, : height * squares, : width * squares]
        expected = plain.reshape(*plain.shape[:2], height, squares, width, squares).max(axis=(3, 5))
        assert reference.distance(pooled, expected) < tolerance(method), size


def test_a_long_run_stays_right(device: Backend) -> None:
    """Buffers are used again: what a large batch left behind must not leak into a small one."""
    for method, (channels, kernels) in itertools.product(("auto", "gemm", "fft", "cook-toom"), ((7, 9), VECTORS)):
        convolution = layer(device, channels=channels, kernels=kernels, padding=1, method=method)
        for pictures, size in ((7, 30), (1, 9), (3, 30), (2, 14), (7, 9), (1, 30), (1, 1)):
            x = random((pictures, channels, size, size)) * np.float32(1e3 if pictures == 7 else 1.0)
            assert error_of(convolution, x) < tolerance(method), (method, pictures, size)


@given(st.tuples(*[st.integers(1, 64)] * 3), st.tuples(st.integers(1, 300), st.integers(1, 300)), st.integers(1, 64))
def test_gemm_workspace_is_bounded(sizes: tuple[int, int, int], size: tuple[int, int], pictures: int) -> None:
    """Unfolded patches take 16 MiB, or one row of the output where that is more."""
    channels, kernels, kernel = sizes
    assume(kernel <= min(size))
    geometry = Geometry(channels, *size, kernels, kernel, kernel)
    row = geometry.taps * geometry.out_width * pictures * 4
    assert gemm.workspace_bytes(geometry, pictures) <= max(16 << 20, row)


@pytest.mark.parametrize("method", ["gemm", "fft", "cook-toom"])
@pytest.mark.parametrize("kernels", [7, 16])
def test_memory_is_bounded_on_large_maps(method: str, kernels: int, backend: CpuBackend) -> None:
    """What is taken beside input and output does not grow with the maps (unfolded at once: 472 MB)."""
    import tracemalloc

    convolution = layer(backend, channels=64, kernels=kernels, padding=1, method=method)
    x = np.zeros((64, 80, 80, 32), np.float32).transpose(3, 0, 1, 2)
    tracemalloc.start()
    try:
        y = convolution(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - y.nbytes < 260 << 20


# The planner.

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


@pytest.fixture(params=["compiled", "numpy"])
def planning(request: pytest.FixtureRequest) -> CpuBackend:
    """Give a backend to plan for: with the loops compiled, or without a compiler."""
    backend = CpuBackend(2, compiling=request.param == "compiled")
    if request.param == "compiled" and backend.compiler is None:
        pytest.skip("no loops are compiled for this processor")
    if backend.compiler:
        backend.compiler.loaded = True
    return backend


class Planner:
    """A convolution of one geometry that only plans; spectra it asks for become no more than a note."""

    def __init__(self, geometry: Geometry, backend: CpuBackend, **options: object) -> None:
        shape = (geometry.kernels, geometry.channels, geometry.kernel_height, geometry.kernel_width)
        weight = np.broadcast_to(np.float32(0), shape)  # of full size in no memory
        self.convolution = Convolution(
            weight, np.zeros(shape[0], np.float32), backend=backend, stride=geometry.stride,
            padding=geometry.padding, **options,  # type: ignore[arg-type]
        )  # fmt: skip
        self.geometry, self.spectra = geometry, self.convolution._spectra  # noqa: SLF001 -- what is watched here

    def ways(self, pictures: int) -> list[Way]:
        """List what there is to choose from."""
        return offered(self.convolution, self.geometry, pictures)

    def is_compiled(self, way: Way) -> bool:
        """Tell whether a way is computed by compiled loops."""
        return self.convolution._is_compiled(way, self.geometry)  # noqa: SLF001 -- what is watched here

    def missed(self, pictures: int) -> float:
        """Give the seconds that the best compiled way would save of what needs nothing that is not there."""
        found = self.convolution._candidates(pictures, self.geometry)  # noqa: SLF001 -- as a call would
        ready = next(way for way in found if not way.spectra_bytes or way.key in self.spectra)
        return max(0.0, ready.seconds - min(way.seconds for way in found if self.is_compiled(way)))

    def batch(self, pictures: int) -> tuple[Way, float]:
        """Plan a batch; give the way and what it costs, spectra included."""
        way = self.convolution.choose(pictures, self.geometry)
        price = 0.0 if way.key in self.spectra or not way.spectra_bytes else way.price_seconds
        if way.spectra_bytes:
            note: list[npt.NDArray[np.generic]] = [np.broadcast_to(np.uint8(0), way.spectra_bytes)]
            self.convolution._prepared(way, lambda: note)  # noqa: SLF001 -- as a call would
        return way, way.seconds + price


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("pictures", [1, 2, 32])
def test_first_batch_buys_only_what_it_pays_back(geometry: Geometry, pictures: int, planning: CpuBackend) -> None:
    planner = Planner(geometry, planning)
    way, seconds = planner.batch(pictures)
    alone = next(way for way in planner.ways(pictures) if way.method == "gemm")
    assert seconds <= alone.seconds
    assert not way.spectra_bytes or way.price_seconds < alone.seconds - way.seconds


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("batches", [[1] * 400, [32] * 60, [1, 2, 64, 3, 8, 1] * 40, [1] * 50 + [64] * 20])
def test_planner_never_takes_twice_the_best_time(
    geometry: Geometry, batches: list[int], planning: CpuBackend
) -> None:  # fmt: skip
    """The claim in `Convolution.choose`, at every length of the stream.

    The best possible: one way known beforehand, its spectra made at the start, or no spectra at all.
    """
    planner = Planner(geometry, planning)
    taken, best = 0.0, {way.key: way.price_seconds for way in planner.ways(1)}
    for number, pictures in enumerate(batches):
        taken += planner.batch(pictures)[1]
        for way in planner.ways(pictures):
            best[way.key] += way.seconds
        assert taken <= 2.0 * min(best.values()) * (1 + 1e-9), f"after {number + 1} batches"


def test_every_purchase_pays_back_by_itself(planning: CpuBackend) -> None:
    """What spectra would have saved over gemm is no reason to buy them once others are there that save the same."""
    for geometry, batches in itertools.product(GEOMETRIES, ([1] * 60, [32] * 20)):
        planner = Planner(geometry, planning)
        saved: Counter[object] = Counter()
        for number, pictures in enumerate(batches):
            found = planner.ways(pictures)
            ready = next(way for way in found if not way.spectra_bytes or way.key in planner.spectra)
            for way in found:
                saved[way.key] += max(0.0, ready.seconds - way.seconds)  # type: ignore[assignment]
            before = set(planner.spectra)
            way, _ = planner.batch(pictures)
            if set(planner.spectra) != before:
                assert saved[way.key] >= way.price_seconds, f"{way} at batch {number + 1}, having {before}"
                saved.clear()


def test_large_batches_get_their_spectra_at_once(planning: CpuBackend) -> None:
    """A stream begins with one picture; what the first large batch buys is not thrown away four batches later."""
    for geometry in GEOMETRIES:
        planner = Planner(geometry, planning)
        planner.batch(1)
        bought = planner.batch(64)[0]
        assert [planner.batch(64)[0] for _ in range(7)] == [bought] * 7, geometry


def test_all_layers_pay_for_loading_the_loops(planning: CpuBackend) -> None:
    """None begins with a compiled way before all of them together have missed what loading takes; then all may."""
    if planning.compiler is None:
        pytest.skip("there are no loops")
    planning.compiler.loaded = False
    planning.compiler.__dict__["_price_seconds"] = 0.1
    planners = [Planner(geometry, planning) for geometry in GEOMETRIES[:4]]
    missed = 0.0
    for _ in range(100):
        for planner in planners:
            missed += planner.missed(1)
            way, _ = planner.batch(1)
            assert not planner.is_compiled(way) or missed > 0.1
        if missed > 0.2:
            break
    assert all(planner.is_compiled(planner.batch(1)[0]) for planner in planners)


def test_the_classifiers_weights_are_not_copied() -> None:
    """Where the patches lie as they should, half a gigabyte in another order gains nothing."""
    for geometry in GEOMETRIES:
        whole = (geometry.height, geometry.width) == (geometry.kernel_height, geometry.kernel_width)
        if whole or geometry.kernel_height == 1:
            assert {way.method for way in ways(geometry, 1, Rates(), 8)}.isdisjoint({"gemm-direct"}), geometry


@pytest.mark.parametrize("limit_bytes", [0, 100e6, 200e6, 400e6])
def test_spectra_limit(limit_bytes: float, backend: CpuBackend) -> None:
    planner = Planner(CONV5, backend, budget=Budget(limit_bytes))
    for _ in range(100):
        planner.batch(32)
    held = sum(part.nbytes for parts in planner.spectra.values() for part in parts)
    assert held <= limit_bytes
    assert held or limit_bytes < 160e6


def test_spectra_limit_of_other_map_sizes(backend: CpuBackend) -> None:
    """Spectra of all tile sizes count together."""
    planner = Planner(CONV5, backend, budget=Budget(400e6))
    for size in range(12, 60, 3):
        planner.geometry = Geometry(1024, size, size + 2, 1024, 3, 3, padding=1)
        for _ in range(30):
            planner.batch(8)
    assert sum(part.nbytes for parts in planner.spectra.values() for part in parts) <= 400e6


@pytest.mark.parametrize("method", ["fft", "cook-toom"])
def test_spectra_limit_of_a_forced_method(method: str, backend: CpuBackend) -> None:
    """A limit is a limit: where no spectra fit, there is gemm."""
    convolution = layer(backend, method=method, budget=Budget(100))
    assert error_of(convolution, random((2, 3, 9, 9))) < TOLERANCE
    held = sum(part.nbytes for parts in convolution._spectra.values() for part in parts)  # noqa: SLF001
    assert held <= 100


@given(st.sampled_from(GEOMETRIES), st.integers(1, 64), st.sampled_from([0, 16, 32]))
def test_candidates_depend_on_the_geometry_alone(geometry: Geometry, pictures: int, width: int) -> None:
    found = ways(geometry, pictures, Rates(), width)
    assert found == ways(geometry, pictures, Rates(), width)
    assert [way.seconds for way in found] == sorted(way.seconds for way in found)
    assert len({way.key for way in found}) == len(found)
    assert [way.method for way in found].count("gemm") == 1
    assert all((way.spectra_bytes > 0) == (way.method != "gemm") for way in found)
    assert all(way.seconds > 0 and way.price_seconds >= 0 for way in found)


def test_estimated_spectra_are_the_real_ones(backend: CpuBackend) -> None:
    """The limit is only as good as the estimate it is checked against."""
    for method, kernel, (channels, kernels) in itertools.product(("gemm", "fft", "cook-toom"), (3, 5), (ODD, VECTORS)):
        convolution = layer(backend, (kernel, kernel), channels=channels, kernels=kernels, method=method)
        way = convolution.choose(2, convolution.geometry(15, 15))
        convolution(random((2, channels, 15, 15)))
        held = sum(part.nbytes for parts in convolution._spectra.values() for part in parts)  # noqa: SLF001
        assert held == way.spectra_bytes


def test_estimated_spectra_of_every_way_are_the_real_ones(
    backend: CpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Of those, too, that are not chosen here; the last panel is half full."""
    channels, kernels = VECTORS
    for kernel in (3, 5):
        convolution = layer(backend, (kernel, kernel), channels=channels, kernels=kernels)
        for way in offered(convolution, convolution.geometry(24, 24), 2):
            one_way = layer(backend, (kernel, kernel), channels=channels, kernels=kernels)
            monkeypatch.setattr(one_way, "choose", lambda *_, way=way: way)
            compute(one_way, random((2, channels, 24, 24)))
            held = sum(part.nbytes for parts in one_way._spectra.values() for part in parts)  # noqa: SLF001
            assert held == way.spectra_bytes, str(way)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
def test_what_squares_leave_over_is_not_planned_for(stride: int, padding: int, backend: CpuBackend) -> None:
    convolution = layer(backend, (5, 5), stride=stride, padding=padding)
    for size, squares in itertools.product(itertools.product(range(5, 24), (5, 18, 23)), (1, 2, 3)):
        whole, wanted = convolution.geometry(*size), convolution.geometry(*size, squares)
        sides = [(whole.out_height, wanted.out_height), (whole.out_width, wanted.out_width)]
        if min(whole.out_height, whole.out_width) < squares:
            assert wanted == whole  # there is no square
        else:
            assert all(left == out - out % squares for out, left in sides)


@pytest.mark.parametrize("columns", [1, 2, 9, 16, 17, 40, 41])
@pytest.mark.parametrize("rows", [16, 96, 100])
def test_products_of_few_columns(rows: int, columns: int, backend: CpuBackend) -> None:
    """They take one of several paths by their sizes; into a part of a larger array, too, as the engine does."""
    for length in (200, 256, 512, 1000, 1280, 25600):
        left, right = random((rows + 4, length), 1)[2:-2], random((length, columns), 2)
        out = np.full((rows, 3, columns), np.nan, np.float32)
        multiply(left, right, out[:, 1], 512, backend)
        assert reference.distance(out[:, 1], left.astype(np.float64) @ right) < 2e-6, length
        assert np.isnan(out[:, ::2]).all()
