"""of-batch killed at any moment and run again: the bytes of a run that nothing disturbed, and nothing else."""

import random
import shutil
import time
from pathlib import Path

import pytest

from tests import batch_pictures
from tests.batch_pictures import contents, kill_at
from tests.processes import run

FORMATS = ["features", "npy", "parquet"]


def check(form: str, pictures: Path, work: Path, kills: int, seed: int, shard_size: int) -> None:
    """Kill runs at random moments of their duration; a last one finishes."""
    if form == "parquet":
        pytest.importorskip("pyarrow")
    common = ("-i", pictures, "--recursive", "--net", "tiny", "--size", "input", "--format", form)
    common = (*common, "--shard-size", str(shard_size), "-q", "--readers", "1")
    start = time.monotonic()
    assert run("batch", *common, "-o", work / "whole").status == 3
    seconds = time.monotonic() - start
    expected, choose, killed = contents(work / "whole"), random.Random(seed), 0  # noqa: S311 -- no secrets here
    while killed < kills:
        out = work / "killed"
        # Sometimes the same run again and again, sometimes a new one.
        for _ in range(choose.randint(1, 3)):
            killed += kill_at(choose.uniform(0.2, seconds), *common, "-o", out)
        assert run("batch", *common, "-o", out).status == 3
        assert contents(out) == expected
        shutil.rmtree(out)


def test_killed(tmp_path: Path) -> None:
    batch_pictures.make(tmp_path / "in", 60, 5)
    check("npy", tmp_path / "in", tmp_path, 2, seed=1, shard_size=7)


@pytest.mark.long
@pytest.mark.parametrize(("form", "kills"), [("features", 30), ("npy", 10), ("parquet", 10)])
def test_killed_often(form: str, kills: int, tmp_path: Path) -> None:
    assert len(batch_pictures.make(tmp_path / "in", 1000, 20)) == 20
    check(form, tmp_path / "in", tmp_path, kills, seed=len(form), shard_size=100)
