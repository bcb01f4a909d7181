"""From pictures to batches: a reader thread, order kept, nothing held back.

The reader parses and fits pictures while the network computes.  A batch is what has arrived when
the network is free, up to a limit: a live stream is answered picture by picture, a bulk stream
runs in large batches.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import perf_counter

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError
from overfeat_tools.pictures.faults import as_image_error
from overfeat_tools.pictures.reading import Item


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
        self._items = items
        self._thread = threading.Thread(target=self._read, args=(items,), name="reader", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # "can't start new thread": the caller's own will do
            self._ended = True

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
        if self._thread.ident is None:
            yield from ([item] for item in self._items)
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
    if item.pixels is None:
        return None
    return (item.pixels.dtype, item.pixels.shape, *(view.shape for view in item.views))


Prepare = Callable[[Array], Array] | Callable[[Array], tuple[Array, ...]]
"""Makes one picture of another, or several views of it."""


def prepared(items: Iterator[Item], prepare: Prepare, seconds: dict[str, float]) -> Iterator[Item]:
    """Apply `prepare` to the pixels of each item; an ImageError or MemoryError becomes the item's error.

    Time spent is added to `seconds` under "fit".
    """
    for item in items:
        start = perf_counter()
        try:
            ready = item if item.pixels is None else _with(item, prepare(item.pixels))
        except (ImageError, MemoryError) as error:
            ready = item.failed(as_image_error(error))
        seconds["fit"] = seconds.get("fit", 0.0) + perf_counter() - start
        yield ready


def _with(item: Item, made: Array | tuple[Array, ...]) -> Item:
    return replace(item, pixels=made[0], views=made) if isinstance(made, tuple) else replace(item, pixels=made)
