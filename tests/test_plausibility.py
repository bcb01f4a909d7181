"""Damaged weights are told from good ones by their numbers alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from overfeat_tools import cli
from overfeat_tools.backend import CpuBackend
from overfeat_tools.commands import self_test
from overfeat_tools.commands.classify import Options
from overfeat_tools.errors import WeightsError
from overfeat_tools.networks import network, opening, plausibility
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import TOPOLOGIES
from overfeat_tools.networks.weights import PACKAGED, map_weights

TINY = TOPOLOGIES["tiny"]
GOOD = (PACKAGED / TINY.weight_file).read_bytes()
NUMBERS = np.frombuffer(GOOD, "<f4")
SIZES = [4 * (int(np.prod(shape)) + shape[0]) for shape in TINY.kernel_shapes]

Judge = Callable[[bytes], str]


@pytest.fixture
def judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: CpuBackend, capfd: pytest.CaptureFixture[str]
) -> Judge:
    """Give a function that tests `tiny` with other weights, and tells what it says of them."""
    monkeypatch.setattr(cli, "started", lambda: None)
    monkeypatch.setattr(network, "PACKAGED", tmp_path)
    monkeypatch.setattr(opening, "open_backend", lambda *_: backend)

    def judged(data: bytes) -> str:
        assert len(data) == len(GOOD)
        (tmp_path / TINY.weight_file).write_bytes(data)
        try:
            said, status = "", self_test.self_test(Options(net="tiny"))
        except WeightsError as error:
            said, status = str(error), error.exit_status
        verdict = capfd.readouterr().out.splitlines()[-1]
        assert verdict == f"the weights of tiny are {'not plausible' if status else 'plausible'}"
        assert status == (4 if said else 0)
        return said

    return judged


def changed(place: int, value: float) -> bytes:
    """Give the good weights with one number changed."""
    numbers: npt.NDArray[np.float32] = NUMBERS.copy()
    numbers[place] = value
    return numbers.tobytes()


def shifted(convolution: int, count: int) -> bytes:
    """Give the good weights with what belongs to one convolution turned by some bytes."""
    start = sum(SIZES[:convolution])
    block = GOOD[start : start + SIZES[convolution]]
    return GOOD[:start] + block[-count:] + block[:-count] + GOOD[start + len(block) :]


def test_good_ones(judge: Judge) -> None:
    assert judge(GOOD) == ""


@pytest.mark.parametrize(
    ("data", "word"),
    [
        pytest.param(bytes(len(GOOD)), "square of 0", id="all zero"),
        pytest.param(changed(200_000, np.nan), "nan", id="not a number"),
        pytest.param(changed(-1, np.inf), "inf", id="infinite"),
        pytest.param(NUMBERS.byteswap().tobytes(), "root mean square", id="byte order"),
        pytest.param(np.random.default_rng(0).bytes(len(GOOD)), "root mean square", id="random bytes"),
        pytest.param(
            (0.03 * np.random.default_rng(0).standard_normal(NUMBERS.size)).astype("<f4").tobytes(),
            "random numbers", id="random numbers",
        ),
        pytest.param(GOOD[:-16] + bytes(16), "ends with zeros", id="a little short"),
        pytest.param(GOOD[:-100_000] + bytes(100_000), "square of 0", id="short"),
        pytest.param(GOOD[1000:] + bytes(1000), "ends with zeros", id="without its beginning"),
        pytest.param(GOOD[4:] + GOOD[:4], "out of place by -1", id="one number early"),
        *[pytest.param(shifted(each, 1), "root mean square", id=f"{each} by a byte") for each in (0, 4, 7)],
        *[pytest.param(shifted(each, 4), "out of place by +1", id=f"{each} by a number") for each in range(1, 6)],
        pytest.param(shifted(2, -12), "out of place by -3", id="by a row"),
        pytest.param(shifted(3, 36), "classifies", id="by a kernel"),
        *[pytest.param(shifted(each, 4), "classifies", id=f"{each} by a number") for each in (6, 7)],
    ],
)  # fmt: skip
def test_bad_ones(data: bytes, word: str, judge: Judge) -> None:
    assert word in judge(data)


def test_the_place_of_kernels_is_found_exactly() -> None:
    """For every shift up to half a kernel, in every layer that has enough kernels to tell."""
    for weight, _ in map_weights(PACKAGED / TINY.weight_file, TINY.kernel_shapes, "tiny")[1:6]:
        half = weight[0, 0].size // 2
        for shift in range(1 - half, half):
            moved = np.roll(weight.reshape(-1), shift).reshape(weight.shape)
            assert [each.found for each in plausibility.structure([(moved, moved[0])])] == [
                f"out of place by {shift:+} numbers" if shift else "in place"
            ]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.zeros((2, 3, 3, 8)), "deviation of 0"),
        (np.full((2, 3, 3, 8), np.nan), "nan"),
        (np.array([1e30, -1e30]).repeat(72).reshape(2, 3, 3, 8), "1e+30"),
        (np.broadcast_to(np.random.default_rng(0).standard_normal((3, 3, 8)), (2, 3, 3, 8)), "same values"),
        (np.random.default_rng(0).standard_normal((2, 3, 3, 8)) * (np.arange(8) < 3), "5 of 8 channels"),
        (np.random.default_rng(0).standard_normal((2, 3, 3, 8)) * (np.arange(8) < 5), ""),
    ],
)
def test_maps(values: npt.NDArray[np.float64], word: str) -> None:
    problem = plausibility.of_map(values.astype(np.float32), 1).problem
    assert word in str(problem)
    assert bool(problem) == bool(word)


@pytest.mark.full_size
def test_random_weights_of_full_size_are_sound_but_untrained(open_network: Callable[..., Network]) -> None:
    """All that can be said against them is that nobody has trained them."""
    opened = open_network("fast")
    parameters = [(each.weight, each.bias) for each in opened.convolutions.values()]
    findings = [*plausibility.spread(parameters), plausibility.ending(parameters), *plausibility.structure(parameters)]
    assert [finding.check for finding in findings if finding.problem] == ["training"]
