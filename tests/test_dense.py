"""Class maps: what is computed at once equals its definition, computed slowly, and each place what its window gives."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from overfeat_tools.backend import CpuBackend
from overfeat_tools.errors import MemoryShortageError
from overfeat_tools.networks.dense import SIZES, ClassMap, Dense, size_of_scale
from overfeat_tools.networks.layers import Convolve, FragmentPool, MaxPool, Normalise, Rectify, Softmax
from overfeat_tools.networks.localize import MARGIN, Localizer
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import ACCURATE, FAST, TINY, TOPOLOGIES, Topology
from tests import reference
from tests.conftest import CARDS

Picture = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

# No padding, so that a place sees its window alone: pools of 2 and 3, 33 pixels of input, steps of 4 and 12.
UNPADDED = Topology(
    "unpadded", input_size=33, feature_layer=9, weight_file="weights", class_file="classes_tiny.tsv",
    layers=(
        Normalise(100.0, 50.0), Convolve(32, 3, 2), Rectify(), MaxPool(2), Convolve(32, 3), Rectify(), MaxPool(3),
        Convolve(32, 2), Rectify(), Convolve(26, 1), Softmax(),
    ),
)  # fmt: skip


@pytest.fixture
def unpadded(tmp_path: Path, device: CpuBackend) -> Network:
    """Give a network without padding, with random weights."""
    rng = np.random.default_rng(5)
    with (tmp_path / "weights").open("wb") as file:
        for shape in UNPADDED.kernel_shapes:
            kernels = rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
            file.write(kernels.astype("<f4").tobytes() + rng.standard_normal(shape[0]).astype("<f4").tobytes())
    return Network(UNPADDED, tmp_path, device)


def picture(height: int, width: int, seed: int = 0) -> Picture:
    """Give noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("topology", "inputs", "trunks", "places"),
    [
        (
            ACCURATE,
            [(245, 245), (281, 317), (317, 389), (389, 461), (425, 497), (461, 569)],
            [(17, 17), (20, 23), (23, 29), (29, 35), (32, 38), (35, 44)],
            [(3, 3), (6, 9), (9, 15), (15, 21), (18, 24), (21, 30)],
        ),
        (
            FAST,
            [(247, 247), (279, 311), (311, 375), (375, 471), (439, 503), (471, 567)],
            [(13, 13), (15, 17), (17, 21), (21, 27), (25, 29), (27, 33)],
            [(2, 2), (4, 6), (6, 10), (10, 16), (14, 18), (16, 22)],
        ),
    ],
)  # fmt: skip
def test_sizes(topology: Topology, inputs: object, trunks: object, places: object) -> None:
    """The paper's, for a picture of 4:3; turned for an upright one."""
    sizes = [size_of_scale(topology, scale, 375, 500) for scale in SIZES]
    assert sizes == inputs
    assert [size_of_scale(topology, scale, 500, 375) for scale in SIZES] == [size[::-1] for size in sizes]
    fragments = topology.in_fragments()
    pool = fragments.layers[fragments.last_pool]
    assert isinstance(pool, FragmentPool)
    shapes = [fragments.shapes(*size) for size in sizes]
    assert [shape[fragments.last_pool - 1][1:] for shape in shapes] == trunks
    assert [tuple(pool.size * side for side in shape[-1][1:]) for shape in shapes] == places


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_every_pixel_of_every_size_is_used(name: str) -> None:
    """One pixel less on either axis gives fewer fragments' places; squares stay square; no ratio is beyond 4."""
    topology = TOPOLOGIES[name]
    fragments = topology.in_fragments()
    for height, width in ((1, 1), (200, 230), (1080, 1920), (300, 1200), (1, 100_000)):
        for scale in SIZES:
            size = size_of_scale(topology, scale, height, width)
            places = fragments.shapes(*size)[-1][1:]
            assert min(places) >= 1
            assert fragments.shapes(size[0] - 1, size[1])[-1][1] == places[0] - 1
            assert fragments.shapes(size[0], size[1] - 1)[-1][2] == places[1] - 1
            assert (size[0] == size[1]) or height != width
            assert size[1] <= 4 * 569 * 3 / 4 + 32


def test_each_place_is_what_its_window_gives(unpadded: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network run on the window alone, also in the mirror; the windows are told rightly."""
    monkeypatch.setitem(SIZES, 7, (60, 90))
    for fine in (True, False):
        dense = Dense(unpadded, (7,), fine=fine)
        (scaled,) = dense.prepare(picture(60, 80))
        height, width = scaled.shape[:2]
        for _ in range(3):  # the algorithms change as more pictures come
            maps = dense.begin([(scaled,), (scaled[::-1],)])()
        shown_in_turn = scaled, scaled[:, ::-1], scaled[::-1], scaled[::-1, ::-1]
        for one, shown in zip([*maps[0], *maps[1]], shown_in_turn, strict=True):
            rows, columns, _ = one.scores.shape
            step = 4 if fine else 12
            assert (rows, columns) == ((height - 33) // step + 1, (width - 33) // step + 1)
            windows = np.rint(one.windows() * (width, height, width, height)).astype(int).reshape(-1, 4)
            if one.mirrored:
                windows[:, [0, 2]] = width - windows[:, [2, 0]]
            seen = np.stack([shown[top:bottom, left:right] for left, top, right, bottom in windows])
            assert seen.shape[1:3] == (33, 33)
            alone = unpadded.run(seen, 9)[:, 0, 0]
            for ours, theirs in zip(one.scores.reshape(alone.shape), alone, strict=True):
                assert reference.distance(ours, theirs) <= 1e-5


def test_windows_on_the_diagonal(unpadded: Network) -> None:
    """What of-locate sees: each window, at the place it is said to have, is what the network gives for it alone."""
    localizer = Localizer(unpadded)
    prepared = localizer.prepare(picture(60, 90))
    pixels, *scaled = prepared
    (seen,) = localizer.begin([prepared])()
    parts = (seen.edges / ([pixels.shape[1], pixels.shape[0]] * 2) + MARGIN) / (1 + 2 * MARGIN)
    for scale, shown in enumerate(scaled):
        here = seen.scales == scale
        left, top, right, bottom = np.rint(parts[here] * (shown.shape[1::-1] * 2)).astype(int).T
        assert {*(right - left), *(bottom - top)} == {33}
        # Of nine offsets the three on the diagonal.
        rows, columns = (shown.shape[0] - 33) // 4 + 1, (shown.shape[1] - 33) // 4 + 1
        expected = {(i, j) for i in range(rows) for j in range(columns) if i % 3 == j % 3}
        assert sorted(zip(top // 4, left // 4, strict=True)) == sorted(expected)
        alone = unpadded.run(np.stack([shown[i : i + 33, j : j + 33] for i, j in zip(top, left, strict=True)]))
        np.testing.assert_allclose(seen.probabilities[here], alone[:, 0, 0], atol=1e-5)


def slowly(network: Network, shown: Picture, places: list[tuple[int, int]]) -> np.ndarray:  # type: ignore[type-arg]
    """Compute some places by the definition: the trunk, a pool at an offset, the classifier as products."""
    topology = network.topology
    number = topology.last_pool
    pool = topology.layers[number]
    assert isinstance(pool, MaxPool)
    trunk = network.run(shown[None], number - 1)[0].transpose(2, 0, 1)
    side = network.convolutions[number + 1].weight.shape[2] * pool.size
    covered = np.stack([trunk[:, row : row + side, column : column + side] for row, column in places])
    x = reference.pool(covered, pool.size).reshape(len(places), -1)
    for convolution in (network.convolutions[n] for n in network.convolutions if n > number):
        y = x @ convolution.weight.reshape(len(convolution.bias), -1).T + convolution.bias
        x = np.where(y > 1e-6, y, 0.0)
    return y


@pytest.mark.parametrize("device", ["backend", "without_compiler", *CARDS], indirect=True)
@pytest.mark.parametrize("scale", [1, 4])
def test_tiny_equals_the_definition(device: CpuBackend, scale: int) -> None:
    network = Network(TINY, None, device)
    check_definition(network, scale, rounds=3, places=None)


@pytest.mark.full_size
@pytest.mark.parametrize("name", [pytest.param("fast", marks=pytest.mark.long), "accurate"])
def test_large_networks_equal_the_definition(name: str, open_network: Callable[..., Network]) -> None:
    """At some places, of all offsets, not mirrored: the rest are computed alike."""
    check_definition(open_network(name), 2, rounds=1, places=9)


def check_definition(network: Network, scale: int, rounds: int, places: int | None) -> None:
    """Compare maps of a picture with the definition, at all places or some."""
    dense = Dense(network, (scale,), mirrored=places is None)
    pixels = picture(300, 400, scale)
    for _ in range(rounds):
        maps = dense.maps(pixels)
    (scaled,) = dense.prepare(pixels)
    assert [one.mirrored for one in maps] == [False, True][: len(maps)]
    for one, shown in zip(maps, (scaled, scaled[:, ::-1]), strict=False):
        everywhere = [(row, column) for row in range(len(one.scores)) for column in range(one.scores.shape[1])]
        some = everywhere[:: -(-len(everywhere) // places)] if places else everywhere
        expected = slowly(network, np.ascontiguousarray(shown), some)
        ours = np.stack([one.scores[place] for place in some])
        assert reference.distance(ours, expected) <= 1e-5


def test_mirrored_windows_lie_on_the_other_side() -> None:
    scores = np.zeros((1, 3, 26), np.float32)
    plain, mirrored = (ClassMap(scores, 1, flag, (231, 263), 231, 16) for flag in (False, True))
    np.testing.assert_array_equal(plain.windows()[0, 0], [0, 0, 231 / 263, 1])
    np.testing.assert_array_equal(mirrored.windows()[0, ::-1], plain.windows()[0])


def test_small_pictures_are_not_enlarged_much() -> None:
    """The first scale is always there."""
    dense = Dense(Network(TINY, None, CpuBackend(1)), (6, 1, 4, 2), most_enlarged=1.5)
    assert dense.scales == [1, 2, 4, 6]
    assert len(dense.sizes(375, 500)) == 4
    assert dense.sizes(231, 231) == [(247, 247), (279, 279)]
    assert dense.sizes(10, 10) == [(247, 247)]


def test_maps_too_large_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = CpuBackend(1)
    monkeypatch.setattr(backend, "free_bytes", lambda: 1 << 20)
    with pytest.raises(MemoryShortageError, match="471"):
        Dense(Network(TINY, None, backend), (6,)).maps(picture(300, 400))


@pytest.mark.parametrize("compiling", [True, False])
def test_needed_bytes_are_what_a_pass_in_fragments_takes(compiling: bool) -> None:  # noqa: FBT001
    backend = CpuBackend(2, compiling=compiling)
    network = Network(TINY, None, backend).in_fragments()
    batch = np.zeros((4, 471, 567, 3), np.uint8)
    taken = max(network.run(batch).nbytes for _ in range(3))
    taken += sum(memory.nbytes for memory in backend._workspaces.values())  # noqa: SLF001 -- what is measured
    assert taken <= network.needed_bytes(4, 471, 567) <= 3 * taken
