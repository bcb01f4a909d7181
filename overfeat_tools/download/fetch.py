"""Get one URL whole, however often the connection breaks.

The part that is there is gone on with, if the server says that the file is still the same (ETag
or date) and the last bytes that are there come again.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from overfeat_tools.download.archive import HEAD_BYTES, guess
from overfeat_tools.download.progress import Progress
from overfeat_tools.download.store import Part
from overfeat_tools.download.transport import Answer, CutError, RangeError, Transport, UnreachableError, shown
from overfeat_tools.errors import DownloadError

_OVERLAP = 4096


@dataclass(frozen=True)
class Patience:
    """When to try again, and when to give up.

    A try that brought `gain_bytes` is no failure.  `connect_tries` holds while there was no
    connection at all: a name that doesn't exist should not be asked for long.  Fewer than
    `stall_bytes` in `stall_seconds` are as good as a cut.
    """

    tries: int = 10
    connect_tries: int = 2
    gain_bytes: int = 1 << 20
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 30.0
    connect_seconds: float = 15.0
    read_seconds: float = 30.0
    stall_seconds: float = 60.0
    stall_bytes: int = 60 << 10

    def pause(self, tries: int, asked_seconds: float) -> float:
        """Give the seconds to wait after so many failures."""
        doubled = self.first_pause_seconds * 2.0 ** (tries - 1)
        return min(max(doubled, asked_seconds), self.longest_pause_seconds)


@dataclass(frozen=True)
class Fetch:
    """A URL to be fetched, and what there is to know about it.

    `sizes` are the sizes that a bare file may have; `limit` the most bytes anything may have;
    `room` is called with the bytes still to come (None: unknown) before anything is written.
    """

    url: str
    part: Part
    sizes: frozenset[int]
    limit: int
    room: Callable[[int | None, int], None]
    patience: Patience
    tell: Callable[[str], None]
    progress: Progress

    def run(self) -> bool:
        """Fetch until the part is whole; say whether it was put together from several answers.

        Raises
        ------
        DownloadError
            It can't be had from here, or not now: what came is kept.
        OverfeatError
            The disk is full, or can't be written.
        """
        joined = self.part.size > 0
        if self.part.complete:
            return joined
        if joined:
            self.tell(f"going on after the {self.part.size / 1e6:.1f} MB that are here already")
        tries, best, whole_only = 0, self.part.size, False
        reached = False
        with closing(Transport(self.patience.connect_seconds, self.patience.read_seconds)) as transport:
            while True:
                problem: DownloadError
                wait = 0.0
                try:
                    self._once(transport, whole_only=whole_only)
                except RangeError as error:
                    problem, whole_only, reached = error, True, True
                except CutError as error:
                    problem, wait = error, error.wait_seconds
                    reached = reached or not isinstance(error, UnreachableError)
                else:
                    return joined
                finally:
                    self.progress.end()
                here = self.part.size
                if here >= best + self.patience.gain_bytes:
                    tries, best = 0, here
                joined = joined or here > 0
                tries += 1
                if tries >= (self.patience.tries if reached or here else self.patience.connect_tries):
                    message = f"{problem}; gave up after {tries} tries"
                    raise DownloadError(message) from problem
                pause = self.patience.pause(tries, wait)
                self.tell(f"{problem}; {_amount(here, self.part.total)}; trying again in {pause:.0f} s")
                time.sleep(pause)

    def _once(self, transport: Transport, *, whole_only: bool) -> None:
        part = self.part
        here = part.size
        start = 0 if whole_only or here <= _OVERLAP else here - _OVERLAP
        with transport.open(self.url, start, part.validator) as answer:
            chunks = answer.chunks()
            if answer.start:
                head = _take(chunks, _OVERLAP)
                if part.total not in (None, answer.total) or (
                    len(head) >= _OVERLAP and head[:_OVERLAP] != part.tail(_OVERLAP)
                ):
                    message = "the file on the server has changed"
                    raise RangeError(message)
                head = head[_OVERLAP:]
                part.total = answer.total
            else:
                head = _take(chunks, HEAD_BYTES)
                self._judge(answer, head)
                if start:
                    self.tell("the server can't go on, or has another file now: starting over")
                part.begin(answer.total, answer.validator)
                here = 0
            self.room(None if answer.total is None else answer.total - here, here)
            self._append(head, chunks)
        if part.total is not None and part.size != part.total:
            message = f"the answer ended early, {_amount(part.size, part.total)}"
            raise CutError(message)
        part.finish()

    def _judge(self, answer: Answer, head: bytes) -> None:
        """Refuse what can't be the weights before the part that is there is given up for it."""
        kind = guess(head)
        if kind == "page":
            message = "a web page came, not the weights"
            raise DownloadError(message)
        if not head:
            message = "an empty answer came"
            raise DownloadError(message)
        if kind == "other archive" or (not kind and answer.total not in (None, *self.sizes)):
            size = "" if answer.total is None else f" ({answer.total} bytes, {answer.content_type or 'of no type'})"
            message = f"what came{size} is neither a tar, tgz or zip archive nor a weight file"
            raise DownloadError(message)
        if answer.total is not None and answer.total > self.limit:
            message = f"what came has {answer.total} bytes: too many for the weights"
            raise DownloadError(message)

    def _append(self, head: bytes, chunks: Iterator[bytes]) -> None:
        """Write what comes; what is written stays written."""
        size = self.part.size
        self.progress.begin(shown(self.url).rpartition("/")[2][-40:] or "download", self.part.total, size)
        mark, deadline = size, time.monotonic() + self.patience.stall_seconds
        with self.part.appending() as append:
            for chunk in itertools.chain([head], chunks):
                append(chunk)
                size += len(chunk)
                if size > self.limit:
                    self.part.clear()
                    message = f"more than {self.limit} bytes came: too many for the weights"
                    raise DownloadError(message)
                self.progress.reach(size)
                if time.monotonic() > deadline:
                    if size - mark < self.patience.stall_bytes:
                        message = f"only {size - mark} bytes came in {self.patience.stall_seconds:.0f} s"
                        raise CutError(message)
                    mark, deadline = size, time.monotonic() + self.patience.stall_seconds


def _take(chunks: Iterator[bytes], count: int) -> bytes:
    """Take chunks until there are so many bytes, or no more."""
    taken = b""
    for chunk in chunks:
        taken += chunk
        if len(taken) >= count:
            break
    return taken


def _amount(here: int, total: int | None) -> str:
    return f"{here} of {total} bytes are here" if total is not None else f"{here} bytes are here"
