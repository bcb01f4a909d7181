"""Where the weights may be had: the addresses known, and what a user names instead."""

import os
from dataclasses import dataclass

from overfeat_tools.download.transport import shown
from overfeat_tools.errors import UsageError


@dataclass(frozen=True)
class Source:
    """A place the weights may be had from: a URL or a path, and what is known of it."""

    place: str
    what: str

    @property
    def remote(self) -> bool:
        """Whether it is a URL."""
        return self.place.partition("://")[0].lower() in ("http", "https")

    @property
    def shown(self) -> str:
        """Its name in messages."""
        return shown(self.place) if self.remote else self.place


_NYU = "http://cilvr.cs.nyu.edu/lib/exe/fetch.php?media=overfeat:overfeat-weights.tgz"
_NYU_NEW = "http://cilvr.nyu.edu/lib/exe/fetch.php?media=overfeat:overfeat-weights.tgz"
_ARCHIVED = "https://web.archive.org/web/2id_/"
SOURCES = (
    Source(_NYU, "the authors' server, as their own script has it"),
    Source(_NYU_NEW, "the same server under its later name"),
    Source(_ARCHIVED + _NYU, "the Internet Archive's latest copy of the first"),
    Source(_ARCHIVED + _NYU_NEW, "the Internet Archive's latest copy of the second"),
    Source("https://www.dropbox.com/s/9brp4f5spheybwo/net_weights.zip?dl=1", "a copy that a user once shared"),
)


def chosen_sources(named: str | None) -> tuple[tuple[Source, ...], bool]:
    """Give the sources to try, and whether the user named them: `--from`, else `$OVERFEAT_URL`, else those known."""
    if named is not None:
        if not named:
            message = "--from: a file, a folder or a URL expected, nothing given"
            raise UsageError(message)
        return (Source(named, "named with --from"),), True
    if place := os.environ.get("OVERFEAT_URL"):
        return (Source(place, "named by $OVERFEAT_URL"),), True
    return SOURCES, False
