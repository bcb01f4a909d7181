"""Where the user's files are that the programs keep for themselves."""

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """Give the folder for what can be made anew: `$XDG_CACHE_HOME/overfeat`; None where there is no home folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if cache.is_absolute():
        return cache / "overfeat"
    try:
        return Path.home() / ".cache" / "overfeat"
    except RuntimeError:
        return None
