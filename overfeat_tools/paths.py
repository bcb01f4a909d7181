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


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of which nobody ever sees a part; it is readable by this user only.

    Raises
    ------
    OSError
        It can't be written; what was there is still there, and nothing else.
    """
    import tempfile

    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
        try:
            file.write(content)
            file.close()
            Path(file.name).replace(path)
        finally:
            Path(file.name).unlink(missing_ok=True)
