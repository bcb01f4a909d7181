"""Every algorithm gives what the definition gives, on every geometry, by itself.

An algorithm is run by name, so that no silent fallback can hide a broken one.
"""

import itertools
from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from overfeat_tools.backend import Backend, CpuBackend
from overfeat_tools.convolution import Convolution, Geometry, Ledger
from overfeat_tools.convolution import compiled_tiles as compiled
from overfeat_tools.convolution.algorithm import Algorithm
from overfeat_tools.convolution.compiled_tiles import CompiledTiles
from overfeat_tools.convolution.epilogue import max_pool
from overfeat_tools.convolution.planner import list_algorithms
from overfeat_tools.convolution.rates import RATES
from tests import reference

Array = npt.NDArray[np.float32]

# Single precision: the sums are of some hundred products; Fourier and Cook-Toom lose a few bits more, and Cook-Toom's
# largest tiles two more where there are few channels.
TOLERANCE = 3e-6
TOLERANCE_OF_LARGE_TILES = 8e-6
LARGE_TILE = 7
THRESHOLD = 1e-6


def tolerance(method: str, size: int = LARGE_TILE) -> float:
    """Give the error allowed to a method that may use tiles of this size."""
    return TOLERANCE_OF_LARGE_TILES if method in {"cook-toom", "auto"} and size >= LARGE_TILE else TOLERANCE


KERNELS = (1, 3, 5, 6, 7, 11)
BATCHES = (1, 2, 3, 7)
METHODS = ("gemm", "fft", "cook-toom")

BACKENDS = {(threads, compiling): CpuBackend(threads, compiling=compiling)
            for threads in (1, 2, 3) for compiling in (True, False)}  # fmt: skip

# Channels and kernels: too few for vectors, and such as fill them, the last panel perhaps not.
ODD, VECTORS, AND_A_REST = (3, 5), (16, 48), (16, 52)


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
    **options: object,
) -> Convolution:
    """Give a small convolution with random weights."""
    weight, bias = random((kernels, channels, *kernel), 1), random((kernels,), 2)
    return Convolution(weight, bias, backend=backend, method=method, **options)  # type: ignore[arg-type]


def on_device(backend: Backend, work: object, x: Array) -> Array:
    """Bring a batch to the device, and what `work` makes of it back."""
    with backend.computing():
        result = backend.download(work(backend.upload(x)))  # type: ignore[operator]
    return result()


def compute(convolution: Convolution, x: Array, threshold: float | None = None, pool_size: int = 1) -> Array:
    """Convolve a batch as a network does."""
    backend = convolution._backend  # noqa: SLF001 -- where it was told to compute
    return on_device(backend, lambda batch: convolution(batch, threshold, pool_size), x)


def run(convolution: Convolution, algorithm: Algorithm, x: Array, pool_size: int = 1) -> Array:
    """Convolve a batch by one algorithm."""
    return on_device(
        algorithm.backend, lambda batch: convolution.run(algorithm, batch, None, pool_size), x
    )  # fmt: skip


@cache
def problem(
    height: int, width: int, kernel: int, sizes: tuple[int, int], stride: int = 1, padding: int = 0
) -> tuple[Array, npt.NDArray[np.float64]]:
    """Give pictures, as many as the largest batch, and the oracle's answer with the weights of `layer`."""
    x = random((max(BATCHES), height, width, sizes[0]))
    options: dict[str, int] = {"stride": stride, "padding": padding}
    small = layer(BACKENDS[2, False], (kernel, kernel), channels=sizes[0], kernels=sizes[1], **options)  # type: ignore[arg-type]
    return x, expected(small, x)


def expected(convolution: Convolution, x: Array) -> npt.NDArray[np.float64]:
    """Give what the oracle, which has the channels first, gives for pictures (N, H, W, C)."""
    y = reference.convolve(
        x.transpose(0, 3, 1, 2), convolution.weight, convolution.bias, convolution.stride, convolution.padding
    )
    return y.transpose(0, 2, 3, 1)


def pooled(x: Array, size: int) -> Array:
    """Take maxima by the oracle."""
    return reference.pool(x.transpose(0, 3, 1, 2), size).transpose(0, 2, 3, 1)


def error_of(convolution: Convolution, x: Array) -> float:
    """Give the distance from the oracle."""
    return reference.distance(compute(convolution, x), expected(convolution, x))


def offered(convolution: Convolution, height: int, width: int, pool_size: int = 1) -> list[Algorithm]:
    """List the algorithms that a convolution chooses from."""
    backend = convolution._backend  # noqa: SLF001 -- where it was told to compute
    return list_algorithms(convolution.geometry(height, width, pool_size), backend)


def map_sizes(kernel: int, padding: int = 0) -> Iterator[tuple[int, int]]:
    """Give map sizes: one position, smaller than any tile, odd, even, oblong both ways, several tiles."""
    sizes = [(kernel, kernel), (kernel + 1, kernel + 4), (15, 15), (16, 28), (31, 17), (43, 12), (12, 47)]
    yield from (size for size in sizes if min(size) + 2 * padding >= kernel)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("name", "sizes"), [("gemm", ODD), ("gemm", VECTORS), ("indirect", AND_A_REST)])
def test_every_unfolding(
    name: str, sizes: tuple[int, int], kernel: int, stride: int, padding: int, device: Backend
) -> None:  # fmt: skip
    """Patches copied and not, weights packed and not."""
    if name == "indirect" and device.compiler is None:
        pytest.skip("it is compiled")
    channels, kernels = sizes
    tried = 0
    for height, width in map_sizes(kernel, padding):
        x, answer = problem(height, width, kernel, sizes, stride, padding)
        convolution = layer(
            device, (kernel, kernel), channels=channels, kernels=kernels, stride=stride, padding=padding
        )
        for algorithm in offered(convolution, height, width):
            for pictures in BATCHES if str(algorithm) == name else ():
                error = reference.distance(run(convolution, algorithm, x[:pictures]), answer[:pictures])
                assert error < TOLERANCE, (height, width, pictures)
                tried += 1
    assert tried > 1


@pytest.mark.parametrize(("kernel", "channels"), [(1, 64), (1, 2112), (3, 16), (3, 320), (5, 128)])
def test_unpacked_weights(kernel: int, channels: int, device: Backend) -> None:
    """Weights in the order of the file, short and long sums, of one row of patches, few, and several panels."""
    if device.compiler:
        layer(device, channels=16, kernels=16, method="cook-toom")(random((2, 9, 9, 16)))  # loads kernels
        assert device.compiler.loaded
    convolution = layer(device, (kernel, kernel), channels=channels, kernels=132)
    for side in (kernel, kernel + 2):
        x = random((40, side, side, channels))
        answer = expected(convolution, x)
        (gemm,) = [algorithm for algorithm in offered(convolution, side, side) if str(algorithm) == "gemm"]
        for pictures in (1, 2, 3, 4, 9, 20, 40):
            error = reference.distance(run(convolution, gemm, x[:pictures]), answer[:pictures])
            assert error < TOLERANCE, (side, pictures)


def is_tried(algorithm: Algorithm) -> bool:
    """Leave out most of the trimmed tiles, each of which has to be compiled."""
    return not getattr(algorithm, "trimmed", False) or algorithm.size in {(5, 5), (6, 6), (7, 8), (9, 8)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(
    ("method", "kernel"), [*(("fft", k) for k in KERNELS if k > 1), *(("cook-toom", k) for k in (3, 5, 6))]
)
@pytest.mark.parametrize("sizes", [ODD, VECTORS])
def test_every_tile_size(sizes: tuple[int, int], method: str, kernel: int, padding: int, device: Backend) -> None:
    """Each size that may be offered, not only the one that is chosen here."""
    channels, kernels = sizes
    if sizes == VECTORS and device.compiler is None and method == "fft":
        pytest.skip("the other sizes are enough for FFTW")
    options = {"channels": channels, "kernels": kernels, "padding": padding}
    tried = set()
    for height, width in map_sizes(kernel, padding):
        convolution = layer(device, (kernel, kernel), **options)  # type: ignore[arg-type]
        algorithms = [one for one in offered(convolution, height, width) if one.method == method and is_tried(one)]
        x, answer = problem(height, width, kernel, sizes, padding=padding)
        for algorithm in algorithms:
            for pictures in (1, 3) if sizes == VECTORS else BATCHES:
                error = reference.distance(run(convolution, algorithm, x[:pictures]), answer[:pictures])
                side = max(algorithm.size)  # type: ignore[attr-defined]
                assert error < tolerance(method, side), (str(algorithm), height, width, pictures)
                tried.add(str(algorithm))
    assert len(tried) > 1 or (method, kernel) == ("cook-toom", 6)


# Pictures, by how much a map is larger than the kernel, padding: one output, less than a tile in height only, in width
# only, tiles that extend beyond the map both ways.
AWKWARD_MAPS = ((1, (0, 0), 0), (2, (0, 12), 1), (3, (12, 1), 1), (2, (10, 7), 0))


@pytest.mark.parametrize("pool_size", [1, 2, 3])
@pytest.mark.parametrize("channels", [16, 512])
@pytest.mark.parametrize("kernel", [3, 5, 6])
def test_every_compiled_rectangle(
    kernel: int, channels: int, pool_size: int, backend: CpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In rounds that begin anywhere, with pools that fit both sides of a tile, one, or none.

    None is large on both sides, but that with complex points.  Of many channels only the large ones are tried.
    """
    if backend.compiler is None:
        pytest.skip("they are compiled")
    monkeypatch.setattr(compiled, "_THREAD_ROUND_BYTES", 0)
    monkeypatch.setattr(compiled, "_MOST_ROUND_BYTES", 5 * 4 * (channels + 64) * 48)
    sides = range(max(4, kernel + 1), 9)
    sizes = {size for size in itertools.product(sides, sides) if min(size) < 8} | ({(9, 8)} if kernel > 3 else set())
    for pictures, larger, padding in AWKWARD_MAPS:
        convolution = layer(backend, (kernel, kernel), channels=channels, kernels=48, padding=padding)
        x = random((pictures, *(kernel + more for more in larger), channels))
        answer = pooled(expected(convolution, x), pool_size)  # type: ignore[arg-type]
        found = [
            algorithm
            for algorithm in offered(convolution, x.shape[1], x.shape[2], pool_size)
            if isinstance(algorithm, CompiledTiles) and algorithm.method == "cook-toom"
        ]
        assert {one.size for one in found if not one.trimmed} == sizes
        for one in found:
            if is_tried(one) and (channels == 16 or max(one.size) >= 8):
                error = reference.distance(run(convolution, one, x, pool_size), answer)
                assert error < tolerance("cook-toom", max(one.size)), (str(one), x.shape, padding)


@pytest.mark.parametrize(("method", "kernel"), [("fft", 3), ("fft", 11), ("gemm", 5), ("cook-toom", 3)])
def test_forced_method_is_used(method: str, kernel: int, device: Backend) -> None:
    """A method asked for is taken at the first call, however dear."""
    convolution = layer(device, (kernel, kernel), method=method)
    compute(convolution, random((1, 14, 14, 3)))
    assert [used.split()[0] for used in convolution.used] == [method]


@pytest.mark.parametrize("method", ["fft", "cook-toom"])
def test_what_a_method_cannot_do_falls_to_gemm(method: str, device: Backend) -> None:
    for kernel, stride in ((1, 1), (3, 2), (7, 4)):
        convolution = layer(device, (kernel, kernel), stride=stride, method=method)
        assert error_of(convolution, random((2, 19, 22, 3))) < TOLERANCE
        assert set(convolution.used) == {"gemm"}


@given(
    kernel=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    stride=st.integers(1, 5),
    padding=st.integers(0, 3),
    pictures=st.integers(1, 5),
    channels=st.integers(1, 5) | st.sampled_from([8, 16, 48]),
    kernels=st.integers(1, 40) | st.sampled_from([16, 64]),
    method=st.sampled_from(["auto", *METHODS]),
    device=st.sampled_from(list(BACKENDS)),
)
def test_random_geometries(
    *, kernel: tuple[int, int], size: tuple[int, int], stride: int, padding: int, pictures: int, channels: int,
    kernels: int, method: str, device: tuple[int, bool],
) -> None:  # fmt: skip
    assume(all(length + 2 * padding >= taps for length, taps in zip(size, kernel, strict=True)))
    options: dict[str, object] = {"method": method, "stride": stride, "padding": padding}
    convolution = layer(BACKENDS[device], kernel, channels=channels, kernels=kernels, **options)  # type: ignore[arg-type]
    assert error_of(convolution, random((pictures, *size, channels))) < tolerance(method)


@pytest.mark.parametrize("compiling", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_threads_agree(method: str, compiling: bool) -> None:  # noqa: FBT001 -- a parameter
    """How the work is shared out changes nothing but rounding."""
    for channels, kernels in ((19, 67), (32, 96)):
        x = random((3, 17, 20, channels))
        options: dict[str, object] = {"padding": 1, "method": method}
        results = [
            layer(BACKENDS[threads, compiling], channels=channels, kernels=kernels, **options)(x)  # type: ignore[arg-type]
            for threads in (1, 2, 3)
        ]
        for result in results[1:]:
            assert reference.distance(result, results[0]) < 1e-6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pictures", [1, 3])
def test_results_are_new_and_inputs_untouched(method: str, pictures: int, backend: CpuBackend) -> None:
    """The original's library gives views of its buffers, so that every result equals the last one."""
    convolution = layer(backend, method=method, padding=1)
    first, second = random((pictures, 14, 14, 3), 3), random((pictures, 14, 14, 3), 4)
    kept = first.copy()
    one = convolution(first, THRESHOLD)
    copy = one.copy()
    two = convolution(second, THRESHOLD)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(one, copy)
    assert not np.shares_memory(one, two)
    assert not np.shares_memory(one, first)
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal(convolution(first, THRESHOLD), copy)


@pytest.mark.parametrize("method", METHODS)
def test_any_memory_order_and_bytes(method: str, device: Backend) -> None:
    """Steps, reversed axes, other orders and other dtypes are the same numbers."""
    x = np.random.default_rng(5).integers(0, 256, (4, 34, 38, 6), np.uint8)
    convolution = layer(device, channels=3, padding=1, method=method)
    wide = x.astype(np.float64)
    views = x[::2, ::2, ::2, ::2], x[:2, ::-1, 17:, 2::-1], wide[:, 5:20, :, 3:], np.asfortranarray(x)[1:2, ..., 3:]
    for view in views:
        answer = expected(convolution, view)  # type: ignore[arg-type]
        assert reference.distance(compute(convolution, view), answer) < tolerance(method)  # type: ignore[arg-type]


def test_read_only_and_unaligned_weights(device: Backend) -> None:
    """Weights come from a file mapped read-only, not aligned to more than a float."""
    raw = np.frombuffer(random((5 * 3 * 9 + 5 + 1,)).tobytes(), np.float32)[1:]
    weight, bias = raw[:135].reshape(5, 3, 3, 3), raw[135:]
    for method in METHODS:
        convolution = Convolution(weight, bias, backend=device, method=method)
        assert error_of(convolution, random((2, 9, 9, 3))) < tolerance(method)


@pytest.mark.parametrize("method", METHODS)
def test_biases_of_any_kind(method: str, device: Backend) -> None:
    """Steps between them, doubles, other byte orders: the kernels read plain floats."""
    weight, bias, x = random((16, 16, 3, 3), 1), random((32,), 2), random((2, 9, 9, 16))
    for some in (bias[::2], bias[15::-1], bias[:16].astype(np.float64), bias[:16].astype(">f4")):
        assert error_of(Convolution(weight, some, backend=device, method=method), x) < tolerance(method)


@pytest.mark.parametrize("sizes", [ODD, VECTORS])
@pytest.mark.parametrize("method", METHODS)
def test_the_fused_rectifier(method: str, sizes: tuple[int, int], device: Backend) -> None:
    """It equals rectifying afterwards, also where tiles overlap, and leaves no -0.0, which prints as `-0`."""
    channels, kernels = sizes
    convolution = layer(device, channels=channels, kernels=kernels, method=method, padding=1)
    x = random((3, 17, 23, channels))
    x[1] = 0.0
    plain, fused = compute(convolution, x), compute(convolution, x, THRESHOLD)
    np.testing.assert_array_equal(fused, np.where(plain > np.float32(THRESHOLD), plain, 0.0))
    assert not np.signbit(fused).any()


@pytest.mark.parametrize("sizes", [ODD, VECTORS])
@pytest.mark.parametrize("pool_size", [2, 3])
@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_the_fused_pool(method: str, pool_size: int, sizes: tuple[int, int], device: Backend) -> None:
    """It equals pooling afterwards, also where tiles extend beyond the edge, and drops what is left over there."""
    channels, kernels = sizes
    for size in (*((n, n + 3) for n in range(1, 24, 2)), (34, 41)):
        convolution = layer(device, (5, 5), channels=channels, kernels=kernels, method=method, padding=2)
        x = random((3, *size, channels))
        fused = compute(convolution, x, THRESHOLD, pool_size)
        plain = pooled(compute(convolution, x, THRESHOLD), pool_size)
        assert reference.distance(fused, plain) < tolerance(method), size


@given(
    shape=st.tuples(*[st.integers(1, 12)] * 4),
    size=st.integers(1, 5),
    special=st.sampled_from([0.0, -np.inf, np.inf]),
)
def test_pool(shape: tuple[int, int, int, int], size: int, special: float) -> None:
    x = random(shape)
    x[x > 1.5] = special
    answer = pooled(x, size)
    y = np.empty(answer.shape, np.float32)
    max_pool(x, y, size, BACKENDS[2, False])
    np.testing.assert_array_equal(y, answer)


def test_a_long_run_stays_right(device: Backend) -> None:
    """Buffers are used again: what a large batch left behind must not leak into a small one."""
    for method, (channels, kernels) in itertools.product(("auto", *METHODS), ((7, 9), VECTORS)):
        convolution = layer(device, channels=channels, kernels=kernels, padding=1, method=method)
        for pictures, size in ((7, 30), (1, 9), (3, 30), (2, 14), (7, 9), (1, 30), (1, 1)):
            x = random((pictures, size, size, channels)) * np.float32(1e3 if pictures == 7 else 1.0)
            assert error_of(convolution, x) < tolerance(method), (method, pictures, size)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("kernels", "compiling"), [(7, True), (16, True), (16, False)])
def test_memory_is_bounded_on_large_maps(method: str, kernels: int, compiling: bool) -> None:  # noqa: FBT001
    """What is taken beside input and output does not grow with the maps (unfolded at once: 472 MB)."""
    import tracemalloc

    convolution = layer(CpuBackend(2, compiling=compiling), channels=64, kernels=kernels, padding=1, method=method)
    x = np.zeros((32, 80, 80, 64), np.float32)
    tracemalloc.start()
    try:
        y = convolution(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - y.nbytes < 260 << 20


def test_sizes_of_many_pictures_are_not_kept(backend: CpuBackend) -> None:
    """A run over photographs of as many sizes keeps the plans of a few of them."""
    import gc

    convolution = layer(backend, channels=16, kernels=16)
    for width in range(20, 60):
        convolution.choose(1, convolution.geometry(30, width))
    kept = [one for one in gc.get_objects() if isinstance(one, Geometry) and one.height == 30 and one.kernels == 16]
    assert len({geometry.width for geometry in kept}) <= 20


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("sizes", [ODD, VECTORS])
def test_estimated_bytes_are_the_real_ones(kernel: int, sizes: tuple[int, int], device: Backend) -> None:
    """The limit on packed weights is only as good as the estimate that it is checked against."""
    channels, kernels = sizes
    first = layer(device, (kernel, kernel), channels=channels, kernels=kernels)
    for name in {str(one) for one in offered(first, 24, 24) if is_tried(one)}:
        convolution = layer(device, (kernel, kernel), channels=channels, kernels=kernels)
        (algorithm,) = [one for one in offered(convolution, 24, 24) if str(one) == name]
        run(convolution, algorithm, random((2, 24, 24, channels)))
        assert sum(part.nbytes for parts in convolution.packed.values() for part in parts) == algorithm.packed_bytes


def test_limit_of_packed_weights_holds_for_a_forced_method(device: Backend) -> None:
    """A limit is a limit: where nothing fits, there is gemm."""
    for method in ("fft", "cook-toom"):
        ledger = Ledger(RATES[device.name], 100, device.compiler)
        convolution = layer(device, channels=16, kernels=16, method=method, ledger=ledger)
        assert error_of(convolution, random((2, 9, 9, 16))) < TOLERANCE
        assert set(convolution.used) == {"gemm"}
        assert not convolution.packed
