"""A server on the loopback, and small weight files for it to serve: all that of-download's tests need.

A route is a function of the request's handler; those here misbehave as real servers do.
"""

import contextlib
import functools
import hashlib
import http.server
import io
import json
import re
import socket
import struct
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from overfeat_tools.cli import progress
from overfeat_tools.download import fetch
from overfeat_tools.download.folder import locked
from overfeat_tools.download.installation import Installation
from overfeat_tools.download.manifest import read_manifest
from overfeat_tools.download.progress import Reporter
from overfeat_tools.download.sources import Source, WeightFile

FAST = WeightFile("fast", "net_weight_0", [(32, 16, 9, 9), (64, 32, 3, 3)])
ACCURATE = WeightFile("accurate", "net_weight_1", [(40, 16, 8, 8), (64, 40, 3, 3)])
FILES = (FAST, ACCURATE)
_BLOCK = 16 << 10


def be_impatient(setattr_: Callable[[object, str, object], None] = setattr) -> None:
    """Let of-download give up soon, and show at once how far it is."""
    for name, value in {"ATTEMPTS": 4, "PROGRESS_BYTES": 1, "FIRST_WAIT_SECONDS": 0.0}.items():
        setattr_(fetch, name, value)
    setattr_(progress, "PATIENCE_SECONDS", 0.0)


@functools.cache
def weights(name: str) -> bytes:
    """Give the content of a small weight file."""
    file = {file.name: file for file in FILES}[name]
    generator = np.random.default_rng(file.size)
    return generator.normal(0, 0.02, file.size // 4).astype("<f4").tobytes()


@functools.cache
def tgz(folder: str = "data/default/") -> bytes:
    """Give an archive of both, as the authors' own."""
    return tar_of({folder + file.name: weights(file.name) for file in FILES}, "w:gz")


@functools.cache
def zipped(method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Give a zip of both."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for file in FILES:
            archive.writestr(f"net_weights/{file.name}", weights(file.name))
    return out.getvalue()


def tar_of(members: dict[str, bytes], mode: str = "w") -> bytes:
    """Make a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Looks up the route; keeps a record of what was asked."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        path = self.path
        self.server.asked.append((path, self.headers.get("Range")))
        route = self.server.routes.get(path)
        with contextlib.suppress(ConnectionError):
            if route is None:
                self.answer(404, b"not here", {"Content-Type": "text/html"})
            else:
                route(self)

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Send a whole answer."""
        self.head(status, {"Content-Length": str(len(body)), **headers})
        self.wfile.write(body)

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Send the head of an answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def drop(self, *, reset: bool = False) -> None:
        """Close the connection: in an orderly way, or with a reset."""
        self.wfile.flush()
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Ignore that the other side is gone."""
        with contextlib.suppress(OSError, ValueError):
            super().finish()


Route = Callable[[Handler], None]


class Server(http.server.ThreadingHTTPServer):
    """A server in threads of its own."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.routes: dict[str, Route] = {}
        self.asked: list[tuple[str, str | None]] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def url(self, path: str) -> str:
        """Give the URL of a path."""
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, *_: object) -> None:
        """Ignore that the other side is gone."""


def content(
    body: bytes, *, etag: str | None = '"one"', ranges: bool = True, cuts: list[int] | None = None,
    reset: bool = False, seconds: float = 0.0, headers: dict[str, str] | None = None,
    once: threading.Event | None = None, until: threading.Event | None = None,
) -> Route:  # fmt: skip
    """Serve bytes, properly or cut off.

    Parameters
    ----------
    body : bytes
        The whole.
    etag : str, optional
        Its version.
    ranges : bool
        Whether parts may be had.
    cuts : list of int
        Offsets in the whole after which the connection breaks, one an answer; used up.
    reset : bool
        Break with a reset.
    seconds : float
        How long the whole takes.
    once : Event
        Set when the body begins.
    until : Event
        Half of it is sent, and the rest when this is set.
    """

    def route(handler: Handler) -> None:
        start, status = 0, 200
        extra = {"ETag": etag} if etag else {}
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        version = handler.headers.get("If-Range")
        same = version is None or (version == etag and not version.startswith("W/"))
        if ranges and asked and same:
            start = int(asked[1])
            if start >= len(body):
                handler.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
                return
            status, extra["Content-Range"] = 206, f"bytes {start}-{len(body) - 1}/{len(body)}"
        handler.head(status, {"Content-Length": str(len(body) - start), **extra, **(headers or {})})
        end = cuts.pop(0) if cuts else len(body)
        if once is not None:
            once.set()
        for at in range(start, end, _BLOCK):
            if until and at >= len(body) // 2:
                until.wait(120)
            handler.wfile.write(body[at : min(at + _BLOCK, end)])
            if seconds:
                time.sleep(seconds * _BLOCK / len(body))
        if end < len(body):
            handler.drop(reset=reset)

    return route


def fixed(status: int, body: bytes = b"", **headers: str) -> Route:
    """Serve the same answer always."""
    return lambda handler: handler.answer(status, body, {name.replace("_", "-"): v for name, v in headers.items()})


def in_turn(*routes: Route) -> Route:
    """Serve one route after the other; the last for ever."""
    left = list(routes)

    def route(handler: Handler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return route


def get(
    folder: Path, *places: str, files: Sequence[WeightFile] = FILES, pins: frozenset[str] = frozenset()
) -> list[str]:
    """Run a download in this process; give the lines it logged."""
    logged: list[str] = []
    report = Reporter(logged.append)
    with locked(folder, report.log) as unfinished:
        run = Installation(folder, unfinished, read_manifest(folder), pins, report)
        if wanted := run.missing(files):
            run.obtain([Source(place, "a test") for place in places], wanted)
    return logged


def installed(folder: Path) -> set[str]:
    """Give the names of what is in a folder, and assert that the weights there are right and nothing is astray."""
    names = set(listing(folder))
    for file in FILES:
        if file.name in names:
            assert (folder / file.name).read_bytes() == weights(file.name), "a wrong weight file was installed"
    assert names <= {"net_weight_0", "net_weight_1", "manifest.json", ".download"}, names
    return names & {"net_weight_0", "net_weight_1"}


def whole(folder: Path) -> None:
    """Assert that both are installed and recorded, and nothing is left over."""
    assert installed(folder) == {"net_weight_0", "net_weight_1"}
    assert listing(folder) == ["manifest.json", "net_weight_0", "net_weight_1"]
    records = json.loads((folder / "manifest.json").read_text())
    for name in installed(folder):
        assert records[name]["sha256"] == hashlib.sha256(weights(name)).hexdigest()


def listing(folder: Path) -> list[str]:
    """Give the names in a folder, none if it isn't there."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def remains(folder: Path) -> list[str]:
    """Give the kinds of unfinished files."""
    return sorted({path.suffix for path in (folder / ".download").glob("*")})


UNFINISHED = [".part", ".validator"]


@contextlib.contextmanager
def serving(**routes: Route) -> Iterator[Server]:
    """Serve routes by name: `a` is /a."""
    with Server() as server:
        server.routes.update({f"/{name}": route for name, route in routes.items()})
        yield server
