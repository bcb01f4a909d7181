"""Every command meets every fault of its surroundings: the right status, one line, nothing lost, no file left."""

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.processes import PATIENCE_SECONDS, STAR, Result, argv, environment, run, sample_ppm, shell

pytestmark = pytest.mark.long

COMMANDS = {
    "classify": f"of-classify --net tiny -n 1 {STAR} {STAR}",
    "json": f"of-classify --net tiny --format json {STAR}",
    "stdin": "of-classify --net tiny -n 1 < $picture",
    "features": f"of-features --net tiny --format npy --batch 1 {STAR} {STAR}",
    "layer": f"of-layer --net tiny -L 3 --format npy {STAR}",
    "layer-list": "of-layer --list",
    "download-list": "of-download --list -d /nonexistent",
    "help": "of-classify -h",
}

# What must make no difference at all.
HARMLESS = {
    "stderr closed": "{} 2>&-", "stderr full": "{} 2>/dev/full", "stderr read-only": "{} 2</dev/null",
    "no home": "unset HOME; {}", "empty home": "HOME= {}", "home that is a file": "HOME=/etc/passwd {}",
    "home that is read-only": "HOME=/proc {}", "no temporary folder": "TMPDIR=/nonexistent {}",
    "no cache": "XDG_CACHE_HOME=/dev/full {}", "locale C": "LC_ALL=C {}",
    "ASCII": "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {}", "odd encoding": "PYTHONIOENCODING=utf-16 {}",
    "20 descriptors": "ulimit -n 20; {}", "small stack": "ulimit -s 256; {}", "little memory": "ulimit -v 400000; {}",
    "little data": "ulimit -d 300000; {}", "umask": "umask 777; {}", "warnings are errors": "PYTHONWARNINGS=error {}",
    "odd thread counts": "OMP_NUM_THREADS=x OPENBLAS_NUM_THREADS=x {}", "SIGPIPE ignored": "trap '' PIPE; {}",
}  # fmt: skip
FATAL = {
    "stdout closed": ("{} >&-", 1, "standard output is closed"),
    "stdout full": ("{} >/dev/full", 1, "standard output: no space left on device"),
    "stdout read-only": ("{} 1</dev/null", 1, "standard output: bad file descriptor"),
    "no room for a file": ("ulimit -f 0; {} >$folder/out", 1, "standard output: file too large"),
    "all closed": ("{} >&- 2>&-", 1, ""),
    "nobody reads": ("{} | true; exit ${{PIPESTATUS[0]}}", 128 + signal.SIGPIPE, ""),
    "nobody reads, SIGPIPE ignored": ("trap '' PIPE; {} | true; exit ${{PIPESTATUS[0]}}", 128 + signal.SIGPIPE, ""),
}


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def meet(request: pytest.FixtureRequest, tmp_path: Path) -> "Meet":
    """Give what runs a line with a fault."""
    return Meet(tmp_path, str(request.param))


class Meet:
    """Run lines of shell with a picture and a folder; caches stay where they are, for speed."""

    def __init__(self, folder: Path, unbuffered: str) -> None:
        (folder / "picture").write_bytes(sample_ppm("star"))
        self._folder, self._unbuffered = folder, unbuffered

    def __call__(self, line: str) -> Result:
        changes = {"picture": self._folder / "picture", "folder": self._folder, "PYTHONUNBUFFERED": self._unbuffered}
        return shell(line, **changes)


@pytest.mark.parametrize("command", COMMANDS)
def test_harmless(command: str, meet: "Meet") -> None:
    def shape(out: bytes) -> int:  # with as many digits as it takes; npy has none
        return len(out if "npy" in COMMANDS[command] else re.sub(rb"\d\.\d+(e-\d+)?", b"", out))

    expected = meet(COMMANDS[command])
    assert (expected.status, expected.err) == (0, "")
    for fault, line in HARMLESS.items():
        result = meet(line.format(COMMANDS[command]))
        assert (result.status, result.err) == (0, ""), fault
        if command == "features":  # fewer threads add up in another order
            offset = len(expected.out) // 2 - 96 * 4
            found, same = (np.frombuffer(one.out[offset : offset + 384], np.float32) for one in (result, expected))
            np.testing.assert_allclose(found, same, atol=1e-4 * np.abs(same).max(), err_msg=fault)
        assert shape(result.out) == shape(expected.out), fault


@pytest.mark.parametrize("command", COMMANDS)
def test_fatal(command: str, meet: "Meet") -> None:
    for fault, (line, status, words) in FATAL.items():
        result = meet(line.format(COMMANDS[command]))
        if words:
            result.one_line(status, words)
        else:
            assert (result.status, result.err) == (status, ""), fault


@pytest.mark.parametrize("command", ["classify", "features", "layer -L 3"])
def test_files_that_are_none(command: str, tmp_path: Path) -> None:
    """One line for each; the pictures on both sides are answered."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    alone = len(run(*command.split(), "--net", "tiny", "--batch", "1", STAR).out)
    for name in ("/nonexistent", "/dev/null", "/dev/full", "/dev/urandom", str(tmp_path), f"{tmp_path}/loop", "a" * 300,
                 "''", "/proc/self/mem", f"{tmp_path}/pipe"):  # fmt: skip
        writer = f": > {tmp_path}/pipe & " if name.endswith("pipe") else ""
        result = shell(f"{writer}of-{command} --net tiny --batch 1 {STAR} {name} {STAR}")
        result.one_line(3)
        assert abs(len(result.out) - 2 * alone) < 200, name


ARGUMENTS = {
    "classify": ("classify", "--net", "tiny", *[STAR] * 3),
    "features": ("features", "--net", "tiny", "--format", "npy", *[STAR] * 3),
    "layer": ("layer", "--net", "tiny", "-L", "3", *[STAR] * 2),
    "layer-list": ("layer", "--list"),
    "download-list": ("download", "--list"),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ARGUMENTS)
def test_signals_at_random_moments(command: str, number: signal.Signals, tmp_path: Path) -> None:
    """It dies of the signal or has ended; nothing is said, and no file is left that nobody wants."""
    draw = random.Random(f"{command} {number}")  # noqa: S311 -- nothing secret
    for _ in range(20):
        with subprocess.Popen(
            argv(*ARGUMENTS[command]), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment(HOME=tmp_path, TMPDIR=tmp_path),
        ) as process:  # fmt: skip
            time.sleep(0.1 + draw.random() * 0.5)  # Python itself needs the first tenth
            process.send_signal(number)
            _, said = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode in (0, -number)
        assert said == b""
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert number == signal.SIGTERM or all(name.endswith(".o") for name in left), left
