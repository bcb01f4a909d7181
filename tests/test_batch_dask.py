"""of-batch on several machines: a scheduler and workers of their own processes, some of which die."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import batch_pictures
from tests.batch_pictures import KILLER, contents
from tests.processes import PATIENCE_SECONDS, argv, environment, run

pytest.importorskip("distributed")
pytestmark = pytest.mark.long
COMMON = ("--net", "tiny", "--size", "input", "--recursive", "--shard-size", "20", "--readers", "1", "--threads", "1")


@contextmanager
def started(*arguments: str, wait_for: str, cwd: Path, **changes: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run a part of Dask; give its process, and what it said where it said what it was waited for."""
    log = cwd / f"{arguments[0]}{time.monotonic_ns()}.log"
    with log.open("wb") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments], stdout=told, stderr=told, cwd=cwd, env=environment(**changes)
        )
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while not (found := re.search(wait_for, log.read_text("utf-8"))):
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < end
            time.sleep(0.05)
        yield process, found[1]
    finally:
        process.kill()
        process.wait()


def test_a_worker_and_a_picture_that_kill(tmp_path: Path) -> None:
    """One worker of two is killed midway, one picture kills any decoder: all other rows are there, exactly once."""
    pictures, out = tmp_path / "in", tmp_path / "out"
    bad = batch_pictures.make(pictures, 400, 10)
    killer = next(name for name in sorted(contents(pictures)) if name.endswith(".jpg") and name not in bad)
    with (pictures / killer).open("ab") as file:
        file.write(KILLER)
    changes = batch_pictures.double(tmp_path)
    with ExitStack() as stack:
        scheduler = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        _, address = stack.enter_context(started(*scheduler, wait_for=r"Scheduler at: *(tcp\S+)", cwd=tmp_path))
        worker = ("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        first, _ = stack.enter_context(started(*worker, wait_for=r"(Registered to)", cwd=tmp_path, **changes))
        stack.enter_context(started(*worker, wait_for=r"(Registered to)", cwd=tmp_path, **changes))
        command = argv("batch", *COMMON, "-i", pictures, "-o", out, "--dask", address)
        running = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE)
        end = time.monotonic() + PATIENCE_SECONDS
        while len(list((out / ".of-batch").glob("shard*"))) < 3:
            assert time.monotonic() < end
            time.sleep(0.02)
        os.kill(first.pid, signal.SIGKILL)
        err = running.communicate(timeout=PATIENCE_SECONDS)[1].decode()
    assert running.returncode == 3, err
    # What the worker had finished but not reported yet is found done.
    assert sum(map(int, re.findall(r"(\d+) done", err))) == 389
    assert "1 killed its reader" in err
    assert run("batch", *COMMON, "-i", pictures, "-o", tmp_path / "one", **changes).status == 3
    made, expected = contents(out), contents(tmp_path / "one")
    assert {name: data for name, data in made.items() if "unfinished" not in name} == expected
    again = run("batch", *COMMON, "-i", pictures, "-o", out)
    assert "0 done, 389 done before, 11 failed" in again.err
    assert contents(out) == expected


def test_local(tmp_path: Path) -> None:
    bad = batch_pictures.make(tmp_path / "in", 50, 2)
    result = run("batch", *COMMON, "-i", tmp_path / "in", "-o", tmp_path / "out", "--dask", "local")
    assert (result.status, len(bad)) == (3, 2), result.err
    assert result.err.startswith("of-batch: 48 done, 2 failed")


def test_no_scheduler(tmp_path: Path) -> None:
    batch_pictures.make(tmp_path / "in", 1)
    result = run("batch", *COMMON, "-i", tmp_path / "in", "-o", tmp_path / "out", "--dask", "tcp://127.0.0.1:9")
    result.one_line(1, "--dask tcp://127.0.0.1:9")
