"""Which weight files there are, where they can be had, and under which licence."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from overfeat_tools.errors import UsageError
from overfeat_tools.networks.safetensors import LONGEST_HEADER_BYTES
from overfeat_tools.networks.topology import TOPOLOGIES, Topology
from overfeat_tools.networks.weights import KernelShape, file_bytes


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


@dataclass(frozen=True)
class Publication:
    """Where weights were published, and under which licence, which may have to be accepted before.

    `way_on` is what may be done when none of several sources has them.
    """

    sources: tuple[Source, ...]
    licence: str
    must_accept: bool = False
    way_on: str = ""


_OVERFEAT_SOURCES = (
    Source(_NYU, "the authors' server, as in their own script"),
    Source(_NYU_NEW, "the same server under its later name"),
    Source(_ARCHIVED + _NYU, "the Internet Archive's latest copy of the first"),
    Source(_ARCHIVED + _NYU_NEW, "the Internet Archive's latest copy of the second"),
    Source("https://www.dropbox.com/s/9brp4f5spheybwo/net_weights.zip?dl=1", "a copy once shared by a user"),
)
OVERFEAT = Publication(
    _OVERFEAT_SOURCES,
    "the weights are Copyright 2013 New York University, all rights reserved: free of charge for your internal "
    "research and evaluation only; not to be passed on or modified; without any warranty. "
    "By downloading them you accept their licence, https://github.com/sermanet/OverFeat/blob/master/LICENSE",
    must_accept=True,
    way_on="; weights of another network are hosted elsewhere, `of-download vgg16` gets them",
)

_VGG_LICENCE = "the weights of {} are published under the BSD 3-Clause licence"

# The SHA-256 of each file that was published with one.
_SHA256 = {
    "vgg11": "682c023808812148d4e60c76d80ad83dbeaf5d50eb1a952a0b836895003151e5",
    "vgg16": "57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8",
    "vgg19": "11aea017b543ff59233749d8f1cf544cda749378f5790d2fedab841fb86b7669",
}


@dataclass(frozen=True)
class WeightFile:
    """The weight file of a network: its name, and the shapes of the kernels in it.

    A safetensors file has `names` for them as well, and may have been published with its SHA-256.
    """

    network: str
    name: str
    shapes: Sequence[KernelShape]
    names: Sequence[str] = ()
    sha256: str | None = None
    publication: Publication = OVERFEAT

    @property
    def size(self) -> int:
        """The bytes of its numbers; its exact size, if it has no header."""
        return file_bytes(self.shapes)

    def __str__(self) -> str:
        return f"{self.name} ({self.size} bytes{' and a header' if self.names else ''})"

    def may_have(self, size: int | None) -> bool:
        """Tell whether a file of this size can be this one."""
        return size is not None and self.size <= size <= self.size + (LONGEST_HEADER_BYTES if self.names else 0)


def published_files(networks: Sequence[str] | None) -> list[WeightFile]:
    """Give the weight files of the networks named; by default all that were published."""
    files = [_published_file(topology) for topology in TOPOLOGIES.values() if not topology.packaged]
    if unknown := set(networks or ()) - {file.network for file in files}:
        published = ", ".join(file.network for file in files)
        raise UsageError(f"there are no weights of {min(unknown)} to download, only of {published}")
    return [file for file in files if not networks or file.network in networks]


def _published_file(topology: Topology) -> WeightFile:
    name, names, sha256 = topology.name, topology.parameter_names, _SHA256.get(topology.name)
    if not sha256:
        return WeightFile(name, topology.weight_file, topology.kernel_shapes)
    url = f"https://huggingface.co/timm/{name}.tv_in1k/resolve/main/model.safetensors"
    publication = Publication((Source(url, f"{name}, with its published SHA-256"),), _VGG_LICENCE.format(name))
    return WeightFile(name, topology.weight_file, topology.kernel_shapes, names, sha256, publication)


def file_of_size(size: int | None, files: Sequence[WeightFile]) -> WeightFile | None:
    """Give the weight file that has this size, if one has."""
    return next((file for file in files if file.may_have(size)), None)


def chosen_source(named: str | None) -> Source | None:
    """Give the source named with --from, else by `$OVERFEAT_URL`; None if neither names one."""
    if named == "":
        raise UsageError("--from: a file, a folder or a URL expected")
    if named:
        return Source(named, "named with --from")
    variable = os.environ.get("OVERFEAT_URL")
    return Source(variable, "named by $OVERFEAT_URL") if variable else None
