"""What this process may use of its machine, within its own limits and its control groups': processors, memory, caches.

Source: the Linux kernel's documentation of control groups, versions 1 and 2; proc(5).
"""

import math
import os
import re
import resource
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")

# Of a file of the kernel's; the largest that is read here has about three thousand.
_MOST_BYTES = 1 << 16

# Work cut finer than for this cache costs more in calls than it saves in memory traffic.
_LEAST_CACHE_BYTES = 1 << 20

# A stack, and the buffer that OpenBLAS takes for a thread; where there is no room for one it ends the process.
_THREAD_BYTES = 40 << 20


def processors(root: Path = CGROUP_ROOT, own: Path = _OWN_CGROUPS) -> int:
    """Count the processors that this process may run on, as far as its quota of time goes, rounded up."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_quota(folder) for folder in _folders("cpu", root, own)]
    return max(1, math.ceil(min([available, *quotas])))


def memory_bytes(root: Path = CGROUP_ROOT, own: Path = _OWN_CGROUPS) -> int:
    """Give the memory that this process may use: the machine's, or the least limit of its control groups."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(min([machine, *(limit for limit, _ in (*_own_limits(), *_memory(root, own)))]))


def free_bytes(root: Path = CGROUP_ROOT, own: Path = _OWN_CGROUPS) -> int | None:
    """Give the memory that can be had without swapping, where the system tells it (Linux)."""
    try:
        kilobytes = _read("/proc/meminfo").partition("MemAvailable:")[2].split()[0]
    except (OSError, IndexError):
        return None
    limits = (*((limit - _THREAD_BYTES, used) for limit, used in _own_limits()), *_memory(root, own))
    return int(max(0, min([int(kilobytes) * 1024, *(limit - used for limit, used in limits)])))


def threads_with_room(count: int) -> int:
    """Give how many of so many threads there is room for, in half of what this process's own limits leave."""
    left = min((limit - used for limit, used in _own_limits()), default=math.inf)
    return int(max(1, min(count, left / 2 // _THREAD_BYTES)))


def _own_limits() -> Iterator[tuple[float, float]]:
    """Give limit and use of this process's addresses (`ulimit -v`) and data (`ulimit -d`), where there is a limit."""
    for kind, column in ((resource.RLIMIT_AS, 0), (resource.RLIMIT_DATA, 5)):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY and (pages := _number("/proc/self/statm", column)) < math.inf:
            yield limit, pages * resource.getpagesize()


def cache_bytes() -> int:
    """Give the size of the second-level cache, each core's own; where it isn't told, a common one."""
    try:
        size = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text("ascii").strip()
        return max(_LEAST_CACHE_BYTES, int(size.removesuffix("K")) << 10)
    except (OSError, ValueError):
        return _LEAST_CACHE_BYTES


def _read(path: str | Path) -> str:
    """Read a small file of the kernel's; asked before every batch, Python's own files would take most of the time."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _MOST_BYTES).decode("utf-8", "replace")
    finally:
        os.close(descriptor)


@lru_cache
def _folders(controller: str, root: Path, own: Path) -> tuple[Path, ...]:
    """Give the folders of the control groups that this process is in, and of those that these are in."""
    try:
        lines = _read(own).splitlines()
    except OSError:
        return ()
    found: list[Path] = []
    for _, names, path in (line.split(":", 2) for line in lines if line.count(":") > 1):
        if names and controller not in names.split(","):
            continue
        top = root / names if names else root
        if names and not top.is_dir():
            top = root / controller
        group = top / path.lstrip("/")
        # Inside a container the path may be the host's, which does not exist here; the top is the container's then.
        found += [folder for folder in (group, *group.parents) if folder == top or top in folder.parents]
    return tuple(found)


def _number(path: str | Path, place: int = 0) -> float:
    """Read one number of a file; infinity where there is none, as for "max" or -1."""
    try:
        value = float(_read(path).split()[place])
    except (OSError, ValueError, IndexError):
        return math.inf
    return value if value >= 0 else math.inf


def _quota(folder: Path) -> float:
    """Give the processors' worth of time that a control group may use."""
    quota, period = _number(folder / "cpu.max"), _number(folder / "cpu.max", 1)
    if quota == math.inf:  # no limit, or the older version
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota / period if quota < math.inf and 0 < period < math.inf else math.inf


def _memory(root: Path, own: Path) -> Iterator[tuple[float, float]]:
    """Give limit and use of each control group with a limit; pages of files, which can be dropped, are not used."""
    names = ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for folder in _folders("memory", root, own):
        for limit_name, used_name in names:
            limit = _number(f"{folder}/{limit_name}")
            if limit < math.inf and (used := _number(f"{folder}/{used_name}")) < math.inf:
                yield limit, max(0.0, used - _file_bytes(f"{folder}/memory.stat"))


def _file_bytes(statistics: str) -> float:
    try:
        return sum(map(float, re.findall(r"^(?:in)?active_file (\d+)$", _read(statistics), re.MULTILINE)))
    except OSError:
        return 0.0
