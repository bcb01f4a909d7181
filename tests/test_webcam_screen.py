"""The live screen: what a terminal is told is the picture, and however it ends, the terminal is as it was."""

import base64
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
import zlib
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from overfeat_tools.backend import Array
from overfeat_tools.networks.classes import Class
from overfeat_tools.webcam import graphics
from overfeat_tools.webcam.screen import bars
from tests.films import as_ppm, assert_gone, camera, film, frame, needs_ffmpeg
from tests.forked import Forked
from tests.processes import PATIENCE_SECONDS, environment

CUBE = np.array([0, 95, 135, 175, 215, 255])
LEAVE = b"\x1b[?25h\x1b[?1049l"
SHOWN = b"\x1b[?2026l"  # behind each frame
ANSWERS = {
    "kitty": b"\x1b_Gi=31;OK\x1b\\\x1b[6;10;5t\x1b[?62;4c",
    "sixel": b"\x1b[6;10;5t\x1b[?62;4;22c",
    "blocks": b"\x1b[?1;2c",
}


# From escape sequences back to pictures.


def from_blocks(rows: list[bytes]) -> Array:
    """Read rows of half blocks with true or indexed colours."""
    pixels = []
    for row in rows:
        upper, lower, one, other = [], [], None, None
        for numbers, block in re.findall(r"\x1b\[([\d;]+)m|(▀)", row.decode()):
            if block:
                upper.append(one)
                lower.append(other)
            elif numbers.startswith("38;2"):
                values = [int(number) for number in numbers.split(";")]
                one, other = values[2:5], values[7:10]
            else:
                indices = (int(number) - 16 for number in re.findall(r"5;(\d+)", numbers))
                one, other = ([CUBE[n // 36], CUBE[n // 6 % 6], CUBE[n % 6]] for n in indices)
        pixels += [upper, lower]
    return np.array(pixels)


def from_kitty(data: bytes) -> Array:
    """Read a picture of kitty's graphics, as its protocol says."""
    pieces = re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", data)
    keys = dict(pair.split(b"=") for pair in pieces[0][0].split(b","))
    assert (keys[b"a"], keys[b"f"], keys[b"o"]) == (b"T", b"24", b"z")
    assert [head.rpartition(b"m=")[2] for head, _ in pieces] == [b"1"] * (len(pieces) - 1) + [b"0"]
    assert max(len(piece) for _, piece in pieces) <= 4096
    raster = zlib.decompress(base64.b64decode(b"".join(piece for _, piece in pieces)))
    return np.frombuffer(raster, np.uint8).reshape(int(keys[b"v"]), int(keys[b"s"]), 3)


def from_sixel(data: bytes) -> Array:
    """Read a picture of sixels, one character at a time."""
    found = re.search(rb'\x1bP[\d;]*q"1;1;(\d+);(\d+)(.*?)\x1b\\', data, re.DOTALL)
    assert found
    width, height = int(found[1]), int(found[2])
    pixels = np.full((-(-height // 6) * 6, width, 3), -1)
    palette: dict[int, list[float]] = {}
    x = y = colour = 0
    for token in re.finditer(rb"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)(.)|([$-])|([?-~])", found[3]):
        if token[1]:
            colour = int(token[1])
            if token[2]:
                palette[colour] = [int(part) * 2.55 for part in token.group(2, 3, 4)]
        elif token[7]:
            x, y = 0, y + 6 * (token[7] == b"-")
        else:
            count, bits = int(token[5] or 1), (token[6] or token[8])[0] - 63
            for row in range(6):
                if bits >> row & 1:
                    pixels[y + row, x : x + count] = palette[colour]
            x += count
    assert (pixels[height:] == -1).all()
    return pixels[:height]


@pytest.fixture(params=["red disc", "linear gradient", "noise"])
def pixels(request: pytest.FixtureRequest) -> Array:
    if request.param == "noise":
        return np.random.default_rng(0).integers(0, 256, (97, 131, 3), np.uint8)
    return frame(request.param, 97, 131)


def test_kitty(pixels: Array) -> None:
    assert (from_kitty(graphics.kitty(pixels, 20, 10)) == pixels).all()


def test_sixel(pixels: Array) -> None:
    """Every pixel is drawn, in a colour that is near; noise has more colours than there are."""
    drawn = from_sixel(graphics.sixel(pixels))
    assert drawn.min() >= 0
    off = np.abs(drawn - pixels.astype(int)).mean()
    assert off < (30 if len(np.unique(pixels.reshape(-1, 3), axis=0)) > 256 else 8)


@pytest.mark.parametrize("colours", [256, 1 << 24])
def test_blocks(pixels: Array, colours: int) -> None:
    drawn = from_blocks(list(graphics.blocks(pixels, 40, 15, colours)))
    off = np.abs(drawn - graphics.scaled(pixels, 40, 30).astype(int))
    assert off.max() <= (48 if colours == 256 else 0)


def test_characters() -> None:
    rows = list(graphics.blocks(frame("linear gradient", 60, 60), 10, 5, 0))
    assert len(rows) == 5
    assert all(row.decode().isascii() and len(row) == 10 for row in rows)
    assert len(set(rows[0])) > 4


def test_bars() -> None:
    best = [(Class(0, "-", "a" * 60), 1.0), (Class(1, "-", "b"), 0.5), (Class(2, "-", "c"), 0.0)]
    for columns in (10, 20, 40, 80):
        whole, half, none = bars(best, columns)
        assert max(map(len, (whole, half, none))) < columns
        assert whole.count("█") // 2 == half.count("█") or columns < 30
        assert "█" not in none


# On a terminal.


class Terminal:
    """The program on a terminal of its own, which answers its questions."""

    def __init__(self, answer: bytes, *arguments: str, size: tuple[int, int] = (24, 80), **changes: str) -> None:
        self.leader, follower = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(follower)
        self._answer = answer
        # It is the terminal of a session of its own, which is told when it is closed.
        patience = PATIENCE_SECONDS if answer else 0.1
        first = f"""import fcntl, os, termios; os.setsid(); fcntl.ioctl(1, termios.TIOCSCTTY, 0)
from overfeat_tools.webcam import screen; screen._PATIENCE_SECONDS = {patience}"""
        variables = environment(**{"TERM": "xterm", "COLORTERM": "truecolor", **changes})
        self.process = Forked(["webcam", "--net", "tiny", *arguments], variables, first=first, stdout=follower)
        self._follower = follower
        self.shown = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        for descriptor in (self.leader, self._follower):
            if descriptor >= 0:
                os.close(descriptor)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def send(self, data: bytes) -> None:
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def end_input(self) -> None:
        self.process.stdin.close()

    def until(self, wanted: bytes) -> bytes:
        """Give what is shown from here on, until this has been."""
        start, end = len(self.shown), time.monotonic() + PATIENCE_SECONDS
        while wanted not in self.shown[start:]:
            ready, _, _ = select.select([self.leader], [], [], 0.1)
            if ready:
                self.shown += os.read(self.leader, 1 << 16)
                if self._answer and b"\x1b[c" in self.shown:
                    os.write(self.leader, self._answer)
                    self._answer = b""
            assert ready or time.monotonic() < end, self.shown[start:]
        return self.shown[start:]

    def finish(self, status: int) -> str:
        """Wait for the end; check that the terminal is as it was; give what was said."""
        if LEAVE not in self.shown:
            self.until(LEAVE)
        _, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert self.process.returncode == status, err
        assert termios.tcgetattr(self._follower) == self.before
        assert self.shown.endswith(LEAVE)
        return err.decode()

    def close(self) -> None:
        """Close the terminal, as a window is closed."""
        os.close(self._follower)
        os.close(self.leader)
        self.leader = self._follower = -1


def picture_of(kind: str, shown: bytes) -> Array:
    """Read the picture on a terminal."""
    if kind == "blocks":
        return from_blocks(re.findall(rb"\x1b\[\d+;\d+H([^\n]*?)\x1b\[m", shown))
    drawn = shown[shown.index(b"\x1b[?2026h") :].replace(b"\x1b_Ga=d,q=2\x1b\\", b"")
    return from_kitty(drawn) if kind == "kitty" else from_sixel(drawn)


@pytest.mark.parametrize(
    ("kind", "size"), [("kitty", (24, 80)), ("sixel", (24, 80)), ("blocks", (24, 80)), ("blocks", (60, 200))]
)
def test_the_frame_is_on_the_screen(kind: str, size: tuple[int, int]) -> None:
    """In the way that the terminal says it can; and the next frame in its place."""
    with Terminal(ANSWERS[kind], "--source", "-", "-n", "3", size=size) as terminal:
        for name in ("red disc", "checkerboard"):
            terminal.send(as_ppm(frame(name)))
            shown = terminal.until(SHOWN)
            picture = picture_of(kind, shown)
            height, width = picture.shape[:2]
            assert abs(width / height - 4 / 3) < 0.1
            expected = graphics.scaled(frame(name), width, height).astype(int)
            assert np.abs(picture - expected).mean() < 8
            rows = {int(row): text.decode() for row, text in re.findall(rb"\x1b\[(\d+);1H([^\x1b]*)\x1b\[K", shown)}
            assert sorted(rows) == [size[0] - 3, size[0] - 2, size[0] - 1, size[0]]
            assert rows[size[0] - 3].startswith(name)
            assert re.search(r"tiny  [\d.]+ pictures/s  age \d+ ms  0 dropped  q quits", rows[size[0]])
        os.write(terminal.leader, b"q")
        assert terminal.finish(0) == ""


def test_a_window_that_changes() -> None:
    """The last frame fits it, even if no other comes; a tiny one shows what it can."""
    with Terminal(ANSWERS["blocks"], "--source", "-") as terminal:
        terminal.send(as_ppm(frame("red disc")))
        terminal.until(SHOWN)
        for rows, columns in ((60, 200), (2, 9), (1, 1), (30, 40)):
            terminal.resize(rows, columns)
            shown = terminal.until(SHOWN)
            assert max(map(int, re.findall(rb"\x1b\[(\d+);\d+H", shown))) == rows
        assert len(picture_of("blocks", shown)) == 2 * 15
        os.write(terminal.leader, b"Q")
        terminal.finish(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals(number: signal.Signals) -> None:
    with Terminal(ANSWERS["sixel"], "--source", "-") as terminal:
        terminal.send(as_ppm(frame("red disc")))
        terminal.until(SHOWN)
        assert termios.tcgetattr(terminal.leader) != terminal.before
        terminal.process.send_signal(number)
        assert terminal.finish(-number) == ""


def test_interrupt_by_a_key_and_one_that_stops_nothing() -> None:
    """Ctrl-Z would leave the shell on a screen that isn't its own."""
    with Terminal(ANSWERS["blocks"], "--source", "-", "-v") as terminal:
        terminal.send(as_ppm(frame("red disc")))
        terminal.until(SHOWN)
        os.write(terminal.leader, b"\x1a")
        terminal.send(as_ppm(frame("checkerboard")))
        terminal.until(b"checkerboard")
        os.write(terminal.leader, b"\x03")
        assert "frames answered: 2 " in terminal.finish(-signal.SIGINT)


def test_the_end_of_a_stream_and_its_faults() -> None:
    """What is wrong is told when the terminal is back."""
    with Terminal(ANSWERS["blocks"], "--source", "-") as terminal:
        terminal.send(as_ppm(frame("red disc")))
        terminal.until(SHOWN)
        terminal.send(b"junk")
        terminal.end_input()
        assert re.fullmatch(r"of-webcam: picture 2: byte .*\n", terminal.finish(3))


@needs_ffmpeg
def test_a_window_that_is_closed(tmp_path: Path) -> None:
    path = camera(tmp_path, film(tmp_path / "film.mkv", each=3))
    with Terminal(ANSWERS["blocks"], "-w", "0", PATH=path) as terminal:
        terminal.until(SHOWN)
        terminal.close()
        assert terminal.process.wait(PATIENCE_SECONDS) in (-signal.SIGHUP, 0, 1)
    assert_gone(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "changes"), [(["--format", "text"], {}), ([], {"TERM": "dumb"})], ids=["format", "dumb"]
)
def test_records_on_a_terminal(arguments: list[str], changes: dict[str, str]) -> None:
    with Terminal(b"", "--source", "-", "-n", "1", *arguments, **changes) as terminal:
        terminal.send(as_ppm(frame("red disc")))
        assert b"\x1b" not in terminal.until(b"\r\n")


def test_a_terminal_that_answers_nothing_has_characters_without_colours() -> None:
    with Terminal(b"", "--source", "-", NO_COLOR="1") as terminal:
        terminal.send(as_ppm(frame("checkerboard")))
        shown = terminal.until(SHOWN)
        assert b"38;" not in shown
        assert re.search(rb":{3}%{3}", shown)
        os.write(terminal.leader, b"q")
        terminal.finish(0)


def test_pictures_for_a_terminal_go_into_a_pipe() -> None:
    with Terminal(b"", "--source", "-", "--draw") as terminal:
        _, err = terminal.process.communicate(timeout=PATIENCE_SECONDS)
        assert terminal.process.returncode == 2
        assert b"standard output is a terminal" in err
