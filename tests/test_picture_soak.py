"""Many small files of mixed kinds in one run: memory flat, descriptors constant, each answer its own."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.picture_files import MAKERS

PATIENCE_SECONDS = 3600


def files(folder: Path, count: int) -> list[str]:
    """Make distinct small files of every kind, one in twenty of them bad; give their names."""
    draw = np.random.default_rng(0)
    kinds = [kind for kind in MAKERS if not kind.startswith(("icns", "avif"))]  # which take long to make
    for number in range(count):
        height, width = draw.integers(4, 60, 2)
        small = draw.integers(0, 256, (3, 3, 3)).astype(np.uint8)
        pixels = small[np.arange(height) * 3 // height][:, np.arange(width) * 3 // width]
        data = MAKERS[kinds[number % len(kinds)]](pixels)
        (folder / f"{number}").write_bytes(data if number % 20 else data[: len(data) // 3 * (number % 3)])
    return [f"{number}" for number in range(count)]


def answers(output: str) -> list[tuple[str, dict[str, float] | None]]:
    """Give each picture's file and probabilities by class, or None for an error."""
    rows = [json.loads(line) for line in output.splitlines()]
    return [
        (row["file"], {one["name"]: one["probability"] for one in row["classes"]} if "classes" in row else None)
        for row in rows
    ]


def soak(folder: Path, count: int, times: int, samples: int = 40) -> tuple[list[int], set[int]]:
    """Run of-classify over the files in random order; give its memory over time and its descriptors' numbers."""
    names = files(folder, count)
    command = [sys.executable, "-m", "overfeat_tools", "classify", "--net", "tiny", "--format", "json"]
    alone = subprocess.run([*command, "--batch", "1", *names], cwd=folder, capture_output=True, text=True, check=False)
    expected = dict(answers(alone.stdout))
    assert len(expected) == count
    assert sum(one is None for one in expected.values()) >= count // 40
    order = names * times
    random.Random(0).shuffle(order)  # noqa: S311 -- nothing secret
    memory: list[int] = []
    descriptors: set[int] = set()
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        process = subprocess.Popen([*command, *order], cwd=folder, stdout=out, stderr=err)
        end, status = time.monotonic() + PATIENCE_SECONDS, Path(f"/proc/{process.pid}")
        while process.poll() is None and time.monotonic() < end:
            done = (folder / "out").stat().st_size
            try:
                pages = (status / "statm").read_text().split()[1]
                held = len(list((status / "fd").iterdir()))
            except (OSError, IndexError):  # it has just ended
                break
            if done:
                memory.append(int(pages))
                descriptors.add(held)
            time.sleep(max(0.02, len(order) / 500 / samples))
    assert process.wait() == 3
    found = answers((folder / "out").read_text())
    assert [name for name, _ in found] == order
    for name, one in found:
        assert (one is None) == (expected[name] is None), name
        if one is not None and expected[name] is not None:
            assert one == pytest.approx(expected[name], abs=1e-5), name
    return memory, descriptors


def test_a_sample(tmp_path: Path) -> None:
    """Too short to see a leak; each file's answer is its own all the same."""
    _, descriptors = soak(tmp_path, 60, 3)
    assert len(descriptors) <= 3  # a picture's file, one of the program's own, or neither


@pytest.mark.long
def test_for_long(tmp_path: Path) -> None:
    memory, descriptors = soak(tmp_path, 500, 100)
    assert len(descriptors) <= 3
    # Workspaces grow until the largest batch has come; what grows after that is a leak.
    middle = len(memory) // 2
    assert max(memory[middle:]) <= 1.05 * max(memory[:middle])
