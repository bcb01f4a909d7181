"""Programs in processes that are forked from one which has their libraries loaded: a quarter of what a start costs.

Each has its streams, environment and folder, and ends as Python ends.  What only a start shows (imports, variables that
Python itself reads) it doesn't show.
"""

import atexit
import contextlib
import functools
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import overfeat_tools
from overfeat_tools import __main__

_LIBRARIES = (
    "csv", "httpx", "imageio.plugins.pillow", "llvmlite.binding", "numpy", "PIL.ImageOps", "PIL.PngImagePlugin",
    "pyfftw", "simplejpeg", "tifffile",
)  # fmt: skip
_HEAVY = ("__main__", "cluster", "compat", "cuda", "interop", "parquet", "sklearn", "torch")  # not loaded ahead


class Forked:
    """A program in a process of its own, with pipes or other streams; as much of `subprocess.Popen` as is used.

    Lines of Python may be run there `first`.
    """

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], *, cwd: Path | None = None, first: str = "",
        **streams: int,
    ) -> None:  # fmt: skip
        (stdin, feed), (out, stdout), (err, stderr) = (os.pipe() for _ in range(3))
        question = [list(arguments), dict(environment), str(cwd or Path.cwd()), first]
        self.pid = _ask(question, [stdin, streams.get("stdout", stdout), streams.get("stderr", stderr)])
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
        self.stdin, self.stdout, self.stderr = os.fdopen(feed, "wb"), os.fdopen(out, "rb"), os.fdopen(err, "rb")
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it is known to have ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        """Wait for its end; give its status."""
        if self.returncode is None:
            self.returncode = _ask(self.pid, timeout=timeout)
        return self.returncode

    def communicate(self, data: bytes = b"", timeout: float = 120.0) -> tuple[bytes, bytes]:
        """Write the rest of its input, read the rest of its output, and wait for its end."""
        end, rest = time.monotonic() + timeout, memoryview(data)
        got = {stream: bytearray() for stream in (self.stdout, self.stderr)}
        reading = [stream for stream in got if not stream.closed]
        if rest:
            os.set_blocking(self.stdin.fileno(), False)
        while reading or rest:
            if not rest:
                self.stdin.close()
            readable, writable, _ = select.select(
                reading, [self.stdin] if rest else [], [], max(0.0, end - time.monotonic())
            )
            if not readable and not writable:
                self.kill()
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            for stream in readable:
                piece = os.read(stream.fileno(), 1 << 16)
                got[stream] += piece
                if not piece:
                    reading.remove(stream)
            if writable:
                try:
                    rest = rest[os.write(self.stdin.fileno(), rest[: 1 << 16]) :]
                except BrokenPipeError:
                    rest = rest[:0]
        for stream in (self.stdin, self.stdout, self.stderr):
            stream.close()
        self.wait(max(0.1, end - time.monotonic()))
        return bytes(got[self.stdout]), bytes(got[self.stderr])


@functools.cache
def _server() -> socket.socket:
    """Start the process that forks; it ends with this one."""
    ours, theirs = socket.socketpair()
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON") or name == "PYTHONPATH"}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked"], stdin=theirs, start_new_session=True,
            cwd=Path(__file__).parent.parent, env={**plain, "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip

    def end() -> None:
        ours.shutdown(socket.SHUT_RDWR)
        process.wait(60)

    atexit.register(end)
    return ours


_ASKING = threading.Lock()


def _ask(question: object, descriptors: Sequence[int] = (), timeout: float = 120.0) -> int:
    with _ASKING:
        return _answer(_server(), question, descriptors, timeout)


def _answer(server: socket.socket, question: object, descriptors: Sequence[int], timeout: float) -> int:
    server.settimeout(timeout)
    socket.send_fds(server, [json.dumps(question).encode() + b"\n"], descriptors)
    try:
        return int(server.recv(64))
    except TimeoutError:
        if isinstance(question, int):  # it ends now, so that the next answer is that to the next question
            os.kill(question, signal.SIGKILL)
            server.settimeout(60)
            server.recv(64)
        raise


def _load() -> None:
    """Load what the programs load, most of it when it is needed."""
    packages = pkgutil.walk_packages(overfeat_tools.__path__, "overfeat_tools.")
    for name in [*_LIBRARIES, *(module.name for module in packages if not set(module.name.split(".")) & set(_HEAVY))]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _serve(connection: socket.socket) -> str | None:
    """Fork as asked, and answer with the new process's id; asked for the end of a process, answer with its status.

    In a new process, give the command that it is to be.
    """
    while True:
        question, descriptors, *_ = socket.recv_fds(connection, 1 << 20, 3)
        while question and not question.endswith(b"\n"):
            question += connection.recv(1 << 20)
        if not question:
            return None
        match json.loads(question):
            case int(pid):
                answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            case [command, *arguments], environment, folder, first:
                answer = os.fork()
                if not answer:
                    connection.close()
                    _surround(descriptors, environment, folder)
                    sys.argv[1:] = arguments
                    exec(first, {})  # noqa: S102 -- the tests' own
                    return str(command)
                for descriptor in descriptors:
                    os.close(descriptor)
        connection.send(b"%d" % answer)


def _surround(descriptors: Sequence[int], environment: Mapping[str, str], folder: str) -> None:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)


if __name__ == "__main__":
    _load()
    if command := _serve(socket.socket(fileno=os.dup(0))):
        __main__.run(command)
