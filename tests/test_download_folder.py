"""The folder of the weights: what is installed, recorded, left over and compared."""

import hashlib
import shutil
from pathlib import Path

import pytest

from overfeat_tools.errors import DownloadError, OverfeatError, UsageError, WeightsError
from tests.loopback import FAST, content, get, installed, listing, serving, tgz, weights, whole

BOTH = {"net_weight_0", "net_weight_1"}


pytestmark = pytest.mark.usefixtures("download_surroundings")


def test_second_run_checks_only(tmp_path: Path) -> None:
    with serving(a=content(tgz())) as server:
        get(tmp_path, server.url("/a"))
        server.asked.clear()
        told = get(tmp_path, server.url("/a"))
        assert server.asked == []
    assert len([line for line in told if "is installed and intact" in line]) == 2


def test_damaged_file_is_fetched_again(tmp_path: Path) -> None:
    with serving(a=content(tgz())) as server:
        get(tmp_path, server.url("/a"))
        damaged = bytearray(weights("net_weight_0"))
        damaged[1000] ^= 1
        (tmp_path / "net_weight_0").write_bytes(damaged)
        told = get(tmp_path, server.url("/a"))
    assert any("was installed on" in line and line.endswith("fetching it again") for line in told)
    whole(tmp_path)


def test_other_weights_than_at_first_are_refused(tmp_path: Path) -> None:
    with serving(a=content(tgz())) as server:
        get(tmp_path, server.url("/a"))
    (tmp_path / "net_weight_0").unlink()
    other = bytearray(weights("net_weight_0"))
    other[1000] ^= 1
    (tmp_path / "other").write_bytes(other)
    with pytest.raises(WeightsError, match=r"delete manifest\.json"):
        get(tmp_path, str(tmp_path / "other"), files=(FAST,))
    assert not (tmp_path / "net_weight_0").exists()
    (tmp_path / "manifest.json").unlink()
    get(tmp_path, str(tmp_path / "other"), files=(FAST,))
    assert (tmp_path / "net_weight_0").read_bytes() == other


def test_pin(tmp_path: Path) -> None:
    with serving(a=content(tgz())) as server:
        right = frozenset(hashlib.sha256(weights(name)).hexdigest() for name in BOTH)
        with pytest.raises(WeightsError, match="--sha256"):
            get(tmp_path, server.url("/a"), pins=frozenset({"0" * 64}))
        assert installed(tmp_path) == set()
        get(tmp_path, server.url("/a"), pins=right)
    whole(tmp_path)


def test_installed_by_hand(tmp_path: Path) -> None:
    for name in BOTH:
        (tmp_path / name).write_bytes(weights(name))
    get(tmp_path)
    whole(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"net_weight_0": 1}', "[" * 100_000, "\0"])
def test_damaged_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(WeightsError, match="delete it"):
        get(tmp_path, "nowhere")


@pytest.mark.parametrize("validator", ["", '"on', '"other"', "\x7f"])
def test_damaged_validator(tmp_path: Path, validator: str) -> None:
    with serving(a=content(tgz(), cuts=[300_000] * 5)) as server:
        with pytest.raises(DownloadError):
            get(tmp_path, server.url("/a"))
        for path in (tmp_path / ".download").glob("*.validator"):
            path.write_text(validator)
        get(tmp_path, server.url("/a"))
    whole(tmp_path)


def test_nothing_at_this_path(tmp_path: Path) -> None:
    for place in ("nowhere", "ftp://127.0.0.1/a", "http:/127.0.0.1/a"):
        with pytest.raises(UsageError, match="no such file"):
            get(tmp_path, place)
    assert listing(tmp_path) == []


def test_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="net_weight_0 and net_weight_1 not found"):
        get(tmp_path / "w", str(tmp_path / "empty"))
    assert listing(tmp_path / "w") == []


@pytest.mark.parametrize("where", ["file/w", "file", "/proc/w"])
def test_folder_that_cannot_be(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OverfeatError, match="-d") as caught:
        get(tmp_path / where, "nowhere")
    assert caught.value.exit_status == 1


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room is looked at before anything is fetched."""
    usage = shutil.disk_usage(tmp_path)._replace(free=16 << 20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with serving(a=content(tgz())) as server:
        with pytest.raises(OverfeatError, match="make room") as caught:
            get(tmp_path, server.url("/a"))
        assert caught.value.exit_status == 1
        assert server.asked == []
    assert listing(tmp_path) == []


def test_room_for_the_archive_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room for what is unpacked is asked for before the archive is fetched."""
    usage = shutil.disk_usage(tmp_path)._replace(free=(16 << 20) + len(tgz()) + FAST.size)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with serving(a=content(tgz())) as server, pytest.raises(OverfeatError, match="make room"):
        get(tmp_path, server.url("/a"))
    assert not list(tmp_path.rglob("*.part")) or next(tmp_path.rglob("*.part")).stat().st_size == 0
    (tmp_path / "archive").write_bytes(tgz())
    get(tmp_path / "w", str(tmp_path / "archive"))
    whole(tmp_path / "w")
