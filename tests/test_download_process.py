"""of-download as a process: signals, two at once, full disks, terminals."""

import hashlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.loopback import content, fixed, installed, listing, remains, serving, tgz, weights

ROOT = Path(__file__).parent.parent
BOTH = {"net_weight_0", "net_weight_1"}
PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
SECONDS = 120  # far more than it takes: a machine may be busy


def environment(**more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.lower() not in PROXIES and name not in ("PYTHONUNBUFFERED", "OVERFEAT_DATA", "OVERFEAT_URL", "NO_COLOR")
    }
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **more}


def start(*arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.download_driver", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**more),
    )  # fmt: skip


def run(*arguments: str, **more: str) -> tuple[int, list[str], list[str]]:
    process = start(*arguments, **more)
    out, errors = process.communicate(timeout=SECONDS)
    assert "Traceback" not in errors
    assert all(line.startswith("of-download: ") for line in errors.splitlines()), errors
    return process.returncode, out.splitlines(), errors.splitlines()


def test_plain(tmp_path: Path) -> None:
    with serving(a=content(tgz(), seconds=0.2)) as server:
        status, out, errors = run("--from", server.url("/a"), "-d", str(tmp_path))
        assert (status, out) == (0, [])
        tenths = [re.search(r"(\d+) % of \d+ MB", line) for line in errors]
        assert [int(tenth[1]) for tenth in tenths if tenth] == list(range(10, 101, 10))
        assert sum("New York University" in line for line in errors) == 1
        status, out, errors = run("-q", "--from", server.url("/a"), OVERFEAT_DATA=str(tmp_path / "q"))
        assert (status, out, len(errors)) == (0, [], 1)
        assert "New York University" in errors[0]
        status, _, errors = run("-q", XDG_DATA_HOME=str(tmp_path / "x"), OVERFEAT_URL=server.url("/a"))
        assert (status, len(errors)) == (0, 1)
    assert installed(tmp_path / "x" / "overfeat") == BOTH
    assert installed(tmp_path / "q") == BOTH


def test_list_and_verify(tmp_path: Path) -> None:
    folder = str(tmp_path / "w")
    status, out, _ = run("--list", "-d", folder)
    assert status == 0
    assert sum("cilvr" in line for line in out) == 4
    status, out, errors = run("--verify", "-d", folder)
    assert (status, out, len(errors)) == (4, [], 1)
    assert not (tmp_path / "w").exists()
    (tmp_path / "net_weight_0").write_bytes(weights("net_weight_0"))
    assert run("--from", str(tmp_path), "-d", folder, "fast")[0] == 0
    sums = {name: hashlib.sha256(weights(name)).hexdigest() for name in BOTH}
    status, out, errors = run("--verify", "-d", folder)
    assert (status, errors) == (0, [])
    assert out == [f"fast: {folder}/net_weight_0: whole, sha256 {sums['net_weight_0']}"]
    assert run("--verify", "-d", folder, "--sha256", sums["net_weight_0"].upper())[0] == 0
    assert run("--verify", "-d", folder, "--sha256", sums["net_weight_1"])[0] == 4
    assert run("--verify", "-d", folder, "accurate")[0] == 4
    (out_line,) = [line for line in run("--list", "-d", folder)[1] if line.startswith("fast")]
    assert sums["net_weight_0"] in out_line
    with (tmp_path / "w" / "net_weight_0").open("r+b") as file:
        file.seek(5000)
        file.write(b"\0\0")
    status, out, errors = run("--verify", "-d", folder)
    assert (status, out, len(errors)) == (4, [], 1)
    assert "was installed on" in errors[0]
    (tmp_path / "w" / "net_weight_0").unlink()
    assert run("--verify", "-d", folder)[0] == 4, "it is recorded, so it is missed"


@pytest.mark.parametrize(
    "arguments",
    [["slow"], ["--sha256", "12"], ["--list", "--verify"], ["--verify", "--from", "x"], ["--from", "nowhere"]],
)
def test_usage(tmp_path: Path, arguments: list[str]) -> None:
    status, out, errors = run(*arguments, "-d", str(tmp_path))
    assert (status, out) == (2, [])
    assert errors
    assert listing(tmp_path) == []


def test_status_of_a_failed_download(tmp_path: Path) -> None:
    with serving(a=fixed(404), b=fixed(200, b"<html>" * 200), c=content(tgz()[:-9])) as server:
        for name, expected in (("a", 5), ("b", 5), ("c", 4)):
            status, out, errors = run("-q", "--yes", "--from", server.url(f"/{name}"), "-d", str(tmp_path))
            assert (status, out, len(errors)) == (expected, [], 2)
    assert listing(tmp_path) == []


def test_interrupted_and_run_again(tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        folder, begun = tmp_path / number.name, threading.Event()
        with serving(a=content(tgz(), seconds=1.0, once=begun)) as server:
            process = start("--from", server.url("/a"), "-d", str(folder))
            assert begun.wait(SECONDS)
            time.sleep(0.3)
            process.send_signal(number)
            _, errors = process.communicate(timeout=SECONDS)
            assert "Traceback" not in errors
            if number == signal.SIGINT:
                assert process.returncode == -signal.SIGINT
                assert errors.splitlines()[-1] == "of-download: stopped; run this again to go on"
            assert not installed(folder)
            assert remains(folder) == [".json", ".part"]
            server.asked.clear()
            assert run("--from", server.url("/a"), "-d", str(folder))[0] == 0
            assert server.asked[0][1] is not None, "it didn't go on where it was stopped"
        assert installed(folder) == BOTH
        assert not remains(folder)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Killed again and again, it still gets there; at no moment is there a wrong file."""
    with serving(a=content(tgz(), seconds=2.0)) as server:
        status, out, errors = run_sweep("kill-at-random-moments", server.url("/a"), str(tmp_path), "20", "0.5")
    assert status == 0, errors
    assert int(out) >= 10, "it was done already when it was killed"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_at_any_step(tmp_path: Path, number: int) -> None:
    """At each step in the file system in turn: what is seen is whole, and the next run completes it."""
    with serving(a=content(tgz())) as server:
        status, out, errors = run_sweep("stop-at-any-step", server.url("/a"), str(tmp_path), str(int(number)))
    assert status == 0, errors
    assert int(out) > 20


def run_sweep(*arguments: str) -> tuple[int, str, str]:
    process = start(*arguments)
    out, errors = process.communicate(timeout=5 * SECONDS)
    assert "Traceback" not in errors, errors
    return process.returncode, out, errors


def test_two_at_once(tmp_path: Path) -> None:
    with serving(a=content(tgz(), seconds=1.0)) as server:
        both = [start("--from", server.url("/a"), "-d", str(tmp_path)) for _ in range(2)]
        told = [process.communicate(timeout=SECONDS)[1] for process in both]
        assert [process.returncode for process in both] == [0, 0]
        assert len(server.asked) == 1
    assert sum("another of-download is at work here; waiting for it" in errors for errors in told) == 1
    assert installed(tmp_path) == BOTH
    assert not remains(tmp_path)


def test_full_disk(tmp_path: Path) -> None:
    with serving(a=content(tgz())) as server:
        arguments = "-q", "--from", server.url("/a"), "-d", str(tmp_path)
        for limit in (100_000, 300_000):
            status, _, errors = run(*arguments, DRIVER_LARGEST_FILE=str(limit))
            assert status == 1
            assert "make room and run this again" in errors[-1]
            assert not installed(tmp_path)
            assert remains(tmp_path) == [".json", ".part"]
        server.asked.clear()
        assert run(*arguments)[0] == 0
        assert server.asked == [("/a", "bytes=295904-")]
    assert installed(tmp_path) == BOTH


def test_full_disk_while_unpacking(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(tgz())
    folder = tmp_path / "w"
    status, _, errors = run("--from", str(archive), "-d", str(folder), DRIVER_LARGEST_FILE="245000")
    assert status == 1, "the first fits, the second doesn't"
    assert "make room" in errors[-1]
    assert listing(folder) == []


def on_a_terminal(arguments: list[str], answer: bytes) -> tuple[int, str]:
    """Run on a terminal of its own; give status and what was shown."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.download_driver", *arguments],
        stdin=slave, stdout=slave, stderr=slave, env=environment(TERM="xterm", COLUMNS="120"),
    )  # fmt: skip
    os.close(slave)
    os.write(master, answer)
    shown = b""
    try:
        while piece := os.read(master, 65536):
            shown += piece
    except OSError:
        pass  # how Linux ends a terminal that nobody holds
    os.close(master)
    return process.wait(timeout=SECONDS), shown.decode()


def test_licence_on_a_terminal(tmp_path: Path) -> None:
    with serving(a=content(tgz(), seconds=0.5)) as server:
        arguments = ["--from", server.url("/a"), "-d", str(tmp_path)]
        for answer in (b"n\n", b"\n", b"\x04"):
            status, shown = on_a_terminal(arguments, answer)
            assert status == 1
            assert "nothing is downloaded" in shown
        assert server.asked == []
        assert listing(tmp_path) == []
        status, shown = on_a_terminal(arguments, b"y\n")
        assert status == 0
        assert "New York University" in shown
        assert re.search(r"[0-9.]+ [kM]B/s", shown), "no rate on the bar"
        status, shown = on_a_terminal(["--yes", "-q", "--from", server.url("/a"), "-d", str(tmp_path / "q")], b"")
        assert status == 0
        assert "[y/N]" not in shown
        assert "B/s" not in shown
    assert installed(tmp_path / "q") == BOTH


def test_nothing_heavy_at_start() -> None:
    """Help must come at once: none of the large libraries is imported for it."""
    code = (
        "import sys; from overfeat_tools.commands import download; sys.argv = ['x', '--version']\n"
        "try: download.main()\nexcept SystemExit: print(*(m for m in ('httpx', 'rich', 'numpy') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert done.stdout.splitlines()[-1] == ""
