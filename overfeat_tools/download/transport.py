"""Bytes of a URL from an offset on: the one door to httpx.

httpx knows the protocol, redirects, proxies and certificates.  Here its failures become two
kinds: `CutError`, worth another try, and `DownloadError`, which another try won't cure.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import httpx

from overfeat_tools import __version__
from overfeat_tools.errors import DownloadError

_PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that may be gone in a moment
_MOST_REDIRECTS = 10
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class CutError(DownloadError):
    """The connection failed; `wait_seconds` is what the server asked for, if it did."""

    def __init__(self, message: str, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class UnreachableError(CutError):
    """There was no connection at all."""


class RangeError(DownloadError):
    """The server's answer to a request for the rest makes no sense: only a whole one will do."""


@dataclass(frozen=True)
class Answer:
    """What a server began to send.

    `start` is the offset of the first byte, `total` the size of the whole if told, `validator`
    what identifies this version of it (for If-Range), `content_type` lower case.
    """

    start: int
    total: int | None
    validator: str | None
    content_type: str
    chunks: Callable[[], Iterator[bytes]]


def shown(url: str) -> str:
    """Give a URL for messages and records: without user name and password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that makes no sense"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class Transport:
    """A client that is good for several requests.

    Parameters
    ----------
    connect_seconds, read_seconds : float
        How long to wait for a connection, and for each piece of the answer.
    """

    def __init__(self, connect_seconds: float, read_seconds: float) -> None:
        timeout = httpx.Timeout(read_seconds, connect=connect_seconds)
        # identity: an archive gains nothing from being compressed again, and ranges of it would change meaning.
        headers = {"User-Agent": f"overfeat_tools/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
        try:
            self._client = httpx.Client(
                follow_redirects=True, max_redirects=_MOST_REDIRECTS, timeout=timeout, headers=headers
            )
        except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
            message = f"proxy or certificates named by the environment can't be used: {_line(error)}"
            raise DownloadError(message) from error

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()

    @contextlib.contextmanager
    def open(self, url: str, start: int = 0, validator: str | None = None) -> Iterator[Answer]:
        """Ask for a URL, from an offset on.

        Parameters
        ----------
        url : str
            http or https.
        start : int
            The first byte wanted.  A server may send the whole all the same: see the answer's `start`.
        validator : str, optional
            The ETag or date of the version that the bytes before `start` came from.

        Raises
        ------
        CutError
            It failed in a way that may pass.
        RangeError
            The part sent is not the part asked for.
        DownloadError
            It failed in a way that won't pass.
        """
        headers = {}
        if start:
            headers["Range"] = f"bytes={start}-"
            if validator:
                headers["If-Range"] = validator
        with _translated(), self._client.stream("GET", url, headers=headers) as response:
            first, total = _extent(response, start)
            yield Answer(
                first, total, _validator(response), response.headers.get("Content-Type", "").lower(), response.iter_raw
            )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn httpx's failures into ours."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        message = f"can't connect: {_line(error)}"
        raise UnreachableError(message) from error
    except httpx.TimeoutException as error:
        message = "no answer in time"
        raise CutError(message) from error
    except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
        message = f"the connection broke: {_line(error)}"
        raise CutError(message) from error
    except httpx.TooManyRedirects as error:
        message = f"redirected more than {_MOST_REDIRECTS} times"
        raise DownloadError(message) from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
        raise DownloadError(_line(error)) from error


def _extent(response: httpx.Response, start: int) -> tuple[int, int | None]:
    """Give the offset of the first byte, and the size of the whole if known."""
    status = response.status_code
    if status == httpx.codes.OK:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isascii() and length.isdigit() else None
    if status == httpx.codes.PARTIAL_CONTENT and start:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if found and int(found[1]) == start and found[3] != "*" and int(found[2]) == int(found[3]) - 1:
            return start, int(found[3])
        message = "the server sent another part than the one asked for"
        raise RangeError(message)
    if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and start:
        message = "the server has less than what is here already"
        raise RangeError(message)
    reason = f"{status} {response.reason_phrase}".strip().lower()
    if status in _PASSING:
        wait = response.headers.get("Retry-After", "")
        raise CutError(reason, float(wait) if wait.isascii() and wait.isdigit() else 0.0)
    raise DownloadError(reason)


def _validator(response: httpx.Response) -> str | None:
    tag: str = response.headers.get("ETag", "")
    if tag and not tag.startswith("W/"):  # a weak tag doesn't promise the same bytes
        return tag
    modified: str = response.headers.get("Last-Modified", "")
    return modified or None


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:1].lower() + text[1:]
