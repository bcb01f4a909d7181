"""of-webcam for minutes: memory flat, every record newer than the one before.

Run as a program, `python -m tests.test_webcam_soak MINUTES`, it prints how much memory there was.
"""

import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.films import camera, film, needs_ffmpeg
from tests.processes import Live

MINUTES = 10.0


def soak(folder: Path, minutes: float) -> list[int]:
    """Watch a fake camera; give the pages of memory in use, about once a second, after the first ten."""
    path = camera(folder, film(folder / "film.mkv", each=30))
    pages: list[int] = []
    last = count = 0
    with Live("webcam", "--net", "tiny", "-w", "0", "--format", "tsv", "-n", "1", "--mean", "5", PATH=path) as live:
        status = Path(f"/proc/{live.process.pid}/statm")
        start = time.monotonic()
        while (passed := time.monotonic() - start) < 60 * minutes:
            for line in live.lines(30):
                number = int(line.partition(b"\t")[0])
                assert number > last
                last, count = number, count + 1
            if passed > 10:
                pages.append(int(status.read_text().split()[1]))
    assert count > 60 * minutes  # more than one a second, on the slowest machine
    return pages


@needs_ffmpeg
@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc to look into")
def test_memory_is_flat(tmp_path: Path) -> None:
    pages = soak(tmp_path, MINUTES)
    third = len(pages) // 3
    assert max(pages[-third:]) <= 1.03 * max(pages[:third])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        found = soak(Path(place), float(sys.argv[1]))
        print(f"MiB: first {found[0] / 256:.1f}, most {max(found) / 256:.1f}, last {found[-1] / 256:.1f}")  # noqa: T201
