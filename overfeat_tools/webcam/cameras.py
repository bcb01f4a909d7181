"""The cameras there are: their numbers, names and the sizes of their pictures."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from overfeat_tools.webcam.ffmpeg import explained, program

_LINUX = Path("/sys/class/video4linux")
_SIZE = re.compile(r"\b[1-9]\d{1,4}x[1-9]\d{1,4}\b")
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Camera:
    """A camera; in place of sizes there may be a reason why they aren't known."""

    number: int
    name: str
    sizes: str = ""


def first() -> int:
    """Give the number of the first camera, 0 where none is known."""
    return 0 if sys.platform == "darwin" else min((camera.number for camera in _of_linux()), default=0)


def cameras() -> list[Camera]:
    """List the cameras, with sizes."""
    return list(_of_mac()) if sys.platform == "darwin" else [_with_sizes(camera) for camera in _of_linux()]


def _of_linux() -> Iterator[Camera]:
    """Give the first node of each device: what follows it are metadata and other views of it."""
    for node in sorted(_LINUX.glob("video[0-9]*"), key=lambda node: int(node.name[5:])):
        index, name = (_text(node / each) for each in ("index", "name"))
        if index in ("0", ""):
            yield Camera(int(node.name[5:]), name or node.name)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _with_sizes(camera: Camera) -> Camera:
    said = _said("-f", "v4l2", "-list_formats", "all", "-i", f"/dev/video{camera.number}")
    return Camera(camera.number, camera.name, _sizes(said))


def _of_mac() -> Iterator[Camera]:
    said = _said("-f", "avfoundation", "-list_devices", "true", "-i", "")
    for number, name in re.findall(r"\] \[(\d+)\] (.+)", said.partition("audio devices")[0]):
        # It tells the sizes it has to whoever asks for another.
        asked = _said("-f", "avfoundation", "-framerate", "30", "-video_size", "1x1", "-i", number)
        yield Camera(int(number), name.strip(), _sizes(asked.partition("Supported modes")[2] or asked))


def _sizes(said: str) -> str:
    found = sorted({tuple(map(int, size.split("x"))) for size in _SIZE.findall(said)})
    return " ".join(f"{width}x{height}" for width, height in found) or explained(said.split("\n"), camera=True)


def _said(*arguments: str) -> str:
    """Have ffmpeg look at a device, and give what it says."""
    command = [program(), "-nostdin", "-hide_banner", *arguments]
    try:
        done = subprocess.run(  # noqa: S603 -- the arguments are ours
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
            timeout=_PATIENCE_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "it doesn't answer"
    return done.stderr.strip()
