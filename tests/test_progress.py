"""The progress line: on a terminal only, and never left behind or mixed with anything else."""

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forked import Forked
from tests.processes import PATIENCE_SECONDS, SAMPLES, environment, sample_ppm
from tests.test_signals import read_until

STARS = [str(SAMPLES / "star.png")] * 2
STAR = sample_ppm("star")
ERASE = "\r\x1b[K"
DRAWN = re.compile(r"of-classify: picture (\d+), (?:file (\d+) of (\d+), )?[\d.]+ a second(?:, (\d+) failed)?")

# The programs as they are, but for their patience.
IMPATIENT = "from overfeat_tools.cli import progress; progress._INTERVAL_SECONDS, progress.PATIENCE_SECONDS = 0.0, {}"


class Watched:
    """A program whose standard error is a terminal of so many columns."""

    def __init__(self, *arguments: str, columns: int = 0, patience: float = 0.0, terminal: str = "xterm") -> None:
        self._leader, follower = pty.openpty()
        if columns:
            subprocess.run(["/bin/stty", "columns", str(columns)], stdin=follower, check=True)
        self.process = Forked(
            arguments, environment(TERM=terminal), first=IMPATIENT.format(patience), stderr=follower
        )
        os.close(follower)

    def until(self, wanted: bytes) -> str:
        """Read what the terminal shows, until it shows this."""
        return read_until(self._leader, wanted).decode()

    def finish(self, data: bytes = b"") -> str:
        """Give it the rest of its input; give the rest of what the terminal shows."""
        self.process.communicate(data)
        shown = read_until(self._leader, None).decode()
        os.close(self._leader)
        return shown


def left_over(shown: str) -> list[str]:
    """Give the lines that remain on a terminal, which knows how to return and to erase to the end of a line."""
    lines = []
    for line in shown.split("\r\n"):
        *_, last = line.split(ERASE)
        assert "\r" not in last
        lines.append(last)
    return lines


def test_pictures_and_files_are_counted() -> None:
    files = [str(path) for path in sorted(SAMPLES.glob("*.png"))[:3]]
    shown = Watched("classify", "--net", "tiny", "--batch", "1", *files[:2], "/absent", files[2]).finish()
    counts = [found.groups() for found in DRAWN.finditer(shown)]
    assert counts == [("1", "1", "4", None), ("2", "2", "4", None), ("3", "3", "4", "1"), ("4", "4", "4", "1")]
    assert left_over(shown) == ["of-classify: /absent: no such file or directory", ""]


def test_a_stream_on_a_terminal_of_unknown_width() -> None:
    shown = Watched("classify", "--net", "tiny").finish(STAR * 2)
    assert [found.groups() for found in DRAWN.finditer(shown)] == [(str(n), None, None, None) for n in (1, 2)]
    assert left_over(shown) == [""]


def test_a_narrow_terminal() -> None:
    """A line that reached the last column might begin another one, which would not be erased."""
    shown = Watched("classify", "--net", "tiny", columns=20).finish(STAR * 2)
    assert shown == f"of-classify: pictur{ERASE}" * 2


@pytest.mark.parametrize(("patience", "terminal"), [(1e6, "xterm"), (0.0, "dumb"), (0.0, "")])
def test_nothing_is_shown(patience: float, terminal: str) -> None:
    """In a short run, and on a terminal that can't erase."""
    assert Watched("classify", "--net", "tiny", patience=patience, terminal=terminal).finish(STAR * 2) == ""


def test_nothing_is_shown_where_the_answers_are() -> None:
    """On one terminal the two would be in each other's way."""
    leader, follower = pty.openpty()
    process = Forked(
        ["classify", "--net", "tiny", "-n", "1"], environment(TERM="xterm"), first=IMPATIENT.format(0),
        stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    process.communicate(STAR)
    shown = read_until(leader, None).decode()
    os.close(leader)
    assert re.fullmatch(r"star [\d.]+\r\n", shown)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGPIPE])
def test_a_signal_leaves_nothing(number: signal.Signals) -> None:
    watched = Watched("classify", "--net", "tiny", "--batch", "1")
    process = watched.process
    process.stdin.write(STAR)
    process.stdin.flush()
    shown = watched.until(b"second")
    if number == signal.SIGINT:
        process.send_signal(number)
        process.wait(PATIENCE_SECONDS)
        shown += watched.finish()
    else:
        process.stdout.close()
        shown += watched.finish(STAR)
    assert process.returncode == -number
    assert left_over(shown) == [""]
    assert DRAWN.search(shown)


def test_an_error_leaves_only_its_line() -> None:
    shown = Watched("classify", "--net", "tiny", "--batch", "1").finish(STAR + b"junk")
    assert DRAWN.search(shown)
    message, end = left_over(shown)
    assert message.startswith("of-classify: picture 2: byte ")
    assert end == ""


def test_downloads(tmp_path: Path) -> None:
    """Their line may be on the terminal that standard output is on."""
    leader, follower = pty.openpty()
    script = (
        "from overfeat_tools.cli import progress\nprogress.PATIENCE_SECONDS = progress._INTERVAL_SECONDS = 0.0\n"
        "from overfeat_tools.download.progress import Reporter\n"
        "with Reporter(print, shows_progress=True).progress('downloading', 4_000_000, 1_000_000) as advance:\n"
        "    advance(1_000_000); advance(2_000_000)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment(TERM="xterm"), stdout=follower, stderr=follower, cwd=tmp_path
    ):
        os.close(follower)
        shown = read_until(leader, None).decode()
    os.close(leader)
    form = r"of-download: downloading {} of 4\.0 MB, [\d.]+ MB/s, \d+ s left"
    assert re.fullmatch(form.format(r"2\.0") + re.escape(ERASE) + form.format(r"4\.0") + re.escape(ERASE), shown)


def test_nothing_is_shown_from_the_background() -> None:
    """Where a shell and other programs use the terminal."""
    code = f"{IMPATIENT.format(0)}; from overfeat_tools import __main__; __main__.run('classify')"
    program = shlex.join([sys.executable, "-c", code, "--net", "tiny", *STARS])
    leader, follower = pty.openpty()
    # The first terminal that a process without one opens becomes its own; with set -m its jobs have groups.
    script = (
        f"exec <{os.ttyname(follower)} >{os.ttyname(follower)} 2>&1; set -m; {program} >/dev/null & wait $!; echo end"
    )
    with subprocess.Popen(["/bin/bash", "-c", script], start_new_session=True, env=environment(TERM="xterm")):
        shown = read_until(leader, b"end\r\n").decode()
    os.close(follower)
    os.close(leader)
    assert "second" not in shown
