"""The networks are NYU's: their tables, and every layer's numbers as the original's program gave them.

The record was made with the original program on synthetic weights of full size.  Against float64 the
original itself errs by up to 3.6e-6 of a layer's largest absolute value, so 1e-5 of that is what
"equal" can mean here.
"""

import gzip
import re
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest

from overfeat_tools.backend import CpuBackend
from overfeat_tools.convolution.epilogue import max_pool, rectify
from overfeat_tools.networks.classes import read_classes
from overfeat_tools.networks.layers import Convolve, MaxPool, Normalise, Pad, Rectify, Softmax
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.steps import steps
from overfeat_tools.networks.tables import describe
from overfeat_tools.networks.topology import ACCURATE, FAST, TINY, Topology
from overfeat_tools.networks.weights import file_bytes
from overfeat_tools.results.maps import map_text
from overfeat_tools.results.ranking import rank
from tests import reference, synthetic_weights
from tests.conftest import CARDS, REFERENCE_DATA, recorded_picture

Array = npt.NDArray[np.float32]

TOLERANCE = 1e-5
METHODS = ("gemm", "fft", "cook-toom", "auto")
PICTURES = ("fast-231x231", "fast-263x300", "accurate-221x221", "accurate-257x240")

FAST_SHAPES = [
    (3, 231, 231), (96, 56, 56), (96, 56, 56), (96, 28, 28), (256, 24, 24), (256, 24, 24), (256, 12, 12),
    (256, 14, 14), (512, 12, 12), (512, 12, 12), (512, 14, 14), (1024, 12, 12), (1024, 12, 12),
    (1024, 14, 14), (1024, 12, 12), (1024, 12, 12), (1024, 6, 6), (3072, 1, 1), (3072, 1, 1), (4096, 1, 1),
    (4096, 1, 1), (1000, 1, 1), (1000, 1, 1),
]  # fmt: skip
ACCURATE_SHAPES = [
    (3, 221, 221), (96, 108, 108), (96, 108, 108), (96, 36, 36), (256, 30, 30), (256, 30, 30), (256, 15, 15),
    (256, 17, 17), (512, 15, 15), (512, 15, 15), (512, 17, 17), (512, 15, 15), (512, 15, 15),
    (512, 17, 17), (1024, 15, 15), (1024, 15, 15), (1024, 17, 17), (1024, 15, 15), (1024, 15, 15), (1024, 5, 5),
    (4096, 1, 1), (4096, 1, 1), (4096, 1, 1), (4096, 1, 1), (1000, 1, 1), (1000, 1, 1),
]  # fmt: skip
KINDS = {
    "fast": "n cr m cr m pcr pcr pcr m cr cr c s",
    "accurate": "n cr m cr m pcr pcr pcr pcr m cr cr c s",
}


# The tables.


@pytest.mark.parametrize(("topology", "shapes"), [(FAST, FAST_SHAPES), (ACCURATE, ACCURATE_SHAPES)])
def test_shapes(topology: Topology, shapes: list[tuple[int, int, int]]) -> None:
    assert topology.shapes(topology.input_size, topology.input_size) == shapes
    letters = {Normalise: "n", Convolve: "c", Rectify: "r", MaxPool: "m", Pad: "p", Softmax: "s"}
    kinds = "".join(letters[type(layer)] for layer in topology.layers)
    assert kinds == KINDS[topology.name].replace(" ", "")


@pytest.mark.parametrize("topology", [FAST, ACCURATE])
def test_input_size_is_the_smallest(topology: Topology) -> None:
    """One pixel less gives no place; one stride more gives a second."""
    stride = {"fast": 32, "accurate": 36}[topology.name]
    size = topology.input_size
    assert size == {"fast": 231, "accurate": 221}[topology.name]
    assert min(topology.shapes(size - 1, size)[-1][1:]) < 1
    assert min(topology.shapes(size, size - 1)[-1][1:]) < 1
    assert topology.shapes(size + stride, size)[-1] == (1000, 2, 1)
    assert topology.shapes(size + stride - 1, size + 5 * stride)[-1] == (1000, 1, 6)
    assert topology.least_side(topology.last_layer) == size
    assert topology.feature_layer == {"fast": 19, "accurate": 22}[topology.name]
    assert topology.shapes(size, size)[topology.feature_layer] == (4096, 1, 1)
    assert isinstance(topology.layers[topology.feature_layer], Convolve)


@pytest.mark.parametrize("topology", [FAST, ACCURATE])
def test_least_side_of_every_layer(topology: Topology) -> None:
    """The smallest square that gives something there, found by trying all."""
    for last in range(topology.last_layer + 1):
        least = topology.least_side(last)
        for side in range(1, 240):
            reached = all(min(shape[1:]) >= 1 for shape in topology.shapes(side, side)[: last + 1])
            assert reached == (side >= least), (last, side)


@pytest.mark.parametrize("topology", [FAST, ACCURATE])
def test_size_of_the_weight_file(topology: Topology) -> None:
    assert file_bytes(topology.kernel_shapes) == synthetic_weights.SIZES_BYTES[topology.name]
    layout = synthetic_weights.LAYOUTS[topology.name]
    assert topology.kernel_shapes == [(kernels, channels, size, size) for kernels, channels, size in layout]


@pytest.mark.parametrize("topology", [FAST, ACCURATE])
def test_table_of_layers(topology: Topology) -> None:
    """What `of-layer --list` prints agrees with the shapes and with the weight file."""
    heading, *rows = describe(topology, 300, 400)
    assert heading[0] == "layer"
    assert [row[0] for row in rows] == list(range(len(topology.layers)))
    assert [row[2:5] for row in rows] == topology.shapes(300, 400)
    assert 4 * sum(int(str(row[5])) for row in rows) == synthetic_weights.SIZES_BYTES[topology.name]


@pytest.mark.parametrize("topology", [FAST, ACCURATE])
def test_steps_cover_every_layer_once(topology: Topology) -> None:
    for last in range(topology.last_layer + 1):
        assert [number for step in steps(topology, last) for number in step] == list(range(last + 1))


def test_classes() -> None:
    """One thousand, each WordNet id once; two of them are called crane."""
    classes = read_classes(FAST)
    assert [item.index for item in classes] == list(range(1000))
    assert len({item.wnid for item in classes}) == 1000
    assert all(re.fullmatch(r"n\d{8}", item.wnid) for item in classes)
    assert [item.index for item in classes if item.name == "crane"] == [428, 544]


# The record.


def _fold(network: Network, x: Array) -> Iterator[Array]:
    """Run layer by layer, nothing fused, by the network's own convolutions; give every layer's output."""
    padded, backend = 0, network.backend
    with backend.computing():
        x = backend.upload(x)
    for number, layer in enumerate(network.topology.layers):
        if isinstance(layer, Convolve):
            convolution = network.convolutions[number]
            inner = x[:, padded : x.shape[1] - padded, padded : x.shape[2] - padded]
            assert convolution.padding == padded
            with backend.computing():
                x, padded = convolution(inner), 0
        elif isinstance(layer, Rectify):
            with backend.computing():
                x, padded = x.copy(), 0
                rectify(x, layer.threshold)
        elif isinstance(layer, MaxPool):
            before, padded = x, 0
            with backend.computing():
                x = backend.empty((len(x), *(side // layer.size for side in x.shape[1:3]), x.shape[3]))
                max_pool(before, x, layer.size, backend)
        else:
            padded = layer.width if isinstance(layer, Pad) else 0
            with backend.computing():
                x = layer(x, backend)
        with backend.computing():
            result = backend.download(x)
        yield result()


RUNS = [
    *((name, method, "backend") for name in ("fast", "accurate") for method in METHODS),
    *((name, "auto", "without_compiler") for name in ("fast", "accurate")),
]
# A sample of these is run every day: one network by each method that it takes itself, the other as it is used.
LONG = {run for run in RUNS if run[0] == "accurate" and run != ("accurate", "auto", "backend")}
LONG.add(("fast", "fft", "backend"))
if CARDS:
    RUNS += [(name, method, "graphics_card") for name in ("fast", "accurate") for method in METHODS]


def marks(run: tuple[str, str, str]) -> list[pytest.MarkDecorator]:
    """Give the marks of a run."""
    return [pytest.mark.long] if run in LONG else [pytest.mark.gpu] if run[2] == "graphics_card" else []


@pytest.fixture(scope="module", params=[pytest.param(run, id="-".join(run), marks=marks(run)) for run in RUNS])
def network(request: pytest.FixtureRequest, open_network: Callable[..., Network]) -> Network:
    """Give each network with each method; one at a time, as packed weights of full size take gigabytes."""
    name, method, device = request.param
    return open_network(name, method, request.getfixturevalue(device))


def check_layer(record: dict[str, npt.NDArray[np.generic]], number: int, ours: Array) -> None:
    """Compare one layer of one picture with the record: values, and norm and sum of all of it."""
    ours = ours.transpose(2, 0, 1)  # the record has the channels first
    assert ours.shape == tuple(record[f"shape_{number}"])
    index, value = record[f"index_{number}"], record[f"value_{number}"]
    error = reference.distance(ours.reshape(-1)[index], value)
    assert error <= TOLERANCE, f"layer {number}: {error:.2g}"
    wide = ours.astype(np.float64)
    norm = record[f"norm_{number}"]
    assert abs(np.sqrt((wide**2).sum()) - norm) <= TOLERANCE * norm, f"layer {number}"
    # n errors of 1e-5 of the maximum at most.
    assert abs(wide.sum() - record[f"sum_{number}"]) <= TOLERANCE * np.abs(wide).max() * wide.size, f"layer {number}"


@pytest.mark.full_size
def test_every_layer_is_the_originals(network: Network) -> None:
    """Each layer of each recorded picture, and the fused run of some layers equals the layers one by one.

    A method that is named does the same with both; it is tried with that which has several places.
    """
    methods = {convolution.method for convolution in network.convolutions.values()}
    for name in [name for name in PICTURES if name.startswith(network.topology.name)][methods != {"auto"} :]:
        record = dict(np.load(REFERENCE_DATA / f"{name}.npz"))
        picture = recorded_picture(name)[None]
        feature = network.topology.feature_layer
        chosen = {1, 2, 7, 8, 9, feature - 1, feature, network.topology.last_layer}
        scores: Array | None = None
        for number, ours in enumerate(_fold(network, picture)):
            if scores is not None and number == network.topology.last_layer:
                # The original counts its softmax as no layer: there is no record of it.
                expected = reference.softmax(scores.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
                assert reference.distance(ours, expected) <= 1e-6
            else:
                check_layer(record, number, ours[0])
                scores = ours
            if number in chosen:
                fused = network.run(picture, number)
                # A later run may take another algorithm, of which numpy's Cook-Toom tiles of 7 err by up to 2.7e-6;
                # e to the power of scores of about 10 makes ten times as much.
                tolerance = 2e-6 if network.backend.compiler else 4e-6
                factor = 10 if number == network.topology.last_layer else 1
                assert reference.distance(fused, ours) <= factor * tolerance, f"layer {number}"


# A method that is named takes the same algorithms for every batch, so every day it is enough to try what is used.
BATCH_RUNS = [
    pytest.param(
        run, id="-".join(run), marks=marks(run) or ([] if run == ("fast", "auto", "backend") else [pytest.mark.long])
    )
    for run in RUNS
]


@pytest.mark.full_size
@pytest.mark.parametrize("network", BATCH_RUNS, indirect=True)
def test_batches_equal_single_pictures(network: Network) -> None:
    """A picture's result does not depend on its neighbours in the batch, nor on their number.

    Features are within 1e-6 of the largest where the same algorithm is taken for every batch, and within 2e-6
    where small and large batches may take different ones, each of which errs by up to 1e-6.  A card's library
    adds up to 36864 products in one row, and in another order for another batch: errors grow with the root of a
    sum's length, so they are twice those of sums of 512 or 2048 at least.  The softmax makes ten times as much of
    that: e to the power of scores of about 10.
    """
    one_algorithm = all(convolution.method in ("gemm", "fft") for convolution in network.convolutions.values())
    on_processor = network.backend.name == "cpu"
    tolerance = 1e-6 if one_algorithm and on_processor else 2e-6 if network.backend.compiler else 4e-6
    size = network.topology.input_size
    pictures = np.random.default_rng(3).integers(0, 256, (32, size, size, 3), np.uint8)
    pictures[1], pictures[2] = pictures[0], 0
    feature, last = network.topology.feature_layer, network.topology.last_layer
    some = [0, 1, 6, 31]
    for layer, factor in ((feature, 1), (last, 10)):
        alone = np.concatenate([network.run(pictures[number : number + 1], layer) for number in some])
        for count in (2, 7, 32):
            together = network.run(pictures[:count], layer)
            assert len(together) == count
            inside = [number for number in some if number < count]
            error = reference.distance(together[inside], alone[: len(inside)])
            assert error <= factor * tolerance, (layer, count)


@pytest.mark.full_size
def test_top_classes_and_features_as_printed(network: Network) -> None:
    """What the original's program prints.

    Names and order of the five best are equal.  Probabilities are near (5e-3): the original's
    exponential is approximate.  Of the features' text the form is equal; the numbers differ by the
    tolerance of every layer and by the rounding of both to six digits.  That the texts be equal byte
    for byte can't be asked: the sixth digit is finer than what the original's arithmetic gets right.
    """
    topology = network.topology
    name = f"{topology.name}-{topology.input_size}x{topology.input_size}"
    picture = recorded_picture(name)[None]

    ranking = rank(network.run(picture)[0, 0, 0], read_classes(topology), 5)
    lines = (REFERENCE_DATA / f"{name}.top5.txt").read_text("utf-8").splitlines()
    assert [item.name for item, _ in ranking] == [line.rpartition(" ")[0] for line in lines]
    printed = [float(line.rpartition(" ")[2]) for line in lines]
    np.testing.assert_allclose([probability for _, probability in ranking], printed, rtol=5e-3)

    theirs = gzip.decompress((REFERENCE_DATA / f"{name}.layer{topology.feature_layer}.txt.gz").read_bytes())
    ours = b"".join(map_text(network.run(picture, topology.feature_layer)[0].transpose(2, 0, 1)))
    (our_head, our_values), (their_head, their_values) = ours.split(b"\n", 1), theirs.split(b"\n", 1)
    assert our_head == their_head == b"4096 1 1"
    form = re.compile(rb"(?:-?\d[\d.e+-]* ){4096}\n")
    assert form.fullmatch(our_values)
    assert form.fullmatch(their_values)
    our_numbers, their_numbers = np.array(our_values.split(), float), np.array(their_values.split(), float)
    last_digit = 10.0 ** (np.floor(np.log10(np.abs(their_numbers))) - 5)
    allowed = TOLERANCE * np.abs(their_numbers).max() + last_digit
    assert (np.abs(our_numbers - their_numbers) <= allowed).all()


@pytest.mark.full_size
@pytest.mark.parametrize("name", ["fast", "accurate"])
def test_results_of_runs_are_their_own(name: str, open_network: Callable[..., Network]) -> None:
    """The original's library gives views of its buffers: every result equals the last one."""
    network = open_network(name, "gemm")
    size = network.topology.input_size
    pictures = np.random.default_rng(4).integers(0, 256, (2, size, size, 3), np.uint8)
    kept_pictures = pictures.copy()
    for last in (0, 1, 2, 3, network.topology.feature_layer, network.topology.last_layer):
        first = network.run(pictures[:1], last)
        kept = first.copy()
        second = network.run(pictures[1:], last)
        np.testing.assert_array_equal(first, kept)
        assert not np.array_equal(first, second)
        assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(pictures, kept_pictures)


@pytest.mark.full_size
def test_threads_and_float_pictures_agree(open_network: Callable[..., Network], weights: Callable) -> None:  # type: ignore[type-arg]
    """One, two or three threads, bytes or floats, contiguous or not: the same answer."""
    picture = recorded_picture("fast-231x231")[None]
    expected = open_network("fast", "gemm").run(picture, FAST.feature_layer)
    for threads in (1, 3):
        network = Network(FAST, weights("fast"), CpuBackend(threads), "gemm")
        assert reference.distance(network.run(picture.astype(np.float32), FAST.feature_layer), expected) <= 1e-6
    rows_last = np.asfortranarray(picture)
    np.testing.assert_array_equal(open_network("fast", "gemm").run(rows_last, FAST.feature_layer), expected)


@pytest.mark.parametrize("compiling", [True, False])
@pytest.mark.parametrize(("pictures", "height", "width"), [(1, 231, 231), (32, 231, 231), (1, 900, 1200)])
def test_needed_bytes_are_what_a_pass_takes(pictures: int, height: int, width: int, compiling: bool) -> None:  # noqa: FBT001
    """What is asked for before a pass is enough for its workspaces and its result, and not many times as much."""
    backend = CpuBackend(2, compiling=compiling)
    network = Network(TINY, None, backend)
    batch = np.zeros((pictures, height, width, 3), np.uint8)
    taken = max(network.run(batch, last).nbytes for last in (3, TINY.last_layer) for _ in range(4))
    taken += sum(memory.nbytes for memory in backend._workspaces.values())  # noqa: SLF001 -- what is measured
    needed = max(network.needed_bytes(pictures, height, width, last) for last in (3, TINY.last_layer))
    assert taken <= needed <= 3 * taken
