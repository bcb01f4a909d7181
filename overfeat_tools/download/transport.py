"""HTTP: the bytes of a URL from an offset on.  The one door to httpx.

Its many errors become two kinds here: `TransientError`, which another attempt may cure, and `DownloadError`, which it
won't.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from overfeat_tools import __version__
from overfeat_tools.errors import DownloadError, reason

CONNECT_SECONDS = 15.0
READ_SECONDS = 30.0
_TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504}
_CHUNK_BYTES = 1 << 14  # less than this is lost when a connection breaks


class TransientError(DownloadError):
    """The attempt failed; another one may not."""


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


@contextmanager
def get(url: str, start: int, validator: str) -> Iterator[Response]:
    """Request a file from `start` on, if its version is still that of the validator, and else the whole file.

    Raises
    ------
    TransientError, DownloadError
        The request fails, or the transfer, while the block reads from it.
    """
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and validator:
        headers["If-Range"] = validator
    try:
        with _client() as client, client.stream("GET", url, headers=headers) as response:
            tag, date, kind = (response.headers.get(name, "") for name in ("ETag", "Last-Modified", "Content-Type"))
            version = date if not tag or tag.startswith("W/") else tag  # a weak tag does not promise the same bytes
            first = start if response.status_code == httpx.codes.PARTIAL_CONTENT else 0
            chunks = response.iter_raw(_CHUNK_BYTES)
            yield Response(first, _total(response, start), version if version.isascii() else "", kind, chunks)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise TransientError(f"can't connect: {reason(error)}") from error
    except (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError) as error:
        raise TransientError(f"the connection broke: {reason(error)}") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
        raise DownloadError(reason(error)) from error


def _client() -> httpx.Client:
    # identity: an archive gains nothing from another compression, and a range of the result would be useless.
    headers = {"User-Agent": f"overfeat_tools/{__version__}", "Accept-Encoding": "identity"}
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    try:
        return httpx.Client(follow_redirects=True, timeout=timeout, headers=headers)
    except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
        raise DownloadError(
            f"proxy or certificates named by the environment can't be used: {reason(error)}"
        ) from error


def _total(response: httpx.Response, start: int) -> int | None:
    """Give the size of the whole file, if known; refuse a response that is not what was asked for."""
    status, headers = response.status_code, response.headers
    if status == httpx.codes.OK:
        return int(headers["Content-Length"]) if "Content-Length" in headers else None
    sent = re.fullmatch(rf"bytes {start}-(\d{{1,18}})/(\d{{1,18}})", headers.get("Content-Range", ""), re.ASCII)
    if status == httpx.codes.PARTIAL_CONTENT and sent and int(sent[1]) + 1 == int(sent[2]):
        return int(sent[2])
    if start and status in (httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE):
        raise RangeError(f"the server can't send the file from byte {start} on")
    kind = TransientError if status in _TRANSIENT_STATUSES else DownloadError
    raise kind(f"{status} {response.reason_phrase}".strip().lower())
