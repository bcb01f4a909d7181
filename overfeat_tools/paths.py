"""The user's own folders, and files that are written whole or not at all."""

from pathlib import Path


def data_folder() -> Path | None:
    """Give the user's data folder, `$XDG_DATA_HOME/overfeat` on Linux; None if there is no home folder."""
    import platformdirs

    return _absolute(platformdirs.user_data_path("overfeat"))


def cache_folder(name: str = "overfeat") -> Path | None:
    """Give the folder for what can be made again, `$XDG_CACHE_HOME/overfeat` on Linux; None if there is no home."""
    import platformdirs

    return _absolute(platformdirs.user_cache_path(name))


def _absolute(folder: Path) -> Path | None:
    # platformdirs ignores relative values of the XDG variables, as the standard asks; without a home it gives "~/...".
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
