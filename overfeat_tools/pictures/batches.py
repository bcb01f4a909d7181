"""From pictures to batches: a reader thread, threads that decode, order kept, nothing held back.

Pictures are read, decoded and fitted while the network computes.  A batch is what has arrived when the network is
free, up to a limit: a live stream is answered picture by picture, a bulk stream runs in large batches.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError
from overfeat_tools.pictures.faults import as_image_error
from overfeat_tools.pictures.item import Item, Undecoded, core_seconds
from overfeat_tools.pictures.pool import Pool, Task, pixels_of

# To fit a smaller picture takes no longer than to wake another thread and to hear of it.
_SMALL_PIXELS = 1 << 17


class Batches:
    """Batches of items of one shape, made from what a reader thread and others have ready.

    Parameters
    ----------
    items : iterator of Item or Task
        Run in a thread of its own.
    most_pictures : int
        Limit of a batch.
    most_pixels : int
        Limit of the pixels of a batch, for large pictures; one picture is always allowed.
    threads : int
        The most threads that carry out tasks.
    first : int, optional
        Limit of the first batch, where its answers are to come soon.

    Notes
    -----
    The reader runs ahead by up to two batches.
    """

    def __init__(
        self,
        items: Iterator[Item] | Iterator[Item | Task],
        most_pictures: int,
        most_pixels: int,
        threads: int = 1,
        first: int | None = None,
    ) -> None:
        self._most_pictures, self._most_pixels = most_pictures, most_pixels
        self._limit = first or most_pictures
        self._pool = Pool(threads, 2 * most_pictures, 2 * most_pixels)
        self._items = items
        self._thread = threading.Thread(target=self._read, args=(items,), name="reader", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # "can't start new thread": the caller's own will do
            self._pool.end()

    def _read(self, items: Iterator[Item] | Iterator[Item | Task]) -> None:
        try:
            for one in items:
                if not self._pool.put(one):
                    return
        except BaseException as failure:  # noqa: BLE001 -- carried over to the thread that can report it
            self._pool.put(failure)
        finally:
            self._pool.end()

    @property
    def ready(self) -> bool:
        """Tell whether the next batch can be had without waiting."""
        return self._pool.is_ready

    def stop(self) -> None:
        """Let the threads end instead of reading and decoding on."""
        self._pool.stop()

    def __iter__(self) -> Iterator[list[Item]]:
        """Give lists of items: pictures of one shape, or one item with an error."""
        if self._thread.ident is None:
            yield from ([one if isinstance(one, Item) else one.work()] for one in self._items)
        while batch := self._pool.take(self._belongs):
            self._limit = self._most_pictures
            yield batch

    def _belongs(self, batch: list[Item], item: Item) -> bool:
        return (
            batch[0].pixels is not None
            and shapes_of(item) == shapes_of(batch[0])
            and len(batch) < self._limit
            and (len(batch) + 1) * pixels_of(item) <= self._most_pixels
        )


def shapes_of(item: Item) -> object:
    """Give what pictures have in common that may be computed together: the dtype and the shapes of all views."""
    if item.pixels is None:
        return None
    return (item.pixels.dtype, item.pixels.shape, *(view.shape for view in item.views))


Prepare = Callable[[Array], Array] | Callable[[Array], tuple[Array, ...]]
"""Makes one picture of another, or several views of it."""


def tasks(
    pictures: Iterator[Item | Undecoded], finish: Callable[[Item], Item], seconds: dict[str, float]
) -> Iterator[Item | Task]:
    """Leave it to other threads to decode and finish pictures, unless that takes no time worth mentioning."""
    for one in pictures:
        if isinstance(one, Undecoded):
            yield Task(partial(_decoded, one, finish, seconds), len(one.encoded.data))
        elif pixels_of(one) > _SMALL_PIXELS:
            yield Task(partial(finish, one))
        else:
            yield finish(one)


def _decoded(one: Undecoded, finish: Callable[[Item], Item], seconds: dict[str, float]) -> Item:
    return finish(one.decoded(seconds))


def fitted(item: Item, prepare: Prepare, seconds: dict[str, float]) -> Item:
    """Apply `prepare` to the pixels of an item; an ImageError or MemoryError becomes the item's error.

    Time of a core that is spent is added to `seconds` under "fit".
    """
    with core_seconds(seconds, "fit"):
        try:
            return item if item.pixels is None else _with(item, prepare(item.pixels))
        except (ImageError, MemoryError) as error:
            return item.failed(as_image_error(error))


def prepared(items: Iterator[Item], prepare: Prepare, seconds: dict[str, float]) -> Iterator[Item]:
    """Apply `fitted` to each item."""
    return (fitted(item, prepare, seconds) for item in items)


def _with(item: Item, made: Array | tuple[Array, ...]) -> Item:
    if isinstance(made, tuple):
        return replace(item, pixels=made[0], views=made)
    return item if made is item.pixels else replace(item, pixels=made)
