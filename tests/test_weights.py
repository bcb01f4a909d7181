"""A weight file is found where it should be, checked before use, and mapped in the file's order."""

import pwd
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from overfeat_tools.errors import WeightsError
from overfeat_tools.networks.weights import file_bytes, file_name, map_ahead, map_weights, weights_folder

SHAPES = [(2, 3, 4, 5), (3, 2, 1, 1)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give a small weight file that counts 0, 1, 2, ..."""
    path = tmp_path / "net_weight_9"
    np.arange(2 * 60 + 2 + 6 + 3).astype("<f4").tofile(path)
    return path


def test_walk(file: Path) -> None:
    """Kernels, then biases, one convolution after the other, each value once."""
    assert file_bytes(SHAPES) == file.stat().st_size
    parameters = map_weights(file, SHAPES, "small")
    assert [(weight.shape, bias.shape) for weight, bias in parameters] == [(SHAPES[0], (2,)), (SHAPES[1], (3,))]
    flat = np.concatenate([part.ravel() for both in parameters for part in both])
    assert flat.tolist() == list(range(131))
    assert parameters[0][0][1, 2, 3, 4] == 119


def test_mapped_not_copied(file: Path) -> None:
    """Weights are read-only; the system shares their pages."""
    for weight, bias in map_weights(file, SHAPES, "small"):
        assert not weight.flags.writeable
        assert not bias.flags.writeable
        assert not weight.flags.owndata


@pytest.mark.skipif(sys.platform != "linux", reason="faults are counted otherwise")
def test_mapped_ahead_are_read_without_faults(tmp_path: Path) -> None:
    shape = (1024, 1024, 2, 2)
    (tmp_path / file_name("fast")).write_bytes(bytes(file_bytes([shape])))
    reads = 256  # of 64 KiB
    for seconds in (0.01, 0.1, 1, 5):
        map_ahead("fast", tmp_path)
        time.sleep(seconds)
        ((weight, _bias),) = map_weights(tmp_path / file_name("fast"), [shape], "fast")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        assert not weight[:, ::16].any()
        reads = min(reads, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        if reads < 64:
            break
    assert reads < 64


def test_what_is_mapped_ahead_is_the_file_that_is_opened(file: Path, tmp_path: Path) -> None:
    """A file that was replaced meanwhile is mapped anew; one that is missing is told of when it is opened."""
    map_ahead("fast", tmp_path)
    file.rename(tmp_path / file_name("fast"))
    map_ahead("fast", tmp_path)
    (tmp_path / "other").write_bytes(bytes(524))
    (tmp_path / "other").rename(tmp_path / file_name("fast"))
    for weight, _bias in map_weights(tmp_path / file_name("fast"), SHAPES, "small"):
        assert not weight.any()


@pytest.mark.parametrize("change", [-524, -1, 1, 4, 524])
def test_wrong_size(file: Path, change: int) -> None:
    """Path, both sizes, and the cure."""
    with file.open("r+b") as opened:
        opened.truncate(524 + change)
    with pytest.raises(WeightsError) as error:
        map_weights(file, SHAPES, "small")
    for word in (str(file), "524 bytes", str(524 + change), "of-download small"):
        assert word in str(error.value)
    assert error.value.exit_status == 4


def test_missing_and_strange(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "none" / "none", tmp_path):
        with pytest.raises(WeightsError, match="of-download small") as error:
            map_weights(path, SHAPES, "small")
        assert str(path) in str(error.value)


def test_message_of_other_failures(file: Path) -> None:
    """Here a file where a folder should be; a message is lower case and says what to do."""
    with pytest.raises(WeightsError) as error:
        map_weights(file / "net_weight_0", SHAPES, "small")
    assert "not a directory" in str(error.value)
    assert "of-download" in str(error.value)


def test_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The one asked for, `$OVERFEAT_DATA`, the user's data folder: in this order; empty is not set."""
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("OVERFEAT_DATA", "/data")
    monkeypatch.setenv("XDG_DATA_HOME", "/share")
    assert weights_folder(tmp_path) == tmp_path
    assert weights_folder() == Path("/data")
    monkeypatch.setenv("OVERFEAT_DATA", "")
    assert weights_folder() == Path("/share/overfeat")
    monkeypatch.setenv("XDG_DATA_HOME", "")
    assert weights_folder() == Path("/home/somebody/.local/share/overfeat")


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run under a number that has neither name nor home."""
    for name in ("HOME", "OVERFEAT_DATA", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(_: int) -> object:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(WeightsError):
        weights_folder()
