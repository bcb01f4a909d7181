"""The network that ships with the package truly recognises: a wrong sign or a swapped channel costs accuracy.

The pictures are drawn afresh, from seeds that training never saw, and go through the program as PPM.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from overfeat_tools.networks.classes import read_classes
from overfeat_tools.networks.topology import TINY
from tests.processes import run
from training.draw import draw

Pictures = npt.NDArray[np.uint8]

SAMPLES = Path(__file__).parent.parent / "samples"
FIRST_SEED = 20_000_000  # of the test pictures; see training/README.md
PER_CLASS = 10
CLASSES = [item.name for item in read_classes(TINY)]


def classify(pictures: bytes, *files: str) -> list[str]:
    """Give the best class of each picture, as the program prints it."""
    done = run("classify", "--net", "tiny", "-n", "1", *files, data=pictures)
    assert done.status == 0, done.err
    return done.names


def ppm(pictures: Pictures) -> bytes:
    """Write pictures (N, H, W, 3) as a stream."""
    return b"".join(b"P6\n%d %d\n255\n" % (p.shape[1], p.shape[0]) + p.tobytes() for p in pictures)


@pytest.fixture(scope="module")
def drawn() -> Pictures:
    """Draw `PER_CLASS` pictures of each class."""
    return np.stack([draw(c, FIRST_SEED + k) for c in range(len(CLASSES)) for k in range(PER_CLASS)])


def accuracy(pictures: Pictures) -> float:
    """Give the share of pictures named as they are meant."""
    meant = np.repeat(CLASSES, PER_CLASS)
    return float(np.mean(np.array(classify(ppm(pictures))) == meant))


def test_accuracy(drawn: Pictures) -> None:
    assert accuracy(drawn) >= 0.95


@pytest.mark.long
@pytest.mark.parametrize(
    "spoil",
    [lambda x: x[..., ::-1], lambda x: x[:, :, ::-1], lambda x: x.transpose(0, 2, 1, 3), lambda x: 255 - x // 4],
    ids=["red and blue exchanged", "mirrored", "rows and columns exchanged", "too bright"],
)
def test_accuracy_can_be_lost(spoil: Callable[[Pictures], Pictures], drawn: Pictures) -> None:
    """If these cost nothing, the test above could not see such faults in the programs."""
    assert accuracy(spoil(drawn)) <= accuracy(drawn) - 0.04


def test_samples() -> None:
    """The pictures of the folder carry their names."""
    files = sorted(SAMPLES.glob("*.png"))
    assert len(files) >= 12
    assert classify(b"", *map(str, files)) == [file.stem.replace("_", " ") for file in files]
    assert len(classify((SAMPLES / "stream.ppm").read_bytes())) == 4


def test_missing_weights_of_another_network_name_both_ways(tmp_path: Path) -> None:
    """Never a silent fall back to tiny."""
    done = run("classify", "-d", tmp_path)
    assert done.out == b""
    done.one_line(4, "of-download fast", "the network tiny")
