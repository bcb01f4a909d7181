"""The user's own folders."""

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from overfeat_tools.errors import UsageError
from overfeat_tools.networks.weights import weights_folder
from overfeat_tools.paths import cache_folder, data_folder

FOLDERS = pytest.mark.parametrize(
    ("folder", "variable", "default"),
    [(data_folder, "XDG_DATA_HOME", ".local/share"), (cache_folder, "XDG_CACHE_HOME", ".cache")],
)
pytestmark = pytest.mark.skipif(os.uname().sysname == "Darwin", reason="other folders there")


@FOLDERS
def test_folder_of_the_user(
    monkeypatch: pytest.MonkeyPatch, folder: Callable[[], Path | None], variable: str, default: str
) -> None:
    """A relative value must be ignored, says the standard; an empty one is not set."""
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv(variable, "/elsewhere")
    assert folder() == Path("/elsewhere/overfeat")
    for ignored in ("", "relative", "./relative", "~/relative"):
        monkeypatch.setenv(variable, ignored)
        assert folder() == Path("/home/somebody") / default / "overfeat"


@FOLDERS
def test_no_home(
    monkeypatch: pytest.MonkeyPatch, folder: Callable[[], Path | None], variable: str, default: str
) -> None:
    def nobody(_: int) -> object:
        raise KeyError

    del default
    monkeypatch.delenv("HOME")
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert folder() is None


def test_empty_name_of_the_weights_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="-d"):
        weights_folder("")
    assert weights_folder(str(tmp_path)) == weights_folder(tmp_path) == tmp_path
