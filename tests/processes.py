"""Run the commands as real processes, and check what always holds of them.

An error is one line on stderr, never a traceback, and the exit status tells what went wrong.

Most processes are forked, see `forked.py`; a test of what a start shows uses `argv`, or `executed`.
"""

import contextlib
import os
import select
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from tests.forked import Forked

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "samples"
STAR = str(SAMPLES / "star.png")
COMMANDS = ("batch", "classify", "download", "export", "features", "layer", "webcam")
PATIENCE_SECONDS = 120.0  # for what would never come, not a measure of speed


def environment(**changes: str | Path) -> dict[str, str]:
    """Give an environment in which the package is found, and Python is as it comes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OVERFEAT", "XDG"))}
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": paths, **{name: str(value) for name, value in changes.items()}}


def argv(command: str, *arguments: str | Path | bytes) -> list[str | bytes | Path]:
    """Give a command's argument vector."""
    return [sys.executable, "-m", "overfeat_tools", command, *arguments]


class Result:
    """What a process did."""

    def __init__(self, status: int, out: bytes, err: bytes) -> None:
        self.status, self.out, self.err = status, out, err.decode(errors="surrogateescape")
        assert "Traceback" not in self.err, self.err
        assert "Exception ignored" not in self.err, self.err

    def one_line(self, status: int, *words: str) -> str:
        """Check that it failed as it should: one line, with the program's name and these words."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("of-"), self.err
        assert self.status == status, self.err
        for word in words:
            assert word in self.err
        return self.err

    @property
    def names(self) -> list[str]:
        """The names in what of-classify printed."""
        return [line.rpartition(" ")[0] for line in self.out.decode().splitlines()]


def started(
    command: str, *arguments: str | Path | bytes, cwd: Path | None = None, executed: bool = False, first: str = "",
    **changes: str | Path,
) -> "subprocess.Popen[bytes] | Forked":  # fmt: skip
    """Start a command with three pipes: forked, unless it is asked otherwise, or Python reads one of the variables."""
    if executed or any(name.startswith(("LC_", "PYTHON")) for name in changes):
        return subprocess.Popen(
            argv(command, *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment(**changes), cwd=cwd,
        )  # fmt: skip
    return Forked([command, *map(os.fsdecode, arguments)], environment(**changes), cwd=cwd, first=first)


def run(
    command: str, *arguments: str | Path | bytes, data: bytes = b"", cwd: Path | None = None, executed: bool = False,
    first: str = "", **changes: str | Path,
) -> Result:  # fmt: skip
    """Run a command to its end."""
    process = started(command, *arguments, cwd=cwd, executed=executed, first=first, **changes)
    try:
        out, err = process.communicate(data, timeout=PATIENCE_SECONDS)
    except BaseException:
        process.kill()
        raise
    assert process.returncode is not None
    return Result(process.returncode, out, err)


def shell(line: str, **changes: str | Path) -> Result:
    """Run a line of bash in which `of-NAME` stands for a command."""
    functions = "".join(f'of-{name}() {{ {shlex.join(map(str, argv(name)))} "$@"; }}\n' for name in COMMANDS)
    done = subprocess.run(
        ["/bin/bash", "-c", functions + line], stdin=subprocess.DEVNULL, capture_output=True,
        env=environment(**changes), check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


def ppm(height: int, width: int, seed: int = 0) -> bytes:
    """Give a PPM picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()


def sample_ppm(name: str) -> bytes:
    """Give a sample picture as PPM; the network `tiny` knows it by its name."""
    image = Image.open(SAMPLES / f"{name}.png").convert("RGB")
    return b"P6\n%d %d\n255\n" % image.size + image.tobytes()


class Live:
    """A running command that is fed and read bit by bit."""

    def __init__(self, command: str, *arguments: str, executed: bool = False, **changes: str) -> None:
        self.process = started(command, *arguments, executed=executed, **changes)
        assert self.process.stdin
        assert self.process.stdout
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing running, whatever happened."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        for stream in (self.stdin, self.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]

    def send(self, data: bytes) -> None:
        """Write to its input."""
        self.stdin.write(data)
        self.stdin.flush()

    def lines(self, count: int) -> list[bytes]:
        """Wait for lines of its output."""
        got, end = b"", time.monotonic() + PATIENCE_SECONDS
        while got.count(b"\n") < count:
            ready, _, _ = select.select([self.stdout], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"waited in vain for an answer; so far {got!r}"
            piece = os.read(self.stdout.fileno(), 1 << 16)
            assert piece, "the output ended"
            got += piece
        return got.splitlines()

    def finish(self) -> Result:
        """Close its input and wait for its end."""
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert self.process.returncode is not None
        return Result(self.process.returncode, out, err)
