"""Films and cameras for the tests of of-webcam: drawn patterns, and programs that stand in for ffmpeg."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from overfeat_tools.backend import Array
from overfeat_tools.networks.drawings import drawings

FFMPEG = shutil.which("ffmpeg")
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")
SHOWN = ("red disc", "checkerboard", "concentric rings", "horizontal stripes")
FRAMES_EACH = 12


def as_ppm(pixels: Array) -> bytes:
    """Give a picture (H, W, 3) uint8 as PPM."""
    return b"P6\n%d %d\n255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()


def frame(name: str, height: int = 240, width: int = 320) -> Array:
    """Draw a pattern in the middle of a frame."""
    drawn = drawings(height)[name]
    left = (width - height) // 2
    return np.pad(drawn, ((0, 0), (left, width - height - left), (0, 0)), mode="edge")


def film(path: Path, *options: str, each: int = FRAMES_EACH) -> Path:
    """Make a film, 30 frames a second, that shows one pattern after the other."""
    pictures = b"".join(as_ppm(frame(name)) * each for name in SHOWN)
    read = ["-f", "image2pipe", "-framerate", "30", "-c:v", "ppm", "-i", "-"]
    command = [str(FFMPEG), "-loglevel", "error", *read, "-c:v", "ffv1", *options, path]
    subprocess.run(command, input=pictures, check=True)
    return path


def stand_in(folder: Path, script: str) -> str:
    """Put a script called ffmpeg on PATH, which writes its process's number down first; give that PATH."""
    folder.mkdir(exist_ok=True)
    (folder / "ffmpeg").write_text(f'#!/bin/sh\necho $$ >"{folder}/pid"\n{script}\n', "utf-8")
    (folder / "ffmpeg").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def camera(folder: Path, clip: Path) -> str:
    """Let every camera be one that plays a film, again and again; give the PATH where this is so."""
    output = f'while [ "$1" != -map ]; do shift; done; exec {FFMPEG} -nostdin -loglevel error'
    return stand_in(folder, f'{output} -stream_loop -1 -re -i "{clip}" "$@"')


def assert_gone(folder: Path, patience_seconds: float = 30.0) -> None:
    """Check that what stood in for ffmpeg was started, and ends."""
    number = int((folder / "pid").read_text())
    end = time.monotonic() + patience_seconds
    while time.monotonic() < end:
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    os.kill(number, 9)
    pytest.fail("ffmpeg was left behind")
