"""Weights that were published with their SHA-256, as safetensors files: nothing but these is installed."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from overfeat_tools.backend import CpuBackend
from overfeat_tools.commands import download
from overfeat_tools.download import sources
from overfeat_tools.download.manifest import read_manifest
from overfeat_tools.download.sources import Publication, Source, WeightFile, published_files
from overfeat_tools.errors import DownloadError, WeightsError
from overfeat_tools.networks.classes import read_classes
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import vgg
from overfeat_tools.results.ranking import rank
from tests import synthetic_weights
from tests.loopback import Server, content, get, listing, serving, tar_of

pytestmark = pytest.mark.usefixtures("download_surroundings")

TOPOLOGY = vgg("vgg16", "16 M 16 M", units=32)
LAYOUT = synthetic_weights.vgg_layout((16, "M", 16, "M"), 32)
WEIGHTS = synthetic_weights.vgg_header(LAYOUT) + b"".join(synthetic_weights.pieces(LAYOUT.values(), 3))
OTHER = WEIGHTS[:-4] + np.float32(0.05).tobytes()
FILE = WeightFile(
    "vgg16", TOPOLOGY.weight_file, TOPOLOGY.kernel_shapes, TOPOLOGY.parameter_names,
    hashlib.sha256(WEIGHTS).hexdigest(), Publication((), "the licence"),
)  # fmt: skip
NAME = FILE.name


def test_what_was_published() -> None:
    """Each with a sum of its own, from one place, under a licence that nobody must accept."""
    files = published_files(["vgg11", "vgg16", "vgg19"])
    assert [file.name for file in files] == ["vgg11.safetensors", "vgg16.safetensors", "vgg19.safetensors"]
    assert len({file.sha256 for file in files}) == 3
    for file in files:
        assert len(bytes.fromhex(file.sha256 or "")) == 32
        assert file.network in file.publication.sources[0].place
        assert not file.publication.must_accept
    assert {file.network for file in published_files(None) if not file.sha256} == {"fast", "accurate"}


def test_fetched_checked_mapped_and_used(tmp_path: Path) -> None:
    """From the server to the names of classes, in the order of their ids."""
    with serving(**{"model.safetensors": content(WEIGHTS, cuts=[100_000])}) as server:
        get(tmp_path, server.url("/model.safetensors"), files=(FILE,))
    assert (tmp_path / NAME).read_bytes() == WEIGHTS
    assert listing(tmp_path) == ["manifest.json", NAME]
    record = read_manifest(tmp_path)[NAME]
    assert (record.size, record.sha256) == (len(WEIGHTS), FILE.sha256)
    network = Network(TOPOLOGY, tmp_path, CpuBackend(2))
    picture = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 3), np.uint8)
    probabilities = network.run(picture)[0, 0, 0]
    (best, probability), *_ = rank(probabilities, read_classes(TOPOLOGY), 5)
    assert probability == probabilities.max()
    assert best.wnid == sorted(item.wnid for item in read_classes(TOPOLOGY))[int(probabilities.argmax())]


def test_another_sum_is_refused(tmp_path: Path) -> None:
    """From a server, a folder, an archive, or put there by hand, unless it was asked for by its sum."""
    sums = [hashlib.sha256(data).hexdigest() for data in (OTHER, WEIGHTS)]
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / NAME).write_bytes(OTHER)
    archive = tmp_path / "archive.tar"
    archive.write_bytes(tar_of({NAME: OTHER}))
    with serving(a=content(OTHER)) as server:
        for place in (server.url("/a"), str(tmp_path / "from"), str(archive)):
            with pytest.raises(WeightsError, match=f"its sha256 is {sums[0]}, but {sums[1]} was published"):
                get(tmp_path / "w", place, files=(FILE,))
            assert listing(tmp_path / "w") == []
        (tmp_path / "w" / NAME).write_bytes(OTHER)
        (tmp_path / "from" / NAME).write_bytes(WEIGHTS)
        told = get(tmp_path / "w", str(tmp_path / "from"), files=(FILE,))
        assert any("was published; fetching it again" in line for line in told)
        assert (tmp_path / "w" / NAME).read_bytes() == WEIGHTS
        get(tmp_path / "v", server.url("/a"), files=(FILE,), pins=frozenset(sums[:1]))
        assert (tmp_path / "v" / NAME).read_bytes() == OTHER


def test_right_sum_of_what_is_no_weight_file(tmp_path: Path) -> None:
    """A sum does not make a header right."""
    broken = WEIGHTS.replace(b'"head.fc.bias"', b'"head.fc.bios"')
    file = replace(FILE, sha256=hashlib.sha256(broken).hexdigest())
    with serving(a=content(broken)) as server, pytest.raises(WeightsError, match=r"no head\.fc\.bias"):
        get(tmp_path, server.url("/a"), files=(file,))
    assert listing(tmp_path) == []


def test_way_on_when_nyu_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, with all known sources gone; then the other network, of which no licence need be accepted."""
    said: list[str] = []
    monkeypatch.setattr(download, "_say", said.append)
    monkeypatch.setattr(download.cli, "agreed", lambda _: said.append("asked") or True)
    monkeypatch.delenv("OVERFEAT_URL", raising=False)
    with Server() as gone:
        nowhere = gone.url("/a")
    nyu = replace(sources.OVERFEAT, sources=(Source(nowhere, "one"), Source(f"{nowhere}b", "another")))
    monkeypatch.setattr(sources, "OVERFEAT", nyu)
    fast = WeightFile("fast", "net_weight_0", FILE.shapes, publication=nyu)
    with pytest.raises(DownloadError, match="hosted elsewhere, `of-download vgg16` gets them"):
        download._get(download.Options(), tmp_path, [fast, FILE])  # noqa: SLF001 -- less than a process
    assert "asked" in said
    said.clear()
    with serving(**{"model.safetensors": content(WEIGHTS)}) as server:
        published = Publication((Source(server.url("/model.safetensors"), "one"),), "its licence")
        file = replace(FILE, publication=published)
        assert download._get(download.Options(networks=["vgg16"]), tmp_path, [file]) == 0  # noqa: SLF001
    assert "its licence" in said
    assert "asked" not in said
    assert (tmp_path / NAME).read_bytes() == WEIGHTS
