"""Collections of pictures, some of them broken, and what of-batch made of them."""

import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.picture_files import saved, smooth
from tests.processes import argv, environment

FORMS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP", "tif": "TIFF", "ppm": "PPM"}
SIDES = (24, 40, 56)
KILLER = b"KILLER"

# What the process that decodes imports in place of a decoder: it dies of some pictures.
_DOUBLE = f"""
import os, signal
from overfeat_tools.pictures.kinds import kind_of
jpeg = kind_of(bytes([0xff, 0xd8, 0xff]))
real = jpeg.read
def read(data, wanted):
    if {KILLER!r} in data:
        os.kill(os.getpid(), signal.SIGSEGV)
    return real(data, wanted)
object.__setattr__(jpeg, "read", read)
"""


def make(folder: Path, count: int, broken: int = 0) -> set[str]:
    """Make pictures of several sizes and formats, in folders; give the names of those that are broken."""
    rng, choose, bad = np.random.default_rng(1), random.Random(1), set()  # noqa: S311 -- no secrets here
    for number in range(count):
        suffix, form = list(FORMS.items())[number % len(FORMS)]
        name = f"{('', 'a/', 'a/b c/')[number % 3]}{number:05d}.{suffix}"
        pixels = smooth(choose.choice(SIDES), choose.choice(SIDES))
        data = saved(rng.permutation(pixels), form)
        if number < broken * (count // max(1, broken)) and number % (count // max(1, broken)) == 0:
            data = choose.choice([b"", b"no picture" * 9, data[:30]])
            bad.add(name)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return bad


def contents(folder: Path) -> dict[str, bytes]:
    """Give all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def double(folder: Path) -> dict[str, str]:
    """Give what makes decoders die of pictures that say so."""
    (folder / "sitecustomize.py").write_text(_DOUBLE, "utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), environment()["PYTHONPATH"]])}


def kill_at(seconds: float, *arguments: str | Path) -> bool:
    """Run of-batch and kill it after a while; tell whether it was still running."""
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(argv("batch", *arguments), env=environment(), stdout=told, stderr=told)
        time.sleep(seconds)
        running = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    return running
