"""of-download as a process: signals, two at once, full disks, terminals."""

import contextlib
import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.loopback import UNFINISHED, content, fixed, installed, listing, remains, serving, tgz, weights, whole

ROOT = Path(__file__).parent.parent
BOTH = {"net_weight_0", "net_weight_1"}
PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
SECONDS = 120  # far more than it takes: a machine may be busy


def environment(**more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.lower() not in PROXIES and name not in ("PYTHONUNBUFFERED", "OVERFEAT_DATA", "OVERFEAT_URL")
    }
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **more}


class Driver:
    """A process that has loaded the libraries, and forks the commands under test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._process = start("serve")

    def _ask(self, question: object) -> int:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def start(self, *arguments: str, **more: str) -> tuple[int, Path, Path]:
        """Start of-download; give its process id and the files of what it writes."""
        self._count += 1
        out, errors = (self._folder / f"{self._count}.{name}" for name in ("out", "errors"))
        return self._ask([arguments, more, [os.devnull, str(out), str(errors)]]), out, errors

    def end(self, pid: int, out: Path, errors: Path) -> tuple[int, list[str], list[str]]:
        """Wait for its end; give status and lines of output and of errors."""
        status, written = self._ask(pid), errors.read_text()
        assert "Traceback" not in written, written
        assert all(line.startswith("of-download: ") for line in written.splitlines()), written
        return status, out.read_text().splitlines(), written.splitlines()

    def run(self, *arguments: str, **more: str) -> tuple[int, list[str], list[str]]:
        """Run of-download to its end."""
        return self.end(*self.start(*arguments, **more))

    def on_a_terminal(self, arguments: list[str], answer: bytes) -> tuple[int, str]:
        """Run on a terminal of its own; give status and what was shown."""
        master, slave = pty.openpty()
        files = [os.ttyname(slave)] * 3
        os.write(master, answer)
        pid = self._ask([arguments, {"TERM": "xterm", "COLUMNS": "120"}, files])
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux ends a terminal that nobody holds
            while piece := os.read(master, 65536):
                shown += piece
        os.close(master)
        return self._ask(pid), shown.decode()

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=SECONDS)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    driver = Driver(tmp_path_factory.mktemp("driver"))
    yield driver
    driver.close()


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.download_driver", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def test_plain(driver: Driver, tmp_path: Path) -> None:
    with serving(a=content(tgz(), seconds=0.2)) as server:
        status, out, errors = driver.run("--from", server.url("/a"), "-d", str(tmp_path))
        assert (status, out) == (0, [])
        assert sum("New York University" in line for line in errors) == 1
        status, out, errors = driver.run("-q", "--from", server.url("/a"), OVERFEAT_DATA=str(tmp_path / "q"))
        assert (status, out, len(errors)) == (0, [], 1)
        assert "New York University" in errors[0]
        status, _, errors = driver.run("-q", XDG_DATA_HOME=str(tmp_path / "x"), OVERFEAT_URL=server.url("/a"))
        assert (status, len(errors)) == (0, 1)
    assert installed(tmp_path / "x" / "overfeat") == BOTH
    assert installed(tmp_path / "q") == BOTH


def test_list_and_verify(driver: Driver, tmp_path: Path) -> None:
    folder = str(tmp_path / "w")
    status, out, _ = driver.run("--list", "-d", folder)
    assert status == 0
    assert sum("cilvr" in line for line in out) == 4
    status, out, errors = driver.run("--verify", "-d", folder)
    assert (status, out, len(errors)) == (4, [], 1)
    assert not (tmp_path / "w").exists()
    (tmp_path / "net_weight_0").write_bytes(weights("net_weight_0"))
    assert driver.run("--from", str(tmp_path), "-d", folder, "fast")[0] == 0
    sums = {name: hashlib.sha256(weights(name)).hexdigest() for name in BOTH}
    status, out, errors = driver.run("--verify", "-d", folder)
    assert (status, errors) == (0, [])
    assert out == [f"fast: {folder}/net_weight_0: intact, sha256 {sums['net_weight_0']}"]
    assert driver.run("--verify", "-d", folder, "--sha256", sums["net_weight_0"].upper())[0] == 0
    assert driver.run("--verify", "-d", folder, "--sha256", sums["net_weight_1"])[0] == 4
    assert driver.run("--verify", "-d", folder, "accurate")[0] == 4
    (out_line,) = [line for line in driver.run("--list", "-d", folder)[1] if line.startswith("fast")]
    assert sums["net_weight_0"] in out_line
    with (tmp_path / "w" / "net_weight_0").open("r+b") as file:
        file.seek(5000)
        file.write(b"\0\0")
    status, out, errors = driver.run("--verify", "-d", folder)
    assert (status, out, len(errors)) == (4, [], 1)
    assert "was installed on" in errors[0]
    (tmp_path / "w" / "net_weight_0").unlink()
    assert driver.run("--verify", "-d", folder)[0] == 4, "it is recorded, so it is missed"


LONG = 300 * "x"  # more than a file's name may have


@pytest.mark.parametrize(
    "arguments",
    [
        ["slow"], ["tiny"], ["--sha256", "12"], ["--list", "--verify"], ["--verify", "--from", "x"],
        ["--from", "nowhere"], ["--from", ""], ["--from", LONG], ["--from", f"{os.devnull}/x"], ["--from", os.devnull],
        ["-d", ""], ["-d", "", "--list"], ["-d", "", "--verify"],
    ],
)  # fmt: skip
def test_usage(driver: Driver, tmp_path: Path, arguments: list[str]) -> None:
    status, out, errors = driver.run("-q", "-d", str(tmp_path), *arguments)
    assert (status, out, len(errors)) == (2, [], 1)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("mode", [["--list"], ["--verify"], ["--from", "."]])
@pytest.mark.parametrize("folder", [LONG, "loop/w", "file/w"])
def test_folder_that_cannot_be(driver: Driver, tmp_path: Path, folder: str, mode: list[str]) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    status, _, errors = driver.run("-d", str(tmp_path / folder), *mode)
    assert (status, len(errors)) in ((1, 1), (4, 1), (0, 0))


@pytest.mark.parametrize("mode", [["--list", "-d"], ["--verify", "-d"], ["-d"], ["-d", "{open}", "--from"]])
def test_without_permission(driver: Driver, tmp_path: Path, mode: list[str]) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o600)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        arguments = [argument.format(open=folder) for argument in mode]
        user = {} if os.getuid() else {"DRIVER_USER": "65534"}
        status, out, errors = driver.run("-q", *arguments, str(locked / "w"), **user)
        assert status in (1, 2, 4)
        assert "permission denied" in errors[0]
        assert (len(errors), out) == (1, [])


def test_pipe_in_place_of_a_file(driver: Driver, tmp_path: Path) -> None:
    """Nobody will ever write to it: it must not be waited for."""
    folder = tmp_path / "w"
    folder.mkdir()
    os.mkfifo(folder / "net_weight_0")
    assert driver.run("--verify", "-d", str(folder))[0] == 4
    assert driver.run("-d", str(tmp_path / "v"), "--from", str(folder / "net_weight_0"))[0] == 2
    with serving(a=content(tgz())) as server:
        assert driver.run("-d", str(folder), "--from", server.url("/a"))[0] == 0
    whole(folder)


def test_status_of_a_failed_download(driver: Driver, tmp_path: Path) -> None:
    with serving(a=fixed(404), b=fixed(200, b"<html>" * 200), c=content(tgz()[:-9])) as server:
        for name, expected in (("a", 5), ("b", 5), ("c", 4)):
            status, out, errors = driver.run("-q", "--yes", "--from", server.url(f"/{name}"), "-d", str(tmp_path))
            assert (status, out, len(errors)) == (expected, [], 2)
    assert listing(tmp_path) == []


def wait_for(happened: Callable[[], bool]) -> None:
    """Wait until something has happened."""
    end = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_run_again(driver: Driver, tmp_path: Path, number: int) -> None:
    killed = threading.Event()
    with serving(a=content(tgz(), until=killed)) as server:
        arguments = "--from", server.url("/a"), "-d", str(tmp_path)
        pid, out, written = driver.start(*arguments)
        wait_for(lambda: any(part.stat().st_size for part in (tmp_path / ".download").glob("*.part")))
        os.kill(pid, number)
        status, _, errors = driver.end(pid, out, written)
        killed.set()
        assert status == -number
        if number == signal.SIGINT:
            assert errors[-1] == "of-download: stopped; run this again to resume"
        assert not installed(tmp_path)
        assert remains(tmp_path) == UNFINISHED
        server.asked.clear()
        assert driver.run(*arguments)[0] == 0
        assert server.asked[0][1] is not None, "it didn't resume where it was stopped"
    whole(tmp_path)


@pytest.mark.parametrize("rounds", [4, pytest.param(40, marks=pytest.mark.long)])
def test_killed_at_random_moments(tmp_path: Path, rounds: int) -> None:
    """Killed again and again, it still gets there; at no moment is there a wrong file."""
    with serving(a=content(tgz(), seconds=1.0)) as server:
        status, out, errors = run_sweep("kill-at-random-moments", server.url("/a"), str(tmp_path), str(rounds), "0.4")
    assert status == 0, errors
    assert int(out) >= rounds // 2, "it was done already when it was killed"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.long)])
def test_stopped_at_any_step(tmp_path: Path, number: int, stride: int) -> None:
    """At each step in the file system in turn: what is seen is whole, and the next run completes it."""
    with serving(a=content(tgz())) as server:
        status, out, errors = run_sweep(
            "stop-at-any-step", server.url("/a"), str(tmp_path), str(int(number)), str(stride)
        )
    assert status == 0, errors
    assert int(out) > 20


def run_sweep(*arguments: str) -> tuple[int, str, str]:
    process = start(*arguments)
    out, errors = process.communicate(timeout=5 * SECONDS)
    assert "Traceback" not in errors, errors
    return process.returncode, out, errors


def test_two_at_once(driver: Driver, tmp_path: Path) -> None:
    waits = threading.Event()
    with serving(a=content(tgz(), until=waits)) as server:
        both = [driver.start("--from", server.url("/a"), "-d", str(tmp_path)) for _ in range(2)]
        wait_for(lambda: any("waiting for it" in errors.read_text() for _, _, errors in both))
        waits.set()
        ends = [driver.end(*each) for each in both]
        assert [status for status, _, _ in ends] == [0, 0]
        assert len(server.asked) == 1
    waiting = "of-download: " + f"{tmp_path}: another of-download is at work here; waiting for it"
    assert sum(waiting in errors for _, _, errors in ends) == 1
    whole(tmp_path)


def test_full_disk(driver: Driver, tmp_path: Path) -> None:
    with serving(a=content(tgz())) as server:
        arguments = "-q", "--from", server.url("/a"), "-d", str(tmp_path)
        for limit in (100_000, 300_000):
            status, _, errors = driver.run(*arguments, DRIVER_LARGEST_FILE=str(limit))
            assert status == 1
            assert "make room and run this again" in errors[-1]
            assert not installed(tmp_path)
            assert remains(tmp_path) == UNFINISHED
        server.asked.clear()
        assert driver.run(*arguments)[0] == 0
        assert server.asked == [("/a", "bytes=295904-")]
    assert installed(tmp_path) == BOTH


def test_full_disk_while_unpacking(driver: Driver, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(tgz())
    folder = tmp_path / "w"
    status, _, errors = driver.run("--from", str(archive), "-d", str(folder), DRIVER_LARGEST_FILE="245000")
    assert status == 1, "the first fits, the second doesn't"
    assert "make room" in errors[-1]
    assert listing(folder) == []


def test_licence_on_a_terminal(driver: Driver, tmp_path: Path) -> None:
    with serving(a=content(tgz(), seconds=0.5)) as server:
        arguments = ["--from", server.url("/a"), "-d", str(tmp_path)]
        for answer in (b"n\n", b"\n", b"\x04"):
            status, shown = driver.on_a_terminal(arguments, answer)
            assert status == 1, shown
            assert "nothing is downloaded" in shown
        assert server.asked == []
        assert listing(tmp_path) == []
        status, shown = driver.on_a_terminal(arguments, b"y\n")
        assert status == 0
        assert "New York University" in shown
        assert re.search(r"[0-9.]+ [kM]B/s", shown), "no rate on the bar"
        status, shown = driver.on_a_terminal(
            ["--yes", "-q", "--from", server.url("/a"), "-d", str(tmp_path / "q")], b""
        )
        assert status == 0
        assert "[y/N]" not in shown
        assert "B/s" not in shown
    assert installed(tmp_path / "q") == BOTH


def test_nothing_heavy_at_start() -> None:
    """Help must come at once: none of the large libraries is imported for it."""
    code = (
        "import sys; from overfeat_tools.commands import download; sys.argv = ['x', '--version']\n"
        "try: download.main()\n"
        "except SystemExit: print(*{'httpx', 'rich', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert done.stderr == "\n"
