"""Machine code kept between runs, in a folder that only this user can write to.

Whoever could put a file there would have this user run it.  So a folder that belongs to somebody else, or that others
may write to, is not used at all.  Links are not followed, and a file with a second name is not read: this user may own
files, somewhere, whose content came from somebody else.  A checksum finds what was cut off or damaged.
"""

import contextlib
import itertools
import os
import stat
from pathlib import Path

from overfeat_tools.paths import write_whole

_CHECKSUM_BYTES = 32

# No kernel has a hundredth of it.
_MAX_FILE_BYTES = 16 << 20

# Several times what one version of the package writes.
_MAX_FILES = 256

_NEVER_FOLLOW_NOR_WAIT = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class CodeCache:
    """Object code by name.  What can't be read is not there, and what can't be written is not kept.

    Parameters
    ----------
    folder : Path
        Used for nothing else; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        """Whether the folder is there, and safe to use."""
        with contextlib.suppress(OSError):
            status = self.folder.lstat()
            return stat.S_ISDIR(status.st_mode) and _is_ours_alone(status)
        return False

    def create(self) -> None:
        """Create the folder and those that it stands in, if possible.

        Unlike `Path.mkdir`, all of them for this user alone.
        """
        with contextlib.suppress(OSError):
            missing = itertools.takewhile(lambda path: not path.is_dir(), (self.folder, *self.folder.parents))
            for path in reversed(list(missing)):
                path.mkdir(mode=0o700, exist_ok=True)

    def read(self, name: str) -> bytes | None:
        """Return the code kept under a name, or None."""
        if not self.exists:
            return None
        with contextlib.suppress(OSError), open(
            self.folder / name, "rb", opener=lambda path, flags: os.open(path, flags | _NEVER_FOLLOW_NOR_WAIT)
        ) as file:
            status = os.fstat(file.fileno())
            is_plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
            if is_plain and _is_ours_alone(status) and status.st_size <= _MAX_FILE_BYTES:
                content = file.read()
                code = content[_CHECKSUM_BYTES:]
                return code if content[:_CHECKSUM_BYTES] == _checksum(name, code) else None
        return None

    def write(self, name: str, code: bytes) -> None:
        """Keep code under a name, if possible, in place of the oldest where there is too much."""
        self.create()
        if self.exists:
            with contextlib.suppress(OSError):
                write_whole(self.folder / name, _checksum(name, code) + code)
                # The oldest are of earlier versions, or what writers left that were killed.
                files = [path for path in self.folder.iterdir() if not path.is_dir()]
                if len(files) > _MAX_FILES:
                    for path in sorted(files, key=lambda path: path.lstat().st_mtime)[:-_MAX_FILES]:
                        path.unlink(missing_ok=True)


def _is_ours_alone(status: os.stat_result) -> bool:
    """Tell whether a file or folder belongs to this user and nobody else may write to it."""
    return not hasattr(os, "geteuid") or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)


def _checksum(name: str, code: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(name.encode() + code).digest()
