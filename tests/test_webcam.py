"""of-webcam: the newest frame is the next, every end has its line, and no ffmpeg outlives it."""

import functools
import http.server
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overfeat_tools.commands.webcam import Options
from overfeat_tools.errors import ImageError, OverfeatError, UsageError
from overfeat_tools.pictures import Item
from overfeat_tools.pictures.annotation import annotated
from overfeat_tools.webcam import cameras, ffmpeg
from overfeat_tools.webcam.frames import NewestFrame
from tests.films import FRAMES_EACH, SHOWN, as_ppm, assert_gone, camera, film, frame, needs_ffmpeg, stand_in
from tests.processes import PATIENCE_SECONDS, Live, Result, run

TINY = ("--net", "tiny")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("films") / "100% of it.mkv")


def read(source: str) -> tuple[bytes, str | None]:
    """Have ffmpeg read a file or URL to its end; give all its pictures, and its fault."""
    with ffmpeg.Child(ffmpeg.file_or_url(source)) as child, open(child.path, "rb") as pipe:  # noqa: PTH123
        data = pipe.read()
        return data, child.fault(data.count(b"P6"))


# Frames.


def item(number: int, error: ImageError | None = None) -> Item:
    return Item(number, None, f"picture {number}", None if error else np.zeros((1, 1, 3), np.uint8), error)


def test_the_newest_frame_and_none_twice() -> None:
    """While nobody looks, frames replace each other, and the last one stays; no failed picture is lost."""
    steps = [threading.Event() for _ in range(3)]

    def items() -> Iterator[Item]:
        yield item(1)
        yield item(2)
        yield item(3, ImageError("bad"))
        yield item(4)
        steps[0].set()
        steps[1].wait()
        yield item(5)
        yield item(6)
        steps[2].set()

    newest = NewestFrame(items())
    assert steps[0].wait(PATIENCE_SECONDS)
    taken = [newest.take(PATIENCE_SECONDS) for _ in range(2)]
    assert newest.take(0.01) is None
    assert not newest.ended
    steps[1].set()
    assert steps[2].wait(PATIENCE_SECONDS)
    taken.append(newest.take(PATIENCE_SECONDS))
    assert [one.item.number for one in taken if one] == [3, 4, 6]
    assert newest.take(PATIENCE_SECONDS) is None
    assert (newest.ended, newest.read, newest.dropped) == (True, 5, 3)


def test_a_fault_of_the_reader_is_raised_where_frames_are_taken() -> None:
    def items() -> Iterator[Item]:
        yield item(1)
        raise RuntimeError("broken")

    newest = NewestFrame(items())
    first = newest.take(PATIENCE_SECONDS)
    assert first
    assert first.item.number == 1
    with pytest.raises(RuntimeError, match="broken"):
        newest.take(PATIENCE_SECONDS)


@pytest.mark.parametrize("frames", [0, 1])
def test_who_waits_is_woken(frames: int) -> None:
    """By a frame, and by the end, long before the time is over that it would wait at most."""
    go, done = threading.Event(), threading.Event()

    def items() -> Iterator[Item]:
        go.wait(PATIENCE_SECONDS)
        for number in range(frames):
            yield item(number + 1)
            done.wait(PATIENCE_SECONDS)

    newest = NewestFrame(items())
    waiting = threading.Thread(target=newest.take, args=(10 * PATIENCE_SECONDS,), daemon=True)
    waiting.start()
    waiting.join(0.05)
    go.set()
    waiting.join(PATIENCE_SECONDS)
    done.set()
    assert not waiting.is_alive()


# Records.


@needs_ffmpeg
def test_the_class_follows_the_film(clip: Path) -> None:
    """Each record is of the frame that its number says; what is not answered is counted."""
    result = run("webcam", *TINY, "--source", str(clip), "-n", "1", "--format", "json", "-v")
    assert result.status == 0, result.err
    records = [json.loads(line) for line in result.out.splitlines()]
    numbers = [record["picture"] for record in records]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == FRAMES_EACH * len(SHOWN)
    for record in records:
        assert record["classes"][0]["name"] == SHOWN[(record["picture"] - 1) // FRAMES_EACH]
        assert record["file"] == str(clip)
        assert 0 < record["age_seconds"] < PATIENCE_SECONDS
    assert records[-1]["dropped"] == numbers[-1] - len(numbers)
    assert f"frames answered: {len(numbers)} " in result.err
    assert f"frames dropped: {records[-1]['dropped']};" in result.err


@needs_ffmpeg
def test_each_frame_comes_once_whatever_its_time(tmp_path: Path) -> None:
    """A film of uneven frame times: ffmpeg would repeat some, and drop others, to make them even."""
    uneven = film(tmp_path / "film.mkv", "-vf", "setpts='if(lt(N,6),N,N*3)'", "-fps_mode", "vfr", each=3)
    data, fault = read(str(uneven))
    assert fault is None
    assert len(data) == sum(3 * len(as_ppm(frame(name))) for name in SHOWN)


def test_pictures_are_answered_as_they_come() -> None:
    with Live("webcam", *TINY, "--source", "-", "--format", "tsv", "-n", "1", "--header") as live:
        live.lines(1)
        for number, name in enumerate(SHOWN, 1):
            live.send(as_ppm(frame(name)))
            assert live.lines(1)[0].split(b"\t")[:2] == [b"%d" % number, b"-"]
        result = live.finish()
    assert (result.status, result.out, result.err) == (0, b"", "")


def test_mean() -> None:
    """Of the last two frames, so that the third answer knows nothing of the first frame."""

    def answers(*options: str) -> list[dict[str, float]]:
        got = []
        with Live("webcam", *TINY, "--source", "-", "--format", "json", "-n", "26", *options) as live:
            for name in SHOWN[:3]:
                live.send(as_ppm(frame(name)))
                classes = json.loads(live.lines(1)[0])["classes"]
                got.append({one["name"]: one["probability"] for one in classes})
        return got

    alone, means = answers(), answers("--mean", "2")
    assert means[0] == alone[0]
    for number in (1, 2):
        expected = {name: (alone[number - 1][name] + alone[number][name]) / 2 for name in alone[0]}
        assert means[number] == pytest.approx(expected, abs=1e-6)


def test_pictures_that_are_no_use() -> None:
    with Live("webcam", *TINY, "--source", "-", "--format", "json", "-n", "1") as live:
        live.send(b"\xff\xd8\xff\xe0\x00\x04ab\xff\xd9" + as_ppm(frame("red disc")))
        first, second = (json.loads(line) for line in live.lines(2))
        live.send(b"junk")
        result = live.finish()
    assert first["error"]
    assert second["classes"][0]["name"] == "red disc"
    assert "byte" in json.loads(result.out)["error"]
    assert result.status == 3
    assert [line.split(": ")[1] for line in result.err.splitlines()] == ["picture 1", "picture 3"]


# Drawing.


def test_drawing() -> None:
    """The frame as it is, and a panel below."""
    shown = frame("checkerboard", 241, 320)
    result = run("webcam", *TINY, "--source", "-", "--draw", data=as_ppm(shown))
    magic, size, maxval, raster = result.out.split(b"\n", 3)
    width, height = map(int, size.split())
    assert (magic, maxval, width, height % 2) == (b"P6", b"255", 320, 0)
    drawn = np.frombuffer(raster, np.uint8).reshape(height, width, 3)
    assert (drawn[:241] == shown).all()
    blue = (drawn[241:] == (70, 130, 180)).all(2).any(1)
    assert blue[:20].any()


def test_any_name_and_any_size_can_be_drawn() -> None:
    pixels = np.zeros((3, 5, 3), np.uint8)
    for name in ("Äpfel naïve", "日本 →", "\ud800\x00\n\t", ""):
        assert annotated(pixels, [(name, 0.5)] * 3, name).shape[1:] == (5, 3)


# Ends.


@needs_ffmpeg
@pytest.mark.parametrize(
    ("number", "stalled"),
    [
        (signal.SIGKILL, True),
        (signal.SIGINT, False),
        *(
            pytest.param(number, stalled, marks=pytest.mark.long)
            for number, stalled in ((signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGHUP, True))
        ),
    ],
)
def test_no_ffmpeg_is_left_behind(clip: Path, tmp_path: Path, number: signal.Signals, *, stalled: bool) -> None:
    """Not even by a camera that has nothing to write, and so would never see that its pipe is closed."""
    folder = tmp_path / "bin"
    path = stand_in(folder, "exec sleep 1000") if stalled else camera(folder, clip)
    with Live("webcam", *TINY, "-w", "0", "-n", "1", PATH=path) as live:
        if stalled:
            end = time.monotonic() + PATIENCE_SECONDS
            while not (folder / "pid").exists() or not (folder / "pid").read_text():
                assert time.monotonic() < end
                time.sleep(0.01)
        else:
            live.lines(1)
        live.process.send_signal(number)
        result = live.finish()
    assert (result.status, result.err) == (-number, "")
    assert_gone(folder)


@needs_ffmpeg
def test_no_ffmpeg_is_left_behind_by_a_reader_that_goes(clip: Path, tmp_path: Path) -> None:
    with Live("webcam", *TINY, "-w", "0", PATH=camera(tmp_path, clip)) as live:
        live.lines(1)
        live.stdout.close()
        assert live.process.wait(PATIENCE_SECONDS) == -signal.SIGPIPE
    assert_gone(tmp_path)


def impatient(path: str, *arguments: str, seconds: float = 0.3) -> Result:
    """Run it with little patience for cameras that stall."""
    first = f"from overfeat_tools.commands import watching; watching.PATIENCE_SECONDS = {seconds}"
    return run("webcam", *TINY, *arguments, first=first, PATH=path)


def test_a_camera_that_stalls(tmp_path: Path) -> None:
    impatient(stand_in(tmp_path, "exec sleep 1000"), "-w", "2").one_line(1, "/dev/video2", "no picture for 0.3 seconds")
    assert_gone(tmp_path)


@needs_ffmpeg
def test_a_camera_that_is_unplugged(clip: Path, tmp_path: Path) -> None:
    """With status 0, as ffmpeg ends then."""
    script = f'while [ "$1" != -map ]; do shift; done; {ffmpeg.program()} -loglevel error -i "{clip}" "$@"\n'
    script += 'echo "[video4linux2,v4l2 @ 0x5] ioctl(VIDIOC_DQBUF): No such device" >&2'
    result = run("webcam", *TINY, "-w", "0", PATH=stand_in(tmp_path, script))
    assert result.out
    result.one_line(1, f"it stopped after {FRAMES_EACH * len(SHOWN)} pictures: ioctl(VIDIOC_DQBUF): No such device")


@needs_ffmpeg
def test_a_film_that_ffmpeg_crashes_on(clip: Path, tmp_path: Path) -> None:
    """Half a frame is no picture, and a crash no end."""
    script = f'{ffmpeg.program()} "$@" | head -c 500000; kill -SEGV $$'
    result = run("webcam", *TINY, "--source", str(clip), PATH=stand_in(tmp_path, script))
    assert result.out
    result.one_line(1, "100% of it.mkv: it stopped after 2 pictures")


SAID = {
    "[video4linux2,v4l2 @ 0x5] Cannot open video device /dev/video0: Permission denied": "the group video",
    "[video4linux2,v4l2 @ 0x5] ioctl(VIDIOC_STREAMON): Device or resource busy": "another program",
    "[in#0 @ 0x5] Error opening input: No such file or directory\nError opening input file /dev/video0.": "--list",
    "[in#0 @ 0x5] Error opening input: Inappropriate ioctl for device": "no such camera",
    "[in#0 @ 0x5] Server\nError opening input files: Connection refused": "connection refused",
    "": "there is no video in it",
    "[x @ 0x5] Something new": "something new",
}


@pytest.mark.parametrize("said", SAID)
def test_cameras_that_cannot_be_opened(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"cat >&2 <<'end'\n{said}\nend\nexit 1" if said else "exit 1"
    monkeypatch.setenv("PATH", stand_in(tmp_path, script))
    with ffmpeg.Child(ffmpeg.camera(0, None)) as child:
        assert SAID[said] in str(child.fault(0))


@needs_ffmpeg
def test_no_camera_and_no_film(tmp_path: Path) -> None:
    run("webcam", *TINY, "-w", "250").one_line(1, "/dev/video250: there is no such camera")
    with pytest.raises(OverfeatError, match="is a directory"):
        ffmpeg.file_or_url(str(tmp_path))
    with pytest.raises(OverfeatError, match="absent: no such file or directory"):
        ffmpeg.file_or_url(str(tmp_path / "absent"))
    (tmp_path / "text").write_text("no film")
    assert read(str(tmp_path / "text")) == (b"", "no video that ffmpeg can read")


def test_no_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of imageio-ffmpeg serves, if that is there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(OverfeatError, match=r"ffmpeg is not installed.*overfeat_tools\[webcam\]"):
        ffmpeg.program()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": "a", "camera": 1}, "--source a .* -w"),
        ({"source": "-", "size": "640x480"}, "--size"),
        ({"source": ""}, "name of a file"),
        ({"size": "640"}, "WIDTHxHEIGHT"),
        ({"draw": True, "form": "tsv"}, "--draw"),
        ({"header": True}, "--header .* tsv"),
    ],
)
def test_usage(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Options(**options).check()


def test_urls_of_other_kinds() -> None:
    run("webcam", "--source", "concat://a").one_line(2, "concat://a", "http, https, rtsp")


# URLs.


@needs_ffmpeg
def test_urls(clip: Path, tmp_path: Path) -> None:
    """A film on a server is played; a list there can't make ffmpeg open a file here."""
    secret = film(tmp_path / "secret.mkv", each=1)
    served = tmp_path / "served"
    served.mkdir()
    (served / "film.mkv").symlink_to(clip)
    (served / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        played, fault = read(f"{url}/film.mkv")
        tricked, _ = read(f"{url}/list.m3u8")
        server.shutdown()
    assert fault is None
    assert played.startswith(as_ppm(frame(SHOWN[0])))
    assert tricked == b""


# Cameras.

V4L2 = """[video4linux2,v4l2 @ 0x55d0a] Compressed:       mjpeg :          Motion-JPEG : 1280x720 640x480
[video4linux2,v4l2 @ 0x55d0a] Raw       :     yuyv422 :           YUYV 4:2:2 : 640x480 320x240
/dev/video0: Immediate exit requested"""
AVFOUNDATION = """[AVFoundation indev @ 0x7f8a] AVFoundation video devices:
[AVFoundation indev @ 0x7f8a] [0] FaceTime HD Camera
[AVFoundation indev @ 0x7f8a] AVFoundation audio devices:
[AVFoundation indev @ 0x7f8a] [0] Microphone"""
MODES = """[avfoundation @ 0x7f8a] Selected video size (1x1) is not supported by the device.
[avfoundation @ 0x7f8a] Supported modes:
[avfoundation @ 0x7f8a]   1280x720@[1.000000 30.000000]fps"""


def test_cameras_of_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their second nodes, which carry metadata, are left out."""
    for node, index, name in ((10, 0, "Left"), (2, 0, "Front"), (3, 1, "Front")):
        (tmp_path / f"video{node}").mkdir()
        (tmp_path / f"video{node}" / "index").write_text(f"{index}\n")
        (tmp_path / f"video{node}" / "name").write_text(f"{name}\n")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(cameras, "_LINUX", tmp_path)
    script = f"case \"$*\" in *video10) echo 'x: Permission denied' ;; *) cat <<'end'\n{V4L2}\nend\nesac >&2"
    monkeypatch.setenv("PATH", stand_in(tmp_path / "bin", f"exec >&2\n{script}"))
    front, left = cameras.cameras()
    assert (front.number, front.name, front.sizes) == (2, "Front", "320x240 640x480 1280x720")
    assert (left.number, left.name) == (10, "Left")
    assert "permission denied" in left.sizes
    assert cameras.first() == 2
    assert "/dev/video2" in ffmpeg.camera(2, "640x480").arguments


def test_cameras_of_a_mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    script = f"exec >&2\ncase \"$*\" in *1x1*) cat <<'end'\n{MODES}\nend\n;; *) cat <<'end'\n{AVFOUNDATION}\nend\nesac"
    monkeypatch.setenv("PATH", stand_in(tmp_path, script))
    assert cameras.cameras() == [cameras.Camera(0, "FaceTime HD Camera", "1280x720")]
    assert ffmpeg.camera(0, None).arguments[-4:] == ("-framerate", "30", "-i", "0")


def test_list_without_cameras() -> None:
    if os.path.isdir("/sys/class/video4linux") or sys.platform == "darwin":  # noqa: PTH112
        pytest.skip("there may be a camera")
    run("webcam", "--list").one_line(1, "there is no camera")


def test_the_default_is_the_first_camera(tmp_path: Path) -> None:
    result = run("webcam", *TINY, PATH=stand_in(tmp_path, "exit 1"))
    assert re.search(r"(/dev/video|camera )\d+: there is no video in it", result.one_line(1))
