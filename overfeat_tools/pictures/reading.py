"""From files and standard input to pictures: what is read is bounded, and every fault is one picture's.

A file's first bytes decide what it is.  A PNM stream is parsed as it comes; any other kind is read
whole, up to a limit, and decoded.
"""

import os
import select
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError, StreamError
from overfeat_tools.pictures.faults import as_image_error
from overfeat_tools.pictures.kinds import BLANKS, MARK_BYTES, PNM_MARK, decode, kind_of
from overfeat_tools.pictures.pnm import Picture, PnmParser

STANDARD_INPUT = "-"
_READ_BYTES = 1 << 20
_MOST_FILE_BYTES = 1 << 30

Work = Callable[[], Picture | ImageError]
"""What is left to do for a picture once its bytes are there; it may be done in any thread."""


@dataclass(frozen=True)
class Item:
    """One picture on its way: its pixels, or why there are none.

    `number` counts all pictures from 1; `file` is the name given, or None for standard input;
    `place` says where it is, for messages.  `pixels` is (H, W, 3), uint8 or float32.  `warning`
    says what is wrong with a picture that could be decoded only in part.
    """

    number: int
    file: str | None
    place: str
    pixels: Array | None = None
    error: ImageError | None = None
    warning: str | None = None

    def failed(self, error: ImageError) -> "Item":
        """Give this item with an error in place of its pixels."""
        return replace(self, pixels=None, error=error)


def read_items(files: Sequence[str], seconds: dict[str, float], side: int | None = None) -> Iterator[Item]:
    """Read pictures from files and standard input, in order.

    Parameters
    ----------
    files : sequence of str
        Names; `-` is a PNM stream on standard input.
    seconds : dict
        Time spent is added under "read".
    side : int, optional
        The size that pictures will be fitted to, if they will: a large JPEG need not be decoded whole.

    Yields
    ------
    Item
        Bad pictures come as items with an error, a broken stream as one whose error is a
        StreamError: nothing follows it from the same file.
    """
    number = 0
    for file in files:
        name = None if file == STANDARD_INPUT else file
        for count, picture in enumerate(_timed(_pictures(name, side), seconds), start=1):
            number += 1
            place = f"picture {number}" if name is None else name
            if name is not None and (count > 1 or isinstance(picture, StreamError)):
                place = f"{name}: picture {count}"
            item = Item(number, name, place)
            if isinstance(picture, ImageError):
                yield item.failed(picture)
            else:
                yield replace(item, pixels=picture.pixels, warning=picture.warning)


def _timed(pictures: Iterator[Picture | ImageError], seconds: dict[str, float]) -> Iterator[Picture | ImageError]:
    while True:
        start = perf_counter()
        picture = next(pictures, None)
        seconds["read"] = seconds.get("read", 0.0) + perf_counter() - start
        if picture is None:
            return
        yield picture


def _pictures(file: str | None, side: int | None) -> Iterator[Picture | ImageError]:
    """Give the pictures of a file, or of standard input: where several decoders would work at a time."""
    return (work() for work in _works(file, side))


def _works(file: str | None, side: int | None) -> Iterator[Work]:
    """Read a file, or standard input; a fault of reading comes as the last picture's."""
    descriptor = None
    try:
        # Bare descriptors: sys.stdin's buffer would hold bytes back, and its lock would hang an exit.
        descriptor = 0 if file is None else os.open(file, os.O_RDONLY)
        first = _first_bytes(descriptor)
        if file is None or PNM_MARK.match(first) or not first.strip(BLANKS):
            count = 0
            for count, picture in enumerate(_stream(descriptor, first), start=1):  # noqa: B007 -- counts
                yield lambda picture=picture: picture  # type: ignore[misc]
            if file is not None and not count:
                raise ImageError("the file has no picture" if first else "the file is empty")  # noqa: TRY301
        else:
            kind = kind_of(first)
            data = _rest(descriptor, first)
            del first
            yield lambda: decode(kind, data, side)
    except (ImageError, MemoryError, OSError) as error:
        fault = as_image_error(error)
        yield lambda: fault
    finally:
        if file is not None and descriptor is not None:
            os.close(descriptor)


def _read(descriptor: int) -> bytes:
    """Read what is there, at least a byte except at the end; also where somebody has set the pipe not to block."""
    while True:
        try:
            return os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            select.select([descriptor], [], [])


def _first_bytes(descriptor: int) -> bytes:
    """Read enough to tell what comes; a pipe may give as little as one byte at a time."""
    first = _read(descriptor)
    while len(first) < MARK_BYTES and not PNM_MARK.match(first) and (more := _read(descriptor)):
        first += more
    return first


def _rest(descriptor: int, first: bytes) -> bytes:
    """Read a file to its end, unless that is too far."""
    status = os.fstat(descriptor)
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    chunks, total = [first], len(first)
    while max(size, total) <= _MOST_FILE_BYTES:
        chunk = _read(descriptor)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        total += len(chunk)
    raise ImageError(f"the file is larger than {_MOST_FILE_BYTES} bytes")


def _stream(descriptor: int, data: bytes) -> Iterator[Picture | ImageError]:
    parser = PnmParser()
    while data:
        parser.feed(data)
        yield from _parsed(parser)
        try:
            data = _read(descriptor)
        except OSError as error:
            raise StreamError(f"byte {parser.offset}: {as_image_error(error)}") from error
    parser.close()
    yield from _parsed(parser)


def _parsed(parser: PnmParser) -> Iterator[Picture | ImageError]:
    while True:
        try:
            picture = parser.next_picture()
        except StreamError:
            raise
        except ImageError as error:
            yield as_image_error(error)
        else:
            if picture is None:
                return
            yield picture
