"""Fuzz the decoders through the door: `python -m tests.fuzz_decoders [--seconds S] [--seed K] [KIND...]`.

Files of every kind are damaged in their structure (coverage can't see into the decoders) and read as
the commands read them, in a process with 1 GB of memory and 20 seconds an input.  There must be a
picture or one line of error: no crash, no hang, no line of anybody else's, no program started.
An input is its number: KIND and SEED make it again.
"""

import argparse
import importlib.util
import io
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tests.picture_files import MAKERS, Array, saved, smooth, tiff

MEMORY_BYTES = 1 << 30
SECONDS_AN_INPUT = 20
_FORBIDDEN = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork", "os.forkpty", "socket.connect")
_NUMBERS = (0, 1, 2, 3, 255, 256, 65535, 65536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 20)


def _archive(form: int, mode: str, pixels: Array) -> bytes:
    """Give an archive with pictures and other files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=form) as tar:  # type: ignore[call-overload]
        for name in ("png", "p6", "jpeg", "n" * 120):
            header, data = tarfile.TarInfo(name), MAKERS.get(name, MAKERS["p3"])(pixels)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def _frames(form: str, pixels: Array) -> bytes:
    """Give an animation, or a document of several pages."""
    images = [Image.fromarray(np.dstack([pixels, np.roll(pixels[..., 0], n)])) for n in range(3)]
    buffer = io.BytesIO()
    images[0].save(buffer, form, save_all=True, append_images=images[1:])
    return buffer.getvalue()


def _raw(pixels: Array) -> bytes:
    mosaic = np.tile(pixels[..., 0], (4, 4)).astype("<u2") * 200
    height, width = mosaic.shape
    return tiff([mosaic.tobytes()], {
        256: ("I", width), 257: ("I", height), 258: ("H", 16), 259: ("H", 1), 262: ("H", 32803), 271: ("s", b"Maker\0"),
        272: ("s", b"Model\0"), 277: ("H", 1), 278: ("I", height), 33421: ("H", [2, 2]), 33422: ("B", [0, 1, 1, 2]),
        50706: ("B", [1, 4, 0, 0]), 50708: ("s", b"Maker Model\0"), 50717: ("H", 65535),
    })  # fmt: skip


def _jxl(pixels: Array) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.jpegxl_encode(pixels))


def _heif(pixels: Array) -> bytes:
    import pillow_heif

    pillow_heif.register_heif_opener()
    return saved(np.tile(pixels, (16, 16, 1)), "HEIF")


_OPTIONAL = {"jxl": ("imagecodecs", _jxl), "heif": ("pillow_heif", _heif), "raw": ("rawpy", _raw)}
TARGETS: dict[str, Callable[[Array], bytes]] = {
    **MAKERS,
    "stream": lambda pixels: b"\n".join(MAKERS[kind](pixels) for kind in ("jpeg", "png", "p6", "webp", "p3")) * 2,
    "jpegs": lambda pixels: MAKERS["jpeg"](pixels) * 3,
    "tar": partial(_archive, tarfile.PAX_FORMAT, "w"),
    "tar-gnu": partial(_archive, tarfile.GNU_FORMAT, "w"),
    "packed": partial(_archive, tarfile.PAX_FORMAT, "w:gz"),
    "frames-gif": partial(_frames, "GIF"),
    "frames-png": partial(_frames, "PNG"),
    "frames-webp": partial(_frames, "WEBP"),
    "frames-tiff": partial(_frames, "TIFF"),
    "frames-avif": partial(_frames, "AVIF"),
    **{kind: make for kind, (library, make) in _OPTIONAL.items() if importlib.util.find_spec(library)},
}


def damaged(kind: str, seed: int) -> bytes:
    """Give a file of a kind, damaged as the seed has it."""
    draw = random.Random(f"{kind} {seed}")  # noqa: S311 -- nothing secret
    data = bytearray(TARGETS[kind](smooth(draw.choice((1, 8, 24)), draw.choice((1, 7, 40)))))
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
    if draw.random() < 0.7 and kind.startswith("png"):
        return _with_checksums(bytes(data))
    return _with_header_sums(data) if kind.startswith("tar") and draw.random() < 0.7 else bytes(data)


def _with_checksums(data: bytes) -> bytes:
    """Mend a PNG's checksums, so that what was damaged is looked at."""
    made, place = data[:8], 8
    while place + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, place)
        body = data[place + 4 : place + 8 + size]
        made += data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + size
    return made + data[place:]


def _with_header_sums(data: bytearray) -> bytes:
    """Mend the sums of whatever stands where an archive may have a header."""
    for place in range(0, len(data) - 511, 512):
        if data[place + 257 : place + 262] == b"ustar":
            data[place + 148 : place + 156] = b" " * 8
            data[place + 148 : place + 156] = b"%06o\0 " % sum(data[place : place + 512])
    return bytes(data)


def check(data: bytes, path: Path, kind: str) -> None:
    """Read a file as the commands do; of the kinds that are only here, all there is, from standard input."""
    from overfeat_tools.pictures import fit, prepared, read_items

    path.write_bytes(data)
    if kind in MAKERS:
        items = read_items([str(path)], {}, 20)
    else:
        descriptor = os.open(path, os.O_RDONLY)
        os.dup2(descriptor, 0)
        os.close(descriptor)
        items = read_items(["-"], {}, 20, frames=None, background=(1, 200, 90))
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
            check(damaged(kind, seed), Path(folder, "picture"), kind)
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
    parser.add_argument("kinds", nargs="*", default=list(TARGETS))
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
