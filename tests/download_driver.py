"""of-download with small weight files, for tests of the process itself: python -m tests.download_driver ARGUMENT...

Some first words make it do something else, see the functions of their names: with the libraries loaded once, a process
more costs a fork.  Environment: `DRIVER_LARGEST_FILE` limits what may be written, `DRIVER_USER` is whose process it is.
"""

import contextlib
import functools
import importlib
import json
import os
import random
import resource
import signal
import ssl
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

from overfeat_tools.commands import download
from overfeat_tools.download import sources
from overfeat_tools.download.sources import WeightFile
from tests.loopback import FILES, be_impatient, installed, listing, remains

_KNOWN = sources.published_files


def _known(networks: Sequence[str] | None) -> list[WeightFile]:
    names = [file.network for file in _KNOWN(networks)]
    return [file for file in FILES if file.network in names]


def _command() -> None:
    sources.published_files = _known
    be_impatient()
    if limit := os.environ.get("DRIVER_LARGEST_FILE"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    if user := os.environ.get("DRIVER_USER"):
        os.setuid(int(user))
    download.main()


def _load() -> None:
    """Load what the command loads when it is needed."""
    importlib.import_module("overfeat_tools.download.installation")
    out, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # the command closes it
    sys.argv[1:], arguments = ["--list", "-d", "/nowhere"], sys.argv[1:]
    with mock.patch("overfeat_tools.cli.started"), contextlib.suppress(SystemExit):  # which takes standard error
        download.main()
    sys.argv[1:] = arguments
    os.dup2(out, 1)
    os.close(out)
    os.close(null)


def _forked(arguments: Sequence[str], before: Callable[[], None] = lambda: None) -> int:
    """Start the command in a process of its own."""
    pid = os.fork()
    if not pid:
        sys.argv = ["of-download", *arguments]
        status = 99
        try:
            before()
            _command()
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 98
        except BaseException:  # noqa: BLE001 -- a fork must not go on as its parent
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid


def _ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def serve() -> None:
    """Start the command for each line of JSON that tells its arguments, environment and files; answer with its id.

    A line with nothing but an id asks for its status.
    """
    replies = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        match json.loads(line):
            case int(pid):
                print(_ended(pid), file=replies, flush=True)
            case arguments, environment, files:
                # Opened here: a terminal that nobody holds for a moment would be gone.
                opened = [os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOCTTY) for path in files]
                print(_forked(arguments, functools.partial(_surround, environment, opened)), file=replies, flush=True)
                for descriptor in opened:
                    os.close(descriptor)


def _surround(environment: dict[str, str], opened: Sequence[int]) -> None:
    os.environ.update(environment)
    for descriptor, file in enumerate(opened):
        os.dup2(file, descriptor)
        os.close(file)


def _watch(folder: str, at: int, number: int) -> None:
    count = 0

    def hook(_: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if arguments and isinstance(arguments[0], str | os.PathLike) and os.fspath(arguments[0]).startswith(folder):
            count += 1
            if count == at:
                os.kill(os.getpid(), number)

    sys.addaudithook(hook)


def _quietly(url: str, folder: Path) -> list[str]:
    return ["-q", "--from", url, "-d", str(folder)]


def _completed(url: str, folder: Path) -> None:
    """Assert that the next run completes what was stopped, and leaves nothing over."""
    assert _ended(_forked(_quietly(url, folder))) == 0
    assert listing(folder) == ["manifest.json", "net_weight_0", "net_weight_1"]
    installed(folder)


def stop_at_any_step(url: str, root: Path, number: int, stride: int) -> int:
    """Stop it at every so many steps in the file system; give how many there are."""
    for at in range(1, 300, stride):
        folder = root / str(at)
        status = _ended(_forked(_quietly(url, folder), functools.partial(_watch, str(folder), at, number)))
        names = installed(folder)
        if status == 0:
            assert names == {"net_weight_0", "net_weight_1"}
            return at
        assert status == -number, status
        if number == signal.SIGINT:
            assert ".new" not in remains(folder)
        _completed(url, folder)
    return 0


def kill_at_random_moments(url: str, root: Path, rounds: int, longest_seconds: float) -> int:
    """Kill it at random moments, several times for each folder; give how often it was at work."""
    chance = random.Random(11)  # noqa: S311
    hits = 0
    for round_ in range(rounds):
        folder = root / str(round_ // 4)
        pid = _forked(_quietly(url, folder))
        time.sleep(chance.uniform(0, longest_seconds))
        os.kill(pid, signal.SIGKILL)
        hits += _ended(pid) != 0
        installed(folder)
        if round_ % 4 == 3:
            _completed(url, folder)
    return hits


if __name__ == "__main__":
    if sys.argv[1] in ("serve", "stop-at-any-step", "kill-at-random-moments"):
        _load()
        os.fsync = lambda _: None  # what a killed process wrote the system still has
        ssl.SSLContext.load_verify_locations = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["stop-at-any-step", url, root, number, stride]:
            print(stop_at_any_step(url, Path(root), int(number), int(stride)))  # noqa: T201
        case ["kill-at-random-moments", url, root, rounds, seconds]:
            print(kill_at_random_moments(url, Path(root), int(rounds), float(seconds)))  # noqa: T201
        case _:
            _command()
