"""From files and standard input to batches: a reader thread, order kept, nothing held back.

The reader parses and fits pictures while the network computes.  A batch is what has arrived when
the network is free, up to a limit: a live stream is answered picture by picture, a bulk stream
runs in large batches.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError, StreamError
from overfeat_tools.pictures.image import decode
from overfeat_tools.pictures.pnm import Picture, PnmParser

STANDARD_INPUT = "-"
_READ_BYTES = 1 << 20
_PNM_MAGICS = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7")


@dataclass(frozen=True)
class Item:
    """One picture on its way: its pixels, or why there are none.

    `number` counts all pictures from 1; `file` is the name given, or None for standard input;
    `place` says where it is, for messages.  `pixels` is (H, W, 3), uint8 or float32; `warning` says what is wrong with
    them where they could be decoded only in part.
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
        for count, picture in enumerate(_timed(_read(name, side), seconds), start=1):
            number += 1
            place = f"picture {number}" if name is None else name
            if name is not None and (count > 1 or isinstance(picture, StreamError)):
                place = f"{name}: picture {count}"
            item = Item(number, name, place)
            if isinstance(picture, ImageError):
                yield replace(item, error=picture)
            else:
                yield replace(item, pixels=picture.pixels)


def _timed(pictures: Iterator[Picture | ImageError], seconds: dict[str, float]) -> Iterator[Picture | ImageError]:
    while True:
        start = perf_counter()
        picture = next(pictures, None)
        seconds["read"] = seconds.get("read", 0.0) + perf_counter() - start
        if picture is None:
            return
        yield picture


def _read(file: str | None, side: int | None) -> Iterator[Picture | ImageError]:
    """Read the pictures of a file, or of standard input; errors come as the last picture."""
    # Bare descriptors: sys.stdin's buffer would hold bytes back, and its lock would hang an exit.
    try:
        descriptor = 0 if file is None else os.open(file, os.O_RDONLY)
    except OSError as error:
        yield ImageError(_reason(error))
        return
    try:
        first = os.read(descriptor, _READ_BYTES)
        while len(first) == 1 and (more := os.read(descriptor, _READ_BYTES)):
            first += more  # a pipe may give as little as one byte, too little to tell what comes
        if file is None or first[:2] in _PNM_MAGICS:
            yield from _read_stream(descriptor, first)
        else:
            yield decode(first, descriptor, side)
    except ImageError as error:
        yield error
    except OSError as error:
        yield ImageError(_reason(error))
    finally:
        if file is not None:
            os.close(descriptor)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _read_stream(descriptor: int, data: bytes) -> Iterator[Picture | ImageError]:
    parser = PnmParser()
    while data:
        parser.feed(data)
        yield from _parsed(parser)
        try:
            data = os.read(descriptor, _READ_BYTES)
        except OSError as error:
            raise StreamError(f"byte {parser.offset}: {_reason(error)}") from error
    parser.close()
    yield from _parsed(parser)


def _parsed(parser: PnmParser) -> Iterator[Picture | ImageError]:
    while True:
        try:
            picture = parser.next_picture()
        except StreamError:
            raise
        except ImageError as error:
            yield error
        else:
            if picture is None:
                return
            yield picture


class Batches:
    """Batches of items of one shape, made from what a reader thread has ready.

    Parameters
    ----------
    items : iterator of Item
        Run in a thread of its own.
    most_pictures : int
        Limit of a batch.
    most_pixels : int
        Limit of the pixels of a batch, for large pictures; one picture is always allowed.

    Notes
    -----
    The reader runs ahead by up to two batches.
    """

    def __init__(self, items: Iterator[Item], most_pictures: int, most_pixels: int) -> None:
        self._most_pictures, self._most_pixels = most_pictures, most_pixels
        self._ready: deque[Item] = deque()
        self._ready_pixels = 0
        self._ended = False
        self._stopped = False
        self._failure: BaseException | None = None
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(items,), name="reader", daemon=True)
        self._thread.start()

    def _read(self, items: Iterator[Item]) -> None:
        try:
            for item in items:
                with self._change:
                    self._change.wait_for(lambda: self._stopped or not self._full())
                    if self._stopped:
                        return
                    self._ready.append(item)
                    self._ready_pixels += _pixels(item)
                    self._change.notify_all()
        except BaseException as failure:  # noqa: BLE001 -- carried over to the thread that can report it
            self._failure = failure
        finally:
            with self._change:
                self._ended = True
                self._change.notify_all()

    def _full(self) -> bool:
        return len(self._ready) >= 2 * self._most_pictures or self._ready_pixels >= 2 * self._most_pixels

    @property
    def ready(self) -> bool:
        """Tell whether the next batch can be had without waiting."""
        return bool(self._ready)

    def stop(self) -> None:
        """Let the reader thread end instead of reading on."""
        with self._change:
            self._stopped = True
            self._change.notify_all()

    def __iter__(self) -> Iterator[list[Item]]:
        """Give lists of items: pictures of one shape, or one item with an error."""
        while True:
            with self._change:
                self._change.wait_for(lambda: self._ready or self._ended)
                if not self._ready:
                    break
                batch = self._take()
                self._change.notify_all()
            yield batch
        if self._failure:
            raise self._failure

    def _take(self) -> list[Item]:
        batch = [self._ready.popleft()]
        kind, pixels = _kind(batch[0]), _pixels(batch[0])
        while (
            self._ready
            and batch[0].pixels is not None
            and _kind(self._ready[0]) == kind
            and len(batch) < self._most_pictures
            and (len(batch) + 1) * pixels <= self._most_pixels
        ):
            batch.append(self._ready.popleft())
        self._ready_pixels -= pixels * len(batch)
        return batch


def _pixels(item: Item) -> int:
    return 0 if item.pixels is None else item.pixels.shape[0] * item.pixels.shape[1]


def _kind(item: Item) -> object:
    return None if item.pixels is None else (item.pixels.shape, item.pixels.dtype)


def prepared(items: Iterator[Item], prepare: Callable[[Array], Array], seconds: dict[str, float]) -> Iterator[Item]:
    """Apply `prepare` to the pixels of each item; an ImageError it raises becomes the item's.

    Time spent is added to `seconds` under "fit".
    """
    for item in items:
        start = perf_counter()
        try:
            ready = item if item.pixels is None else replace(item, pixels=prepare(item.pixels))
        except ImageError as error:
            ready = item.failed(error)
        seconds["fit"] = seconds.get("fit", 0.0) + perf_counter() - start
        yield ready
