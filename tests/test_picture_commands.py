"""Every command sees the same picture, upright, whatever kind of file it comes in and however that was turned."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from overfeat_tools.networks.layers import Normalise
from overfeat_tools.networks.topology import TOPOLOGIES
from overfeat_tools.pictures import read_items
from tests.picture_files import MAKERS, smooth
from tests.processes import run
from tests.test_metadata import PLACES

Array = npt.NDArray[np.generic]

SMOOTH = smooth(231, 260)
KINDS = [kind for kind in MAKERS if kind not in ("ico", "icns")]  # which are smaller
# How to turn a picture so that the orientation brings it back.
STORED = {
    1: SMOOTH, 2: SMOOTH[:, ::-1], 3: SMOOTH[::-1, ::-1], 4: SMOOTH[::-1],
    5: SMOOTH.transpose(1, 0, 2), 6: np.rot90(SMOOTH), 7: SMOOTH[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(SMOOTH, -1),
}  # fmt: skip
TURNED = [
    (place, turn)
    for place in ("jpeg", "jpeg-cmyk", "png-palette", "webp", "tiff", "tiff-lzw", "avif")
    for turn in (range(1, 9) if place == "jpeg" else (5, 6))
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Give a file of every kind, and then those that are turned."""
    folder = tmp_path_factory.mktemp("pictures")
    made = {kind: MAKERS[kind](SMOOTH) for kind in KINDS}
    made |= {
        f"{place}-{turn}": PLACES[place](np.ascontiguousarray(STORED[turn]), turn)
        for place, turn in TURNED
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in made]


@pytest.fixture(scope="module")
def expected(files: list[Path]) -> list[Array]:
    """Give their pictures as they are read: rightly, as is shown elsewhere for each kind, and here of turned ones."""
    pictures = [np.asarray(item.pixels) for item in read_items([str(path) for path in files], {})]
    for path, picture in zip(files, pictures, strict=True):
        assert picture.shape == SMOOTH.shape, path.name
        if path.name[-1].isdigit() and path.name[-2] == "-":
            assert np.abs(picture.astype(float) - SMOOTH).mean() < (15 if "palette" in path.name else 5), path.name
    return pictures


@pytest.fixture(scope="module")
def stream(expected: list[Array]) -> bytes:
    """Give the same pictures as a stream of PPM."""
    return b"".join(MAKERS["p6"](picture.round().astype(np.uint8)) for picture in expected)


def records(data: bytes) -> Iterator[Array]:
    """Read concatenated npy records."""
    source = io.BytesIO(data)
    while source.tell() < len(data):
        yield np.load(source)


def test_of_layer(files: list[Path], expected: list[Array]) -> None:
    """Layer 0 is the picture itself, but for its mean and scale."""
    result = run("layer", "--net", "tiny", "-L", "0", "--format", "npy", *files)
    assert (result.status, result.err) == (0, "")
    normalise = TOPOLOGIES["tiny"].layers[0]
    assert isinstance(normalise, Normalise)
    for path, found, picture in zip(files, records(result.out), expected, strict=True):
        pixels = found.transpose(1, 2, 0) * normalise.deviation + normalise.mean
        np.testing.assert_allclose(pixels, picture, atol=0.01, err_msg=path.name)


def test_of_features(files: list[Path], stream: bytes) -> None:
    """What is read from files is what comes in a stream."""
    options = ("features", "--net", "tiny", "--format", "npy", "--batch", "1")
    result = run(*options, *files)
    assert (result.status, result.err) == (0, "")
    piped = records(run(*options, data=stream).out)
    for path, found, same in zip(files, records(result.out), piped, strict=True):
        np.testing.assert_allclose(found, same, atol=1e-4 * np.abs(same).max(), err_msg=path.name)


def test_of_classify(files: list[Path], stream: bytes) -> None:
    options = ("classify", "--net", "tiny", "--format", "json", "-n", "26", "--batch", "1")
    result = run(*options, *files)
    assert (result.status, result.err) == (0, "")
    answers, piped = (
        [{one["index"]: one["probability"] for one in json.loads(line)["classes"]} for line in out.splitlines()]
        for out in (result.out, run(*options, data=stream).out)
    )
    for path, found, same in zip(files, answers, piped, strict=True):
        assert found == pytest.approx(same, abs=1e-4), path.name
