"""ffmpeg as a child process: it reads a camera, a file or a URL and writes PPM pictures into a pipe."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass
from typing import Self

from overfeat_tools.errors import OverfeatError, UsageError, reason

# Kills ffmpeg once nobody holds the other end of its standard input, however the holder has ended: the pipe that ffmpeg
# writes to would tell it only with the next frame, and a stalled camera has none.  A line means that it is ending.
_SUPERVISOR = '"$@" & exec >&-; read _ || kill -9 $!; wait $!'

# Larger frames would only take time: networks see a square of 231 pixels.  Every frame is passed on once: without
# numbers for timestamps and a rate that agrees with them, ffmpeg repeats and drops frames to keep the rate constant.
_FILTER = "scale='if(gt(iw,ih),-2,min(iw,480))':'if(gt(iw,ih),min(ih,480),-2)',setpts=N/30/TB"
_OUTPUT = ["-map", "0:V:0", "-vf", _FILTER, "-r", "30", "-pix_fmt", "rgb24", "-f", "image2pipe", "-c:v", "ppm", "-"]

_WEB = "http,https,httpproxy,tcp,tls,crypto"
_PROTOCOLS = {
    "http": _WEB, "https": _WEB, "rtsp": "rtsp,rtp,srtp,udp,tcp,tls", "rtsps": "rtsp,rtp,srtp,udp,tcp,tls",
    "rtmp": "rtmp,tcp", "rtmps": "rtmps,tcp,tls", "srt": "srt", "udp": "udp",
}  # fmt: skip
_VIDEO_FILE = re.compile(r"\.(mp4|m4v|mov|mkv|webm|avi|ogv|mpe?g|gif)([?#]|$)", re.IGNORECASE)

_PIPE_BYTES, _MESSAGES, _END_SECONDS = 1 << 20, 30, 5.0

# Words of ffmpeg's messages, and what to say instead of a camera and of anything else.
_MEANINGS = (
    ("permission denied|operation not permitted|not authorized",
     "permission denied: the user must be allowed to use cameras, on Linux by being in the group video",
     "permission denied"),
    ("busy", "another program is using the camera", "busy"),
    ("no such|inappropriate ioctl|not a video capture|not found|invalid device index|cannot find a proper format",
     "there is no such camera; of-webcam --list shows those there are", "no such file or directory"),
    ("not on whitelist", "", "it refers to another source, which isn't followed"),
    ("invalid data|moov atom|could not find codec", "the camera gives nothing that ffmpeg can read",
     "no video that ffmpeg can read"),
    ("matches no streams|not contain any stream", "the camera gives no video", "there is no video in it"),
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """What ffmpeg is asked to read; `is_live` if it can't pause, so that a pause is a fault."""

    name: str
    arguments: tuple[str, ...]
    is_camera: bool = False
    is_live: bool = True


def camera(number: int, size: str | None) -> Source:
    """Give the camera of a number, as `cameras` lists them, asked for pictures of a size."""
    asked = ("-video_size", size) if size else ()
    low_delay = ("-fflags", "nobuffer", "-flags", "low_delay")
    mac = sys.platform == "darwin"
    name = f"camera {number}" if mac else f"/dev/video{number}"
    device = ("-f", "avfoundation" if mac else "v4l2", "-framerate", "30", *asked, "-i", str(number) if mac else name)
    return Source(name, low_delay + device, is_camera=True)


def file_or_url(name: str) -> Source:
    """Give a file or URL; files are played at their real speed.

    Raises
    ------
    UsageError
        The URL is of a kind that is not allowed.
    OverfeatError
        The file can't be read.
    """
    scheme, colon, _ = name.partition("://")
    if not colon:
        try:
            with open(name, "rb"):  # noqa: PTH123 -- a path as it was given
                pass
        except OSError as error:
            raise OverfeatError(f"{name}: {reason(error)}") from error
        return Source(name, ("-protocol_whitelist", "file", "-re", "-i", f"file:{name}"), is_live=False)
    protocols = _PROTOCOLS.get(scheme.lower())
    if protocols is None:
        raise UsageError(f"--source {name}: a file, -, or a URL expected that begins with {', '.join(_PROTOCOLS)}")
    speed = ("-re",) if protocols is _WEB and _VIDEO_FILE.search(name) else ()
    return Source(name, ("-protocol_whitelist", protocols, *speed, "-i", name), is_live=not speed)


def program() -> str:
    """Find ffmpeg: on PATH, else the one that comes with imageio-ffmpeg.

    Raises
    ------
    OverfeatError
        There is none.
    """
    if found := shutil.which("ffmpeg"):
        return found
    with contextlib.suppress(ImportError, RuntimeError):
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    raise OverfeatError("ffmpeg is not installed: install it, or pip install 'overfeat_tools[webcam]'")


class Child:
    """A running ffmpeg; `path` is the file to read its pictures from."""

    def __init__(self, source: Source) -> None:
        self.source = source
        command = [program(), "-nostdin", "-hide_banner", "-loglevel", "error", *source.arguments, *_OUTPUT]
        # In a process group of its own, where Ctrl-C doesn't reach it: its end would be told as a fault.
        self._process = subprocess.Popen(  # noqa: S603 -- without a shell's eyes on the arguments
            ["/bin/sh", "-c", _SUPERVISOR, "sh", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, pipesize=_PIPE_BYTES, process_group=0,
        )  # fmt: skip
        assert self._process.stdin  # noqa: S101 -- for mypy
        assert self._process.stdout  # noqa: S101
        self._life, self._pictures = self._process.stdin, self._process.stdout
        self.path = f"/dev/fd/{self._pictures.fileno()}"
        self._said: deque[bytes] = deque(maxlen=_MESSAGES)
        self._listener = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        """Keep the last messages; unread, they would fill their pipe, and ffmpeg would wait."""
        assert self._process.stderr  # noqa: S101
        with self._process.stderr as messages:
            self._said.extend(messages)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it, if it hasn't ended by itself."""
        with contextlib.suppress(OSError):
            self._life.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self._pictures.close()

    def fault(self, pictures: int) -> str | None:
        """Say why it has ended after so many pictures; None at the end of a video."""
        with contextlib.suppress(OSError):
            self._life.write(b"\n")
            self._life.close()
        try:
            status = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            status = self._process.wait()
        self._listener.join(_END_SECONDS)
        if status == 0 and pictures and not self.source.is_camera:
            return None
        said = [line.decode(errors="replace").strip().removeprefix(f"{self.source.name}: ") for line in self._said]
        if not pictures:
            return explained(said, camera=self.source.is_camera) or "there is no video in it"
        return f"it stopped after {pictures} pictures" + (f": {_last(said)}" if said else "")


def explained(said: list[str], *, camera: bool) -> str:
    """Say what messages of ffmpeg mean that a source can't be opened, or repeat the last."""
    for words, of_camera, of_other in _MEANINGS:
        if re.search(words, "\n".join(said), re.IGNORECASE):
            return of_camera if camera else of_other
    return _last(said) if said else ""


def _last(said: list[str]) -> str:
    last = re.sub(r"^(\[[^]]*\] )?(Error opening input( files)?: )?", "", said[-1])
    return last[:1].lower() + last[1:]
