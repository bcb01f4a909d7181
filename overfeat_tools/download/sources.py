"""Which weight files there are, and where they can be had."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from overfeat_tools.errors import UsageError
from overfeat_tools.networks.topology import TOPOLOGIES
from overfeat_tools.networks.weights import KernelShape, file_bytes


@dataclass(frozen=True)
class WeightFile:
    """The weight file of a network: its name, and the shapes of the kernels in it."""

    network: str
    name: str
    shapes: Sequence[KernelShape]

    @property
    def size(self) -> int:
        """Its exact size in bytes."""
        return file_bytes(self.shapes)


def published_files(networks: Sequence[str] | None) -> list[WeightFile]:
    """Give the weight files of the networks named; by default all that were published."""
    files = [WeightFile(t.name, t.weight_file, t.kernel_shapes) for t in TOPOLOGIES.values() if not t.packaged]
    if unknown := set(networks or ()) - {file.network for file in files}:
        published = " and ".join(file.network for file in files)
        raise UsageError(f"there are no weights of {min(unknown)} to download, only of {published}")
    return [file for file in files if not networks or file.network in networks]


def file_of_size(size: int | None, files: Sequence[WeightFile]) -> WeightFile | None:
    """Give the weight file that has this size, if one has."""
    return next((file for file in files if file.size == size), None)


@dataclass(frozen=True)
class Source:
    """A URL or a local path that has weights."""

    place: str
    description: str

    @property
    def is_url(self) -> bool:
        """Whether it must be downloaded."""
        return self.place.partition("://")[0].lower() in ("http", "https")

    @property
    def label(self) -> str:
        """Its name in messages and records: without user name and password."""
        return re.sub(r"(?<=://)[^/?#]*@", "", self.place) if self.is_url else self.place


_NYU = "http://cilvr.cs.nyu.edu/lib/exe/fetch.php?media=overfeat:overfeat-weights.tgz"
_NYU_NEW = "http://cilvr.nyu.edu/lib/exe/fetch.php?media=overfeat:overfeat-weights.tgz"
_ARCHIVED = "https://web.archive.org/web/2id_/"  # redirects to the latest copy, unchanged
SOURCES = (
    Source(_NYU, "the authors' server, as in their own script"),
    Source(_NYU_NEW, "the same server under its later name"),
    Source(_ARCHIVED + _NYU, "the Internet Archive's latest copy of the first"),
    Source(_ARCHIVED + _NYU_NEW, "the Internet Archive's latest copy of the second"),
    Source("https://www.dropbox.com/s/9brp4f5spheybwo/net_weights.zip?dl=1", "a copy once shared by a user"),
)


def chosen_sources(named: str | None) -> tuple[Source, ...]:
    """Give the sources to try: the one named with --from, else `$OVERFEAT_URL`, else all that are known."""
    if named == "":
        raise UsageError("--from: a file, a folder or a URL expected")
    if named:
        return (Source(named, "named with --from"),)
    variable = os.environ.get("OVERFEAT_URL")
    return (Source(variable, "named by $OVERFEAT_URL"),) if variable else SOURCES
