"""The live screen: a terminal is taken over, shows frames, names and bars, and is given back as it was."""

import contextlib
import os
import re
import select
import signal
import termios
from collections.abc import Iterator
from types import FrameType
from typing import Any

from overfeat_tools.backend import Array
from overfeat_tools.cli import write
from overfeat_tools.errors import OverfeatError
from overfeat_tools.results.ranking import Ranking
from overfeat_tools.webcam import graphics

_ENTER, _LEAVE = b"\x1b[?1049h\x1b[?25l\x1b[2J", b"\x1b_Ga=d,q=2\x1b\\\x1b[?2026l\x1b[m\x1b[?25h\x1b[?1049l"
_BEGIN, _END = b"\x1b[?2026h", b"\x1b[?2026l"  # a terminal that knows them shows all that is between at once
_CLEAR = b"\x1b_Ga=d,q=2\x1b\\\x1b[2J"

# Does it know kitty's graphics, how large is a cell, and what is it?  Every terminal answers the last.
_QUESTIONS = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[16t\x1b[c"
_KITTY, _CELL = re.compile(rb"\x1b_Gi=31;OK"), re.compile(rb"\x1b\[6;(\d{1,3});(\d{1,3})t")
_ATTRIBUTES, _SIXEL_ATTRIBUTE = re.compile(rb"\x1b\[\?([\d;]*)c"), b"4"
_PATIENCE_SECONDS = 1.0

_EIGHTHS = " ▏▎▍▌▋▊▉"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _EndedError(BaseException):
    """A signal asked for the end."""


def _end(number: int, _frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_DFL)  # whoever sends a second one doesn't want to wait
    raise KeyboardInterrupt if number == signal.SIGINT else _EndedError(number)


@contextlib.contextmanager
def taken_over() -> Iterator[int]:
    """Take the terminal over that is standard output, and give its descriptor; afterwards it is as it was."""
    terminal = os.open(os.ttyname(1), os.O_RDWR | os.O_NOCTTY)
    before = termios.tcgetattr(terminal)
    for each in _SIGNALS:
        if signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, _end)
    try:
        try:
            termios.tcsetattr(terminal, termios.TCSANOW, _keys_at_once(before))
            write(_ENTER)
            yield terminal
        finally:
            with contextlib.suppress(OverfeatError, OSError, termios.error):  # it has been closed
                termios.tcflush(terminal, termios.TCIFLUSH)
                termios.tcsetattr(terminal, termios.TCSANOW, before)
                write(_LEAVE)
    except _EndedError as ended:
        signal.raise_signal(ended.args[0])


def _keys_at_once(before: list[Any]) -> list[Any]:
    """Give the terminal's settings without lines, echo, and the keys that stop it and its programs."""
    iflag, oflag, cflag, lflag, *speeds, characters = before
    characters = [*characters]
    characters[termios.VMIN], characters[termios.VTIME], characters[termios.VSUSP] = 1, 0, b"\0"
    return [iflag & ~termios.IXON, oflag, cflag, lflag & ~(termios.ICANON | termios.ECHO), *speeds, characters]


class Screen:
    """What a terminal that has been taken over shows.

    Parameters
    ----------
    terminal : int
        Its descriptor.
    kind : str
        "kitty", "sixel" or "blocks"; "auto" is the best of what it says it can.
    """

    def __init__(self, terminal: int, kind: str) -> None:
        self._terminal, self._size = terminal, (0, 0)
        answer = self._ask()
        attributes = _ATTRIBUTES.search(answer)
        sixel = attributes is not None and _SIXEL_ATTRIBUTE in attributes[1].split(b";")
        best = "kitty" if _KITTY.search(answer) else "sixel" if sixel else "blocks"
        self._kind = best if kind == "auto" else kind
        cell = _CELL.search(answer)
        self._cell = (int(cell[2]) or 10, int(cell[1]) or 20) if cell else (10, 20)
        true = os.environ.get("COLORTERM") in ("truecolor", "24bit") or os.environ.get("TERM", "").endswith("direct")
        self._colours = 0 if os.environ.get("NO_COLOR") else 1 << 24 if true else 256

    def _ask(self) -> bytes:
        write(_QUESTIONS)
        answer = b""
        while not _ATTRIBUTES.search(answer) and select.select([self._terminal], [], [], _PATIENCE_SECONDS)[0]:
            piece = os.read(self._terminal, 1024)
            if not piece:
                break
            answer += piece
        return answer

    def asked_to_end(self) -> bool:
        """Tell whether q has been typed, or nobody can type any more."""
        typed = b""
        while select.select([self._terminal], [], [], 0)[0]:
            try:
                piece = os.read(self._terminal, 1024)
            except OSError:
                piece = b""
            if not piece:
                return True
            typed += piece
        return b"q" in typed.lower()

    @property
    def is_stale(self) -> bool:
        """Whether the window has another size than what was shown."""
        return self._size != _window()

    def show(self, pixels: Array, best: Ranking, status: str) -> None:
        """Show a frame (H, W, 3) uint8, names with bars, and a line below."""
        start = _CLEAR if self.is_stale else b""
        columns, rows = self._size = _window()
        shown = best[: max(0, rows - 2)]
        picture = self._picture(pixels, columns, rows - len(shown) - 1)
        lines = [*bars(shown, columns), status[: columns - 1]]
        text = b"".join(
            b"\x1b[%d;1H%s\x1b[K" % (row, line.encode("utf-8", "replace"))
            for row, line in enumerate(lines, rows - len(shown))
        )
        write(_BEGIN + start + picture + text + _END)

    def _picture(self, pixels: Array, columns: int, rows: int) -> bytes:
        """Draw the frame as large as it fits into so many columns and rows, in the middle of the columns."""
        if rows < 1:
            return b""
        (across, down), (height, width) = self._cell, pixels.shape[:2]
        scale = min(columns * across / width, rows * down / height)
        wide, high = (max(1, int(scale * side)) for side in (width, height))
        wide_cells, high_cells = max(1, round(wide / across)), max(1, round(high / down))
        left = (columns - wide_cells) // 2 + 1
        if self._kind == "blocks":
            drawn = graphics.blocks(pixels, wide_cells, high_cells, self._colours)
            return b"".join(b"\x1b[%d;%dH%s" % (row, left, line) for row, line in enumerate(drawn, 1))
        fitted = graphics.scaled(pixels, wide, high) if scale < 1 or self._kind == "sixel" else pixels
        there = b"\x1b[1;%dH" % left
        return there + (
            graphics.kitty(fitted, wide_cells, high_cells) if self._kind == "kitty" else graphics.sixel(fitted)
        )


def bars(best: Ranking, columns: int) -> Iterator[str]:
    """Give a line a class: its name, its probability and a bar."""
    width = min(max((len(item.name) for item, _ in best), default=0), columns // 2)
    for item, probability in best:
        eighths = round(max(0, columns - width - 9) * 8 * probability)
        bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
        yield f"{item.name[:width]:<{width}} {probability:6.1%} {bar}"[: columns - 1]


def _window() -> tuple[int, int]:
    with contextlib.suppress(OSError):
        columns, rows = os.get_terminal_size(1)
        if columns and rows:
            return columns, rows
    return 80, 24
