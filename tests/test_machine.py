"""What a process may use: its control groups' limits, of both versions, from trees made here."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from overfeat_tools.backend import CpuBackend, machine

GIB = 1 << 30


def tree(root: Path, files: dict[str, str]) -> Path:
    """Write the files of a tree of control groups."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "ascii")
    return root


def own(folder: Path, *lines: str) -> Path:
    """Write what /proc/self/cgroup says."""
    path = folder / "own"
    path.write_text("".join(f"{line}\n" for line in lines), "ascii")
    return path


@pytest.mark.parametrize(
    ("quota", "expected"), [("250000 100000", 3), ("100000 100000", 1), ("1000 100000", 1), ("max 100000", None)]
)
def test_quota_of_version_2_is_rounded_up(quota: str, expected: int | None, tmp_path: Path) -> None:
    root = tree(tmp_path / "fs", {"job/cpu.max": quota + "\n", "cpu.max": "max 100000\n"})
    available = len(os.sched_getaffinity(0))
    found = machine.processors(root, own(tmp_path, "0::/job"))
    assert found == min(available, expected or available)


def test_quota_of_version_1(tmp_path: Path) -> None:
    files = {"cpu,cpuacct/docker/a/cpu.cfs_quota_us": "50000", "cpu,cpuacct/docker/a/cpu.cfs_period_us": "100000"}
    root = tree(tmp_path / "fs", files)
    assert machine.processors(root, own(tmp_path, "5:cpu,cpuacct:/docker/a", "0::/")) == 1
    unlimited = tree(tmp_path / "fs", {"cpu,cpuacct/docker/a/cpu.cfs_quota_us": "-1"})
    assert machine.processors(unlimited, own(tmp_path, "5:cpu,cpuacct:/docker/a")) == len(os.sched_getaffinity(0))


def test_memory_of_version_2(tmp_path: Path) -> None:
    """The least limit counts, on the way to the top; pages of files can be dropped."""
    files = {
        "a/memory.max": "2147483648", "a/memory.current": "1073741824",
        "a/memory.stat": "anon 1\ninactive_file 268435456\nactive_file 268435456\n",
        "a/b/memory.max": "max", "a/b/memory.current": "1073741824", "memory.max": "max",
    }  # fmt: skip
    root, mine = tree(tmp_path / "fs", files), own(tmp_path, "0::/a/b")
    assert machine.memory_bytes(root, mine) == 2 * GIB
    free = machine.free_bytes(root, mine)
    assert free is not None
    assert free <= 3 * GIB // 2
    if (machine.free_bytes(root, tmp_path / "none") or 0) > 2 * GIB:  # the machine has more than the group
        assert free == 3 * GIB // 2


def test_memory_of_version_1_inside_a_container(tmp_path: Path) -> None:
    """The path is the host's there; the limit stands at the top of the tree."""
    files = {"memory/memory.limit_in_bytes": "1073741824", "memory/memory.usage_in_bytes": "1073741000"}
    root, mine = tree(tmp_path / "fs", files), own(tmp_path, "9:memory:/docker/0123", "0::/")
    assert machine.memory_bytes(root, mine) == GIB
    assert machine.free_bytes(root, mine) == 824


@pytest.mark.parametrize("text", ["", "junk", "0::", "::/x", "0::/../../x"])
def test_what_cannot_be_read_is_no_limit(text: str, tmp_path: Path) -> None:
    root = tree(tmp_path / "fs", {"memory.max": "junk", "cpu.max": "junk junk"})
    mine = own(tmp_path, text)
    assert machine.processors(root, mine) >= 1
    assert machine.memory_bytes(root, mine) > GIB
    assert machine.processors(root, tmp_path / "none") >= 1


@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_limits_of_the_process_itself(kind: str) -> None:
    """They are known before anything fails, and hold the number of threads down."""
    program = (
        f"import resource; resource.setrlimit(resource.{kind}, (1 << 30, 1 << 30))\n"
        "from overfeat_tools.backend import machine\n"
        "print(machine.memory_bytes(), machine.free_bytes(), machine.threads_with_room(300))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    memory, free, threads = map(int, done.stdout.split())
    assert memory == GIB
    assert GIB // 4 < free < GIB
    assert 2 < threads < 25
    assert machine.threads_with_room(300) == 300


def test_a_system_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS: no control groups, no affinity, nobody who tells of free memory; of limits it is not known how near."""

    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(machine, "_read", missing)
    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr("resource.getrlimit", lambda _: (1 << 40, 1 << 40))
    assert machine.processors() == os.cpu_count()
    assert machine.memory_bytes() > 0
    assert machine.free_bytes() is None
    assert machine.threads_with_room(300) == 300
    assert machine.cache_bytes() == 1 << 20


def test_memory_that_is_kept_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """It will be used again: else the second of two large pictures would be refused where the first was not."""
    monkeypatch.setattr(machine, "free_bytes", lambda: 7 << 10)
    backend = CpuBackend(1)
    assert backend.free_bytes() == 7 << 10
    backend.workspace("map 0", (3, 1 << 10), np.float32)
    assert backend.free_bytes() == (7 + 12) << 10


def test_loader_is_asked_for_libraries_before_there_are_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking it while a thread imports a library can wait for ever; a backend is opened before any thread."""
    backend = CpuBackend(2)
    monkeypatch.setattr("overfeat_tools.backend.cpu.ThreadpoolController", None)
    with backend.computing():
        pass
