"""Programs that are interrupted, or that nobody listens to any more, end silently and as their shell expects.

A shell stops a loop if the program in it *died* of SIGINT, and goes on if it merely ended, with whatever status.
"""

import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import COMMANDS, PATIENCE_SECONDS, ROOT, SAMPLES, STAR, Live, argv, environment, sample_ppm, shell

PICTURE = sample_ppm("star")


def wait_for(process: subprocess.Popen[bytes], *, handled: bool) -> None:
    """Wait until numpy is loaded, and SIGINT is handled or, before the work has begun, is not."""
    end = time.monotonic() + PATIENCE_SECONDS
    folder = Path(f"/proc/{process.pid}")
    while time.monotonic() < end:
        caught = int(folder.joinpath("status").read_text("utf-8").partition("SigCgt:")[2].split()[0], 16)
        loaded = "multiarray" in folder.joinpath("maps").read_text("utf-8")
        if loaded and bool(caught & 1 << signal.SIGINT - 1) == handled:
            return
        time.sleep(0.001)
    pytest.fail("waited in vain")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc to look into")
@pytest.mark.parametrize("handled", [False, True], ids=["starting", "reading"])
def test_interrupt_before_the_first_picture(handled: bool) -> None:  # noqa: FBT001
    with Live("classify", "--net", "tiny", executed=True) as live:
        wait_for(live.process, handled=handled)
        live.process.send_signal(signal.SIGINT)
        result = live.finish()
    assert (result.status, result.out, result.err) == (-signal.SIGINT, b"", "")


@pytest.mark.parametrize("sent", [PICTURE, PICTURE + PICTURE[:1000]], ids=["a picture", "and a half"])
def test_interrupt(sent: bytes) -> None:
    """What was answered stays answered."""
    with Live("classify", "--net", "tiny", "-n", "1", executed=True) as live:
        live.send(sent)
        assert live.lines(1)[0].startswith(b"star ")
        live.process.send_signal(signal.SIGINT)
        result = live.finish()
    assert (result.status, result.out, result.err) == (-signal.SIGINT, b"", "")


def test_interrupt_tells_of_the_run_if_asked_to() -> None:
    with Live("classify", "--net", "tiny", "-n", "1", "-v") as live:
        live.send(PICTURE)
        live.lines(1)
        live.process.send_signal(signal.SIGINT)
        result = live.finish()
    assert result.status == -signal.SIGINT
    assert "pictures answered: 1 " in result.err


def test_interrupt_that_is_ignored() -> None:
    """As by a shell without job control, for what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        live = Live("classify", "--net", "tiny", "-n", "1", executed=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with live:
        live.send(PICTURE)
        live.lines(1)
        live.process.send_signal(signal.SIGINT)
        live.send(PICTURE)
        result = live.finish()
    assert (result.status, result.names) == (0, ["star"])


def test_interrupt_ends_a_loop_of_the_shell(tmp_path: Path) -> None:
    """Ctrl-C on a terminal, while the first of three is waiting for the rest of its picture."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    program = shlex.join(map(str, argv("classify", "--net", "tiny", "-n", "1")))
    leader, follower = pty.openpty()
    # The first terminal that a process without one opens becomes its own, with Ctrl-C and all.
    script = f"""exec <{os.ttyname(follower)} >{os.ttyname(follower)} 2>&1
        for file in {pipe} {STAR} {STAR}; do echo begin; {program} $file; done; echo end"""
    with subprocess.Popen(["/bin/bash", "-c", script], start_new_session=True, env=environment()) as loop:
        os.close(follower)
        try:
            with pipe.open("wb", buffering=0) as writer:
                writer.write(PICTURE)
                shown = read_until(leader, b"star ")
                os.write(leader, b"\x03")
                shown += read_until(leader, None)
        finally:
            loop.kill()
            os.close(leader)
    assert shown.count(b"begin") == 1
    assert b"end" not in shown
    assert loop.returncode == -signal.SIGINT


def read_until(terminal: int, wanted: bytes | None) -> bytes:
    """Read from a terminal until something is shown, or until all programs on it have ended."""
    shown, end = b"", time.monotonic() + PATIENCE_SECONDS
    while wanted is None or wanted not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"waited in vain; so far {shown!r}"
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # how Linux tells that nobody is left
            piece = b""
        if not piece:
            assert wanted is None, shown
            break
        shown += piece
    return shown


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["classify -n 26", "layer -L 2"])
def test_reader_that_has_gone(command: str, unbuffered: str) -> None:
    """Silent, and dead of SIGPIPE: in a pipe with head nobody wants to hear of it."""
    line = f"of-{command} --net tiny --batch 1 {SAMPLES}/*.png | head -1; exit ${{PIPESTATUS[0]}}"
    result = shell(line, PYTHONUNBUFFERED=unbuffered)
    assert (result.status, result.err) == (128 + signal.SIGPIPE, "")
    assert result.out.count(b"\n") == 1


def test_reader_that_was_never_there() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(
            argv("classify", "--net", "tiny", STAR), stdout=pipe, stderr=subprocess.PIPE, env=environment(),
            check=False, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


@pytest.mark.parametrize("command", COMMANDS)
def test_importing_a_command_changes_no_signal(command: str) -> None:
    program = (
        "import signal\nbefore = [signal.getsignal(number) for number in signal.valid_signals()]\n"
        f"import overfeat_tools.commands.{command}, overfeat_tools.__main__\n"
        "assert before == [signal.getsignal(number) for number in signal.valid_signals()]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, env=environment())
