"""The networks of Simonyan and Zisserman (arXiv:1409.1556): tables, classes, numbers, memory.

The oracle computes in float64 from the table in `synthetic_weights`, written down there a second time.
"""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from overfeat_tools.backend import Backend
from overfeat_tools.networks.classes import read_classes
from overfeat_tools.networks.layers import MaxPool
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.steps import steps
from overfeat_tools.networks.tables import describe
from overfeat_tools.networks.topology import FAST, TOPOLOGIES, VGG11, VGG16, VGG19, Topology, vgg
from overfeat_tools.networks.weights import map_weights
from tests import reference, synthetic_weights

Array = npt.NDArray[Any]

TOLERANCE = 1e-5
METHODS = ("gemm", "fft", "cook-toom", "auto")
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

# The same layers with two pools, small enough for every day.
TABLE = (16, 16, "M", 32, 48, "M")
SMALL = vgg("small", " ".join(map(str, TABLE)), units=64, classes=20)


@pytest.mark.parametrize(
    ("topology", "parameters", "giga_multiply_adds"),
    [(VGG11, 132_863_336, 7.6), (VGG16, 138_357_544, 15.5), (VGG19, 143_667_240, 19.6)],
    ids=lambda value: getattr(value, "name", None),
)
def test_tables(topology: Topology, parameters: int, giga_multiply_adds: float) -> None:
    """Parameters and multiply-adds are those published; the file has a name for each convolution."""
    rows = describe(topology, 224, 224)[1:]
    assert sum(int(str(row[5])) for row in rows) == parameters
    shapes = [shape for shape, row in zip(topology.shapes(224, 224), rows, strict=True) if row[1] == "convolve"]
    pairs = zip(topology.kernel_shapes, shapes, strict=True)
    multiply_adds = sum(math.prod(kernel) * math.prod(shape[1:]) for kernel, shape in pairs)
    assert round(multiply_adds / 1e9, 1) == giga_multiply_adds
    layout = synthetic_weights.vgg_layout(synthetic_weights.VGG[topology.name])
    assert list(topology.parameter_names) == list(layout)
    assert topology.kernel_shapes == [(k, c, size, size) for k, c, size in layout.values()]
    assert topology.shapes(224, 224)[topology.feature_layer] == (4096, 1, 1)
    assert [row[1] for row in rows][topology.feature_layer :] == ["convolve", "rectify", "convolve", "softmax"]
    assert topology.least_side(topology.last_layer) == topology.input_size == 224
    assert topology.shapes(255, 256)[-1] == (1000, 1, 2)


def test_classes_are_overfeats_in_the_order_of_their_ids() -> None:
    ours, overfeats = read_classes(VGG16), read_classes(FAST)
    assert [item.index for item in ours] == list(range(1000))
    assert [item.wnid for item in ours] == sorted(item.wnid for item in overfeats)
    assert {item.wnid: item.name for item in ours} == {item.wnid: item.name for item in overfeats}
    known = {0: "n01440764", 1: "n01443537", 281: "n02123045", 985: "n11939491", 999: "n15075141"}
    assert {index: ours[index].wnid for index in known} == known


# The numbers.


def oracle(
    table: Sequence[int | str], parameters: Sequence[tuple[Array, Array]], picture: Array, *, every: bool = True
) -> Iterator[Array]:
    """Give every layer of one picture (H, W, 3), or with `every` off those that end a step, in float64."""
    rest = iter(parameters)
    x = (picture / 255.0 - MEAN) / DEVIATION
    yield x
    for number, entry in enumerate(table):
        if entry == "M":
            height, width = x.shape[0] // 2, x.shape[1] // 2
            x = x[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1).max(axis=(1, 3))
            yield x
            continue
        x = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        if every:
            yield x
        x = correlate(x, *next(rest))
        if every:
            yield x
        x = np.maximum(x, 0.0)
        if every or table[number + 1] != "M":
            yield x
    for _ in range(2):
        x = correlate(x, *next(rest))
        if every:
            yield x
        x = np.maximum(x, 0.0)
        yield x
    x = correlate(x, *next(rest))
    yield x
    powers = np.exp(x - x.max(axis=2, keepdims=True))
    yield powers / powers.sum(axis=2, keepdims=True)


def correlate(x: Array, weight: Array, bias: Array) -> Array:
    """Correlate a map (H, W, C) where kernels (K, C, h, w) fit, one place of the kernel after the other."""
    _, _, height, width = weight.shape
    rows, columns = x.shape[0] - height + 1, x.shape[1] - width + 1
    y = np.zeros((rows, columns, len(weight))) + bias
    for i, j in np.ndindex(height, width):
        y += x[i : i + rows, j : j + columns] @ weight[:, :, i, j].astype(np.float64).T
    return y


def pictures(count: int, height: int, width: int) -> Array:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the small network's file; give its folder."""
    folder = tmp_path_factory.mktemp("weights")
    layout = synthetic_weights.vgg_layout(TABLE, 64, 20)
    content = synthetic_weights.vgg_header(layout) + b"".join(synthetic_weights.pieces(layout.values(), 5))
    (folder / SMALL.weight_file).write_bytes(content)
    return folder


@lru_cache
def small_expected(folder: Path, height: int, width: int) -> tuple[list[Array], ...]:
    parameters = map_weights(folder / SMALL.weight_file, SMALL.kernel_shapes, "small", SMALL.parameter_names)
    return tuple(list(oracle(TABLE, parameters, picture)) for picture in pictures(3, height, width))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("height", "width"), [(28, 28), (31, 29), (40, 60)])
def test_every_layer_of_a_small_one(height: int, width: int, method: str, small_weights: Path, device: Backend) -> None:
    """By each method, alone and in a batch, to an odd edge and with several answers."""
    expected = small_expected(small_weights, height, width)
    network = Network(SMALL, small_weights, device, method)
    batch = pictures(3, height, width)
    for last in range(SMALL.last_layer + 1):
        for some in (slice(1), slice(3)):
            for ours, theirs in zip(network.run(batch[some], last), expected, strict=False):
                assert reference.distance(ours, theirs[last]) <= TOLERANCE, (last, some)


def test_oracle_against_the_slow_one() -> None:
    """Its convolution is the one of `reference`, which is slower and more obvious still."""
    random = np.random.default_rng(0)
    x, weight, bias = (random.standard_normal(shape) for shape in ((6, 7, 3), (4, 3, 3, 3), (4,)))
    expected = reference.convolve(x.transpose(2, 0, 1)[None], weight, bias)[0].transpose(1, 2, 0)
    assert reference.distance(correlate(x, weight, bias), expected) < 1e-14


@pytest.mark.parametrize(("table", "batch"), [("64 64 M M M M M", 16), ("16 M M M M M", 64)])
def test_usual_batch_is_bounded_by_the_maps(table: str, batch: int, tmp_path: Path, device: Backend) -> None:
    topology = vgg("wide", table, units=16, classes=16)
    shapes = [(kernels, channels, size) for kernels, channels, size, _ in topology.kernel_shapes]
    layout = dict(zip(topology.parameter_names, shapes, strict=True))
    content = synthetic_weights.vgg_header(layout) + b"".join(synthetic_weights.pieces(layout.values(), 5))
    (tmp_path / topology.weight_file).write_bytes(content)
    assert Network(topology, tmp_path, device).usual_batch() == batch


# At full size.

RUNS = [
    *(("vgg16", method, "backend", size) for size in ((224, 224), (231, 231), (320, 480)) for method in METHODS),
    ("vgg16", "auto", "without_compiler", (224, 224)),
    ("vgg11", "auto", "backend", (224, 224)),
    ("vgg19", "auto", "backend", (224, 224)),
]


@lru_cache(1)
def full_expected(network: str, height: int, width: int) -> tuple[list[Array], ...]:
    """Give the last layer of each step, of the first and the last of 16 pictures."""
    topology = TOPOLOGIES[network]
    path = synthetic_weights.ensure(network)
    parameters = map_weights(path, topology.kernel_shapes, network, topology.parameter_names)
    table, made = synthetic_weights.VGG[network], pictures(16, height, width)
    each = (oracle(table, parameters, picture, every=False) for picture in (made[0], made[15]))
    return tuple([layer.astype(np.float32) for layer in layers] for layers in each)


@pytest.mark.long
@pytest.mark.full_size
@pytest.mark.parametrize(("name", "method", "device_name", "size"), RUNS)
def test_every_step_at_full_size(
    name: str, method: str, device_name: str, size: tuple[int, int], request: pytest.FixtureRequest,
    open_network: Callable[..., Network],
) -> None:  # fmt: skip
    expected = full_expected(name, *size)
    network = open_network(name, method, request.getfixturevalue(device_name))
    batch = pictures(16, *size)
    lasts = [step[-1] for step in steps(network.topology, network.topology.last_layer)]
    for number, last in enumerate(lasts):
        pairs = [(network.run(batch[:1], last)[0], expected[0])]
        # Of many large pictures the pools and what follows them are enough: each has all before it in it.
        if size == (224, 224) or number + 4 >= len(lasts) or isinstance(network.topology.layers[last], MaxPool):
            together = network.run(batch, last)
            pairs += [(together[0], expected[0]), (together[15], expected[1])]
        for ours, theirs in pairs:
            error = reference.distance(ours, theirs[number])
            assert error <= TOLERANCE, f"layer {last}: {error:.2g}"


@pytest.mark.long
@pytest.mark.full_size
def test_memory_of_a_bulk_run(weights: Callable[[str], Path]) -> None:
    """With the batches that nobody asked for."""
    stream = b"".join(b"P6 224 224 255\n" + picture.tobytes() for picture in pictures(64, 224, 224))
    command = [sys.executable, "-m", "overfeat_tools", "classify", "--net", "vgg16", "-d", weights("vgg16"), "-n", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin
        process.stdin.write(stream)
        process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert usage.ru_maxrss * 1024 <= 2.5e9
