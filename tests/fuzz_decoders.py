"""Fuzz the decoders through the door: `python -m tests.fuzz_decoders [--seconds S] [--seed K] [KIND...]`.

Files of every kind are damaged in their structure (coverage can't see into the decoders) and read as
the commands read them, in a process with 1 GB of memory and 20 seconds an input.  There must be a
picture or one line of error: no crash, no hang, no line of anybody else's, no program started.
An input is its number: KIND and SEED make it again.
"""

import argparse
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

from tests.picture_files import MAKERS, smooth

MEMORY_BYTES = 1 << 30
SECONDS_AN_INPUT = 20
_FORBIDDEN = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork", "os.forkpty", "socket.connect")
_NUMBERS = (0, 1, 2, 3, 255, 256, 65535, 65536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 20)


def damaged(kind: str, seed: int) -> bytes:
    """Give a file of a kind, damaged as the seed has it."""
    draw = random.Random(f"{kind} {seed}")  # noqa: S311 -- nothing secret
    data = bytearray(MAKERS[kind](smooth(draw.choice((1, 8, 24)), draw.choice((1, 7, 40)))))
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        # Headers are where the decisions are.
        place = draw.randrange(min(len(data), draw.choice((32, 128, 1 << 20))) or 1)
        length = draw.choice((1, 2, 4, 12, 100))
        match draw.randrange(7):
            case 0:
                data[place : place + 1] = bytes([draw.randrange(256)])
            case 1:
                data[place : place + 1] = bytes([(data[place : place + 1] or b"\0")[0] ^ 1 << draw.randrange(8)])
            case 2:
                form = draw.choice(("<H", ">H", "<I", ">I"))
                number = draw.choice(_NUMBERS) & (1 << 8 * struct.calcsize(form)) - 1
                data[place : place + struct.calcsize(form)] = struct.pack(form, number)
            case 3:
                del data[place : place + length]
            case 4:
                data[place:place] = data[place : place + length]
            case 5:
                other = draw.randrange(len(data) or 1)
                data[place : place + length] = data[other : other + length]
            case _:
                del data[draw.randrange(len(data) or 1) :]
    return _with_checksums(bytes(data)) if kind.startswith("png") and draw.random() < 0.7 else bytes(data)


def _with_checksums(data: bytes) -> bytes:
    """Mend a PNG's checksums, so that what was damaged is looked at."""
    made, place = data[:8], 8
    while place + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, place)
        body = data[place + 4 : place + 8 + size]
        made += data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + size
    return made + data[place:]


def check(data: bytes, path: Path) -> None:
    """Read a file as the commands do."""
    from overfeat_tools.pictures import fit, prepared, read_items

    path.write_bytes(data)
    items = read_items([str(path)], {}, 20)
    for item in prepared(items, lambda pixels: fit(pixels, 20) if pixels.size else pixels, {}):
        assert (item.pixels is None) != (item.error is None)
        if item.error is not None:
            assert str(item.error).isprintable(), repr(str(item.error))
            assert item.error.__traceback__ is item.error.__cause__ is item.error.__context__ is None
        elif item.pixels.size:
            assert item.pixels.shape == (20, 20, 3)
            assert item.pixels.dtype in (np.uint8, np.float32)
            assert 0 <= item.pixels.min() <= item.pixels.max() <= 255  # not true of NaN


def watch_programs() -> None:
    """End this process when one is to be started."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in _FORBIDDEN:
            os.write(2, f"{event} {arguments!r:.200}\n".encode())
            os._exit(99)

    sys.addaudithook(hook)


def _work(kinds: list[str], first: int, end: float, most: int) -> None:
    """Read one damaged file after another; the number of each is told before."""
    watch_programs()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, first + most):
            kind, seed = kinds[number % len(kinds)], number // len(kinds)
            if time.time() > end:
                break
            os.write(1, f"{number}\n".encode())
            signal.alarm(SECONDS_AN_INPUT)
            check(damaged(kind, seed), Path(folder, "picture"))
    os.write(1, b"end\n")


def fuzz(kinds: list[str], seconds: float, first: int, most: int = 1 << 60) -> tuple[int, list[str]]:
    """Fuzz for a time; give how many inputs there were, and the faults found."""
    end, faults, number = time.time() + seconds, [], first
    while time.time() < end and number < first + most and len(faults) < 20:
        command = [sys.executable, "-m", "tests.fuzz_decoders", "--work", str(end), str(first + most - number)]
        done = subprocess.run(
            [*command, "--seed", str(number), *kinds], capture_output=True, text=True, check=False
        )
        last = done.stdout.split()
        number = int(last[-2] if last[-1] == "end" else last[-1]) if last[:1] != ["end"] else number
        if done.returncode or done.stderr:
            kind, seed = kinds[number % len(kinds)], number // len(kinds)
            faults.append(f"{kind} {seed}: status {done.returncode}\n{done.stderr[-2000:]}")
        number += 1
    return number - first, faults


def main() -> None:
    """Fuzz until the time is over; print the faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=list(MAKERS))
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0, help="the first input's number")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        _work(options.kinds, options.seed, float(options.work[0]), int(options.work[1]))
        return
    count, faults = fuzz(options.kinds, options.seconds, options.seed)
    sys.stdout.write("\n".join([*faults, f"{count} inputs, {len(faults)} faults", ""]))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
