"""HTTP: the bytes of a URL from an offset on.  The one door to httpx.

Its many errors become two kinds here: `TransientError`, which another attempt may cure, and `DownloadError`, which it
won't.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from overfeat_tools import __version__
from overfeat_tools.errors import DownloadError

_TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504}
_CONNECT_SECONDS = 15.0
_MOST_REDIRECTS = 10
_CHUNK_BYTES = 1 << 14  # less than this is lost when a connection breaks
_MOST_DIGITS = 18
Client = httpx.Client


class TransientError(DownloadError):
    """The attempt failed; another one may not."""


class UnreachableError(TransientError):
    """There was no connection at all."""


class RangeError(TransientError):
    """The rest of the file can't be had: another attempt must begin at its start."""


@dataclass(frozen=True)
class Response:
    """What a server sends: the bytes of a file from `start` on.

    `total` is the size of the whole file, if known; `validator`, the ETag or date, identifies its version; the first of
    the `chunks` is long enough to tell what the file is.
    """

    start: int
    total: int | None
    validator: str
    content_type: str
    chunks: Iterator[bytes]


def open_client(read_timeout_seconds: float) -> httpx.Client:
    """Open a client for several requests.  A context manager."""
    # identity: an archive gains nothing from another compression, and a range of the result would be useless.
    headers = {"User-Agent": f"overfeat_tools/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
    timeout = httpx.Timeout(read_timeout_seconds, connect=_CONNECT_SECONDS)
    try:
        return httpx.Client(follow_redirects=True, max_redirects=_MOST_REDIRECTS, timeout=timeout, headers=headers)
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        raise DownloadError(f"proxy or certificates named by the environment can't be used: {_line(error)}") from error


@contextmanager
def get(client: httpx.Client, url: str, start: int, validator: str) -> Iterator[Response]:
    """Request a file from `start` on, if its version is still that of the validator, and else the whole file.

    Raises
    ------
    TransientError, DownloadError
        The request fails, or the transfer, while the block reads from it.
    """
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and validator:
        headers["If-Range"] = validator
    with _translated_errors(), client.stream("GET", url, headers=headers) as response:
        tag, date, kind = (response.headers.get(name, "") for name in ("ETag", "Last-Modified", "Content-Type"))
        validator = date if not tag or tag.startswith("W/") else tag  # a weak tag does not promise the same bytes
        first = start if response.status_code == httpx.codes.PARTIAL_CONTENT else 0
        validator = validator if validator.isascii() else ""
        yield Response(first, _total(response, start), validator, kind, response.iter_raw(_CHUNK_BYTES))


def _total(response: httpx.Response, start: int) -> int | None:
    """Give the size of the whole file, if known; refuse a response that is not what was asked for."""
    status = response.status_code
    if status == httpx.codes.OK:
        return _number(response.headers.get("Content-Length", ""))
    if status == httpx.codes.PARTIAL_CONTENT and start:
        sent = response.headers.get("Content-Range", "").strip()
        total = _number(sent.rpartition("/")[2])
        if total is not None and sent == f"bytes {start}-{total - 1}/{total}":
            return total
        raise RangeError("the server sent another range than the one requested")
    if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and start:
        raise RangeError("the file on the server is shorter than what is here already")
    kind = TransientError if status in _TRANSIENT_STATUSES else DownloadError
    raise kind(f"{status} {response.reason_phrase}".strip().lower())


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise UnreachableError(f"can't connect: {_line(error)}") from error
    except (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError) as error:
        raise TransientError(f"the connection broke: {_line(error)}") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
        raise DownloadError(_line(error)) from error


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:1].lower() + text[1:]
