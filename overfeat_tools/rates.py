"""Where this machine's rates are kept: measured once, after the first long run, and used ever after.

One file in the user's cache folder holds an object for each machine and number of threads, as home folders are
shared among machines.  It is worth nothing: what can't be read is measured again, what can't be written is let be.
"""

import contextlib
import json
import math
import os
import platform
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from overfeat_tools.backend import Backend
from overfeat_tools.convolution import Rates
from overfeat_tools.places import cache_folder, write_whole

WORTH_SECONDS = 60.0
"""Computing that lasted so long is worth the three seconds of measuring for the next run."""


def kept(backend: Backend) -> Rates | None:
    """Give the rates kept for this machine, or None."""
    try:
        path = _path()
        found = _read(path).get(_machine(backend)) if path and path.exists() else None
    except OSError:
        return None
    if not isinstance(found, dict) or found.keys() != {field.name for field in fields(Rates)}:
        return None
    sane = all(isinstance(value, int | float) and 0 <= value < math.inf for value in found.values())
    return Rates(**found) if sane and all(found[name] > 0 for name, value in asdict(Rates()).items() if value) else None


def measure(backend: Backend) -> None:
    """Measure this machine's rates and keep them, unless that was done or can't be."""
    from overfeat_tools.convolution.fit import fit

    path = _path()
    if path is None or backend.name != "cpu" or kept(backend):
        return
    with contextlib.suppress(OSError, MemoryError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK | os.X_OK):
            return
        measured = {_machine(backend): asdict(fit(backend))}
        write_whole(path, json.dumps(_read(path) | measured, indent=1).encode())


def _path() -> Path | None:
    """Give the file's place; None where there is no home folder."""
    folder = cache_folder()
    return folder / "rates.json" if folder else None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _machine(backend: Backend) -> str:
    """Name what the rates depend on."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123 -- read to the first match only
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
        return f"{model or platform.machine()}; {backend}; {os.environ.get('OPENBLAS_CORETYPE', '')}"
    return f"{platform.machine()}; {backend}"
