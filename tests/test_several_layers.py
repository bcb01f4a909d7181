"""Several layers from one pass: each is what a pass for it alone gives, whatever else is asked for."""

from collections.abc import Callable

import numpy as np
import pytest

from overfeat_tools.backend import Backend, CpuBackend
from overfeat_tools.networks.layers import Convolve, MaxPool, Normalise, Pad, Rectify, Softmax
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import ACCURATE, FAST, TINY, Topology
from tests import reference
from tests.conftest import REFERENCE_DATA, recorded_picture
from tests.test_network import check_layer

EVERYTHING = tuple(range(TINY.last_layer + 1))
SETS = [EVERYTHING, (19, 22), (0, 1, 22), (1, 2), (2, 6, 7), (7, 10, 16), (3, 21), (21, 22)]


@pytest.fixture(scope="module")
def pictures() -> "np.typing.NDArray[np.uint8]":
    """Give two pictures that give maps of two places."""
    return np.random.default_rng(7).integers(0, 256, (2, 231, 268, 3), np.uint8)


def check_set(network: Network, pictures: "np.typing.NDArray[np.uint8]", layers: tuple[int, ...]) -> None:
    """Compare layers from one pass with those of one pass each."""
    together = network.begin_layers(pictures, layers)()
    assert tuple(together) == layers
    kept = {number: values.copy() for number, values in together.items()}
    for number in layers:
        expected = network.run(pictures, number)
        assert reference.distance(together[number], expected) <= 3e-6, number
        np.testing.assert_array_equal(together[number], kept[number])  # nothing that is used again
        assert not any(np.shares_memory(together[number], together[other]) for other in layers if other != number)


@pytest.mark.parametrize("layers", SETS, ids=str)
def test_layers_of_one_pass(layers: tuple[int, ...], device: Backend, pictures: "np.typing.NDArray[np.uint8]") -> None:
    network = Network(TINY, None, device)
    for _ in range(3):  # by numpy, while kernels are not worth loading; then by a program, recorded and replayed
        check_set(network, pictures, layers)
    check_set(network, pictures.astype(np.float32), layers)


@pytest.mark.parametrize("layers", SETS, ids=str)
def test_layers_of_one_program(layers: tuple[int, ...], pictures: "np.typing.NDArray[np.uint8]") -> None:
    """Reproducible choices are compiled from the first batch on, and need the memory that is said."""
    backend = CpuBackend(2)
    if backend.compiler is None:
        pytest.skip("nothing is compiled for this processor")
    network = Network(TINY, None, backend, reproducible=True)
    check_set(network, pictures, layers)
    assert network._programs  # noqa: SLF001 -- what is to be tried
    taken = sum(values.nbytes for values in network.begin_layers(pictures, layers)().values())
    taken += sum(memory.nbytes for memory in backend._workspaces.values())  # noqa: SLF001 -- what is measured
    assert taken <= network.needed_bytes(*pictures.shape[:3], *layers)


def test_channels_that_do_not_fill_vectors(
    pictures: "np.typing.NDArray[np.uint8]", monkeypatch: pytest.MonkeyPatch, device: Backend
) -> None:
    """No kernel rectifies or pools them by themselves."""
    layers = (Normalise(1.0, 2.0), Convolve(6, 5, 2), Rectify(), MaxPool(2), Pad(1), Convolve(5, 3), Softmax())
    topology = Topology("odd", 9, 5, "none", "classes.tsv", layers)
    random = np.random.default_rng(1)
    parameters = [
        (random.standard_normal(shape, np.float32) * np.float32(0.1), random.standard_normal(shape[0], np.float32))
        for shape in topology.kernel_shapes
    ]
    monkeypatch.setattr("overfeat_tools.networks.network.map_weights", lambda *_: parameters)
    network = Network(topology, ".", device)
    for _ in range(3):
        check_set(network, pictures, tuple(range(7)))


@pytest.mark.full_size
@pytest.mark.parametrize("topology", [FAST, ACCURATE], ids=lambda topology: topology.name)
def test_every_layer_of_one_pass_is_the_originals(topology: Topology, open_network: Callable[..., Network]) -> None:
    """By the eager way, and by the program that follows it."""
    network = open_network(topology.name)
    layers = range(topology.last_layer)
    name = f"{topology.name}-{topology.input_size}x{topology.input_size}"
    record = dict(np.load(REFERENCE_DATA / f"{name}.npz"))
    for _ in range(3):
        for number, values in network.begin_layers(recorded_picture(name)[None], layers)().items():
            check_layer(record, number, values[0])
