"""of-download with small weight files, for tests of the process itself: python -m tests.download_driver ARGUMENT...

`DRIVER_LARGEST_FILE` limits what may be written.  Two more words in place of the arguments stop it
in many ways: see the functions of their names.
"""

import functools
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from overfeat_tools.commands import download
from overfeat_tools.download import acquisition as policy
from overfeat_tools.download.inspection import WeightFile
from tests.loopback import FILES, IMPATIENT, installed, listing, remains

_KNOWN = download.known_files


def _known(networks: Sequence[str] | None) -> list[WeightFile]:
    names = [file.network for file in _KNOWN(networks)]
    return [file for file in FILES if file.network in names]


def _watch(folder: str, at: int, number: int) -> None:
    count = 0

    def hook(_: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if arguments and isinstance(arguments[0], str | os.PathLike) and os.fspath(arguments[0]).startswith(folder):
            count += 1
            if count == at:
                os.kill(os.getpid(), number)

    sys.addaudithook(hook)


def _command() -> None:
    download.known_files = _known
    policy.Download = functools.partial(_DOWNLOAD, patience=IMPATIENT)  # type: ignore[assignment, misc]
    if limit := os.environ.get("DRIVER_LARGEST_FILE"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    download.main()


def _forked(url: str, folder: Path, before: Callable[[], None] = lambda: None) -> int:
    """Start the command in a process of its own: the libraries are there already, so it is quick."""
    pid = os.fork()
    if not pid:
        sys.argv = ["of-download", "-q", "--from", url, "-d", str(folder)]
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


def _completed(url: str, folder: Path) -> None:
    """Assert that the next run completes what was stopped, and leaves nothing over."""
    assert _ended(_forked(url, folder)) == 0
    assert listing(folder) == ["manifest.json", "net_weight_0", "net_weight_1"]
    installed(folder)


def stop_at_any_step(url: str, root: Path, number: int) -> int:
    """Stop it at each step in the file system in turn; give how many there are."""
    for at in range(1, 200, 1 if number == signal.SIGKILL else 3):
        folder = root / str(at)
        status = _ended(_forked(url, folder, functools.partial(_watch, str(folder), at, number)))
        names = installed(folder)
        if status == 0:
            assert names == {"net_weight_0", "net_weight_1"}
            return at
        assert status == -number, status
        if number == signal.SIGINT:
            assert ".new" not in remains(folder)
        if at % 2:
            _completed(url, folder)
    return 0


def kill_at_random_moments(url: str, root: Path, rounds: int, longest_seconds: float) -> int:
    """Kill it at random moments, several times for each folder; give how often it was at work."""
    chance = random.Random(11)  # noqa: S311
    hits = 0
    for round_ in range(rounds):
        folder = root / str(round_ // 4)
        pid = _forked(url, folder)
        time.sleep(chance.uniform(0, longest_seconds))
        os.kill(pid, signal.SIGKILL)
        hits += _ended(pid) != 0
        installed(folder)
        if round_ % 4 == 3:
            _completed(url, folder)
    return hits


_DOWNLOAD = policy.Download


def _without_fsync() -> None:
    """Don't wait for the disk: what a killed process wrote the system still has."""
    os.fsync = lambda _: None


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["stop-at-any-step", url, root, number]:
            _without_fsync()
            print(stop_at_any_step(url, Path(root), int(number)))  # noqa: T201
        case ["kill-at-random-moments", url, root, rounds, seconds]:
            _without_fsync()
            print(kill_at_random_moments(url, Path(root), int(rounds), float(seconds)))  # noqa: T201
        case _:
            _command()
