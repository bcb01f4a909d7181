"""Storage elsewhere, by its address: the door to fsspec.  What fails there for a moment is tried again."""

import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeVar

from overfeat_tools.errors import OverfeatError, UsageError, reason

ATTEMPTS, FIRST_WAIT_SECONDS, MOST_WAIT_SECONDS = 7, 0.5, 15.0
_SILENCE_SECONDS = 60  # of a server
_BLOCK_BYTES = 8 << 20
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?:::[^/]*)?://")

# Another try changes nothing about these.
_FINAL = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, FileExistsError)

T = TypeVar("T")


class StorageError(OverfeatError):
    """Storage failed, again and again."""


def is_remote(place: str) -> bool:
    """Tell an address from the name of a file."""
    return bool(_REMOTE.match(place))


@cache
def _opened(protocol_and_host: str) -> Any:  # noqa: ANN401 -- fsspec has no types
    scheme = protocol_and_host.partition("://")[0]
    try:
        import fsspec

        return fsspec.core.url_to_fs(protocol_and_host, **_options(scheme))[0]
    except ImportError as error:
        missing = f"{scheme}://: {reason(error)}"
        raise UsageError(f"{missing}; install overfeat_tools[remote], or what its protocol needs") from error
    except ValueError as error:
        raise UsageError(f"{scheme}://: {reason(error)}") from error


def _options(scheme: str) -> dict[str, Any]:
    if scheme not in ("http", "https"):
        return {}
    import aiohttp  # which would wait five minutes, whatever comes

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SILENCE_SECONDS, sock_read=_SILENCE_SECONDS)
    return {"client_kwargs": {"timeout": timeout}}


def file_system(place: str) -> tuple[Any, str]:
    """Give the file system of an address, and what it calls the place."""
    scheme, _, rest = place.partition("://")
    fs = _opened(
        f"{scheme}://{rest.partition('/')[0]}" if scheme in ("hdfs", "sftp", "ftp", "smb") else f"{scheme}://x"
    )
    return fs, fs._strip_protocol(place)  # noqa: SLF001 -- the only way there is


def retried(work: Callable[[], T], place: str) -> T:
    """Do something with storage; what fails is tried again, and again, after longer and longer pauses.

    Raises
    ------
    StorageError
        It keeps failing.
    OSError
        There is no such thing, or it isn't allowed.
    """
    import tenacity

    try:
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_random_exponential(FIRST_WAIT_SECONDS, MOST_WAIT_SECONDS),
            reraise=True,
        )(work)
    except _FINAL:
        raise
    except Exception as error:
        raise StorageError(f"{place}: {reason(error)}") from error


def _may_pass(error: BaseException) -> bool:
    status = getattr(error, "status", None)
    refused = isinstance(status, int) and 400 <= status < 500 and status not in (408, 425, 429)  # noqa: PLR2004
    return isinstance(error, Exception) and not isinstance(error, (*_FINAL, MemoryError)) and not refused


def fetch(place: str) -> bytes:
    """Bring a file."""
    fs, path = file_system(place)
    data: bytes = retried(lambda: fs.cat_file(path), place)
    return data


def stream(place: str) -> Iterator[bytes]:
    """Bring a large file piece by piece."""
    if not is_remote(place):
        with open(place, "rb", buffering=0) as file:  # noqa: PTH123 -- a path of any bytes
            while piece := file.read(_BLOCK_BYTES):
                yield piece
        return
    fs, path = file_system(place)
    file = retried(lambda: fs.open(path, "rb", block_size=_BLOCK_BYTES, cache_type="readahead"), place)
    with file:
        # Where nothing but a stream can be had, what is lost of it can't be read again.
        again = retried if getattr(file, "size", None) is not None else _once
        while piece := again(lambda: file.read(_BLOCK_BYTES), place):
            yield piece


def _once(work: Callable[[], T], place: str) -> T:
    try:
        return work()
    except Exception as error:
        raise StorageError(f"{place}: {reason(error)}") from error


def stamp_of(place: str) -> object:
    """Give what changes when a file does: size and time of change, or what a server says of it.

    Raises
    ------
    OSError
        It can't be had.
    """
    if not is_remote(place):
        return stamp_from(os.stat(place))  # noqa: PTH116 -- a path of any bytes
    fs, path = file_system(place)
    return told(retried(lambda: fs.info(path), place))


def stamp_from(status: os.stat_result) -> object:
    """Give what changes when a file here does."""
    return status.st_size, status.st_mtime_ns


def told(info: dict[str, Any]) -> object:
    """Give what storage says of a file that changes when it does."""
    keys = ("ETag", "etag", "md5", "LastModified", "last_modified", "mtime", "created", "Last-Modified")
    return info.get("size"), next((str(info[key]) for key in keys if info.get(key)), "")


def is_folder(place: str) -> bool:
    """Tell whether a place is a folder."""
    if not is_remote(place):
        return os.path.isdir(place)  # noqa: PTH112 -- a path of any bytes
    fs, path = file_system(place)
    return not place.startswith(("http:", "https:")) and bool(retried(lambda: fs.isdir(path), place))


def listed(place: str, *, recursive: bool) -> Iterator[tuple[str, object]]:
    """Give the names of the files in a folder elsewhere, in order, with what changes when they do."""
    fs, path = file_system(place)
    found = retried(lambda: fs.find(path, maxdepth=None if recursive else 1, detail=True), place)
    for name in sorted(found, key=str.encode):
        yield name.removeprefix(path.rstrip("/")).lstrip("/"), told(found[name])


def matching(pattern: str) -> list[str]:
    """Give the addresses of the files that match a pattern."""
    fs, path = file_system(pattern)
    return sorted(fs.unstrip_protocol(name) for name in retried(lambda: fs.glob(path), pattern))
