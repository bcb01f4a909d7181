"""The user's own folders, and files that are written whole or not at all."""

from collections.abc import Callable
from pathlib import Path

import platformdirs


def data_folder() -> Path | None:
    """Give the user's data folder, `$XDG_DATA_HOME/overfeat` on Linux; None if there is no home folder."""
    return _absolute(platformdirs.user_data_path, "overfeat")


def cache_folder(name: str = "overfeat") -> Path | None:
    """Give the folder for what can be made again, `$XDG_CACHE_HOME/overfeat` on Linux; None if there is no home."""
    return _absolute(platformdirs.user_cache_path, name)


def _absolute(find: Callable[[str], Path], name: str) -> Path | None:
    # platformdirs ignores relative XDG variables, as the standard asks.  Without a home its versions differ: they raise
    # an error, or give "~/...".
    try:
        folder = find(name)
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of which nobody ever sees a part; only this user can read it.

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
