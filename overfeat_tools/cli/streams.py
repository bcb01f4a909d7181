"""The standard streams: results go to one and messages to another, and the third may have pictures."""

import contextlib
import fcntl
import itertools
import os
import select
import stat
import sys
from collections.abc import Callable, Iterable, Iterator

from overfeat_tools.errors import OverfeatError, UsageError


class NothingToDoError(UsageError):
    """There is nothing to do: the help is the best answer."""


def write(data: bytes | memoryview) -> None:
    """Write a record to standard output, or keep it for the next flush; see `gathered` and `write_pieces`."""
    if _Gathered.records is None:
        write_pieces([data])
        return
    _Gathered.records.append(bytes(data))
    if len(data) >= _MOST_GATHERED_BYTES or len(_Gathered.records) == _GATHERED:
        _flush()


@contextlib.contextmanager
def gathered() -> Iterator[Callable[[], None]]:
    """Keep what is written inside, some of it, until the function that is given is called, or the end.

    What is written otherwise, to standard error as well, comes after it.
    """
    _Gathered.records = []
    try:
        yield _flush
    finally:
        try:
            _flush()
        finally:
            _Gathered.records = None


class _Gathered:
    """Records that are to be written."""

    records: list[bytes] | None = None


def _flush() -> None:
    if records := _Gathered.records:
        _Gathered.records = []
        write_pieces([b"".join(records)])


def write_pieces(pieces: Iterable[bytes | memoryview]) -> None:
    """Write the pieces of one record to standard output: all of them, or the failure is told.

    Python's own stdout won't do.  Where it is unbuffered (`PYTHONUNBUFFERED`) its `write` may write only a part, when a
    disk fills up, a pipe does not wait or a signal stops the process, and says so in a number that nobody looks at.

    Several of these programs may write to one pipe or file (`xargs -P`), and what is written here stays together.

    Raises
    ------
    OverfeatError
        They can't be written.
    BrokenPipeError
        Nobody reads them any more.
    """
    _flush()
    if sys.stdout is None:
        raise OverfeatError("standard output is closed")
    with _failures_told(), _turn(1) as alone:
        rest = iter(pieces)
        while group := list(itertools.islice(rest, 1 if alone else _GATHERED)):
            _write_all(1, *group)


# Pieces written at once where nothing else keeps them together: a writev takes up to 1024.
_GATHERED = 64
_MOST_GATHERED_BYTES = 1 << 12


@contextlib.contextmanager
def _turn(descriptor: int) -> Iterator[bool]:
    """Take turns with the other programs that write to a pipe; tell whether it could be done.

    A pipe keeps only 4096 bytes together.  What is given to a file in one go, it keeps together itself, and a lock on a
    file may cost a message to a server.
    """
    try:
        locked = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        if locked:
            fcntl.lockf(descriptor, fcntl.LOCK_EX)
    except OSError:  # not every system locks pipes
        locked = False
    try:
        yield locked
    finally:
        if locked:
            fcntl.lockf(descriptor, fcntl.LOCK_UN)


def check_output() -> None:
    """Learn of failures that some file systems report only when a descriptor is closed: so close a copy."""
    try:
        copy = os.dup(1)
    except OSError:  # no descriptor is left, or stdout is closed
        return
    with _failures_told():
        os.close(copy)


@contextlib.contextmanager
def _failures_told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OverfeatError(f"standard output: {(error.strerror or str(error)).lower()}") from error


def _write_all(descriptor: int, *pieces: bytes | memoryview) -> None:
    rest = [memoryview(piece) for piece in pieces if piece]
    while rest:
        try:
            written = os.writev(descriptor, rest)
        except BlockingIOError:
            select.select([], [descriptor], [])
            continue
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if written:
            rest[0] = rest[0][written:]


def take_stderr() -> None:
    """Keep standard error for this program's own lines, and the numbers of closed standard streams from other files.

    Libraries written in C print to descriptor 2, whatever Python does, so it becomes the null device.
    """
    null = os.open(os.devnull, os.O_RDWR)
    while null <= 2:  # noqa: PLR2004 -- the last of the three standard streams
        null = os.open(os.devnull, os.O_RDWR)
    if sys.stderr is not None:
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
        os.dup2(null, 2)


def say(program: str, message: str) -> None:
    """Print one line on standard error; control characters in it are escaped."""
    show(f"{program}: {printable(message)}\n")


def printable(text: str) -> str:
    """Escape what would not be seen, or would change how the rest is; bytes that are no UTF-8 stay surrogates."""
    return "".join(c if c.isprintable() or "\ud800" <= c <= "\udfff" else repr(c)[1:-1] for c in file_text(text))


def show(text: str, *, transient: bool = False) -> None:
    """Print text on standard error, where it can be printed; a transient line is erased before the next text."""
    _flush()
    if sys.stderr is not None:
        whole = ("\r\x1b[K" if _Shown.transient else "") + text
        _Shown.transient |= transient  # whatever happens while it is written
        with contextlib.suppress(OSError):
            _write_all(sys.stderr.fileno(), whole.encode("utf-8", "backslashreplace"))
        _Shown.transient = transient


class _Shown:
    """Whether the last line on standard error is a transient one."""

    transient = False


def file_text(name: str) -> str:
    r"""Read the bytes of a file's name as UTF-8, whatever the locale; others become \udc80 to \udcff."""
    try:
        return os.fsencode(name).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # it was never a name in this locale
        return name


def agreed(question: str) -> bool:
    """Ask on the terminal; where there is none, nobody can be asked: yes.

    Raises
    ------
    OverfeatError
        The terminal went away.
    """
    if sys.stdin is None or sys.stderr is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    show(f"{question} [y/N] ")
    try:
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except (OSError, ValueError) as error:
        raise OverfeatError("the terminal went away") from error
