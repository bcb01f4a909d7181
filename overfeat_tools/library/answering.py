"""Pictures in batches: read ahead, grouped by size, and answered in order."""

import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from overfeat_tools.backend import Array
from overfeat_tools.backend.machine import threads_with_room
from overfeat_tools.errors import ImageError, MemoryShortageError, UsageError
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.parts import Maps, begin_in_parts, begin_layers
from overfeat_tools.networks.views import Seen, Views
from overfeat_tools.pictures import Batches, Item, Prepare, Task, Undecoded, fitted, pixels_of, shapes_of, tasks

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)

# What is grouped by size at a time, in batches.
_WINDOW_BATCHES = 2


class Work(NamedTuple, Generic[Result_co]):
    """What is done with pictures.

    `prepare` brings one (H, W, 3) to what the network takes, or makes several views of it, or raises ImageError;
    `side` is what it scales the shorter side to, where files may be decoded smaller.  `begin` begins to compute a
    batch of one shape, and what it returns waits for each result, or why there is none.  `pixels` are those of one
    picture, usually.
    """

    network: Network
    prepare: Prepare
    side: int | None
    begin: Callable[[Sequence[Item]], Callable[[], Iterable[Result_co | ImageError]]]
    usual_batch: Callable[[], int]
    pixels: int


def maps_of(
    network: Network, layers: tuple[int, ...], prepare: Callable[[Array], Array], side: int | None
) -> Work[Maps]:
    """Compute the outputs of layers."""
    begin = partial(_begin_maps, network, layers)
    return Work(network, prepare, side, begin, network.usual_batch, network.topology.input_size**2)


def _begin_maps(
    network: Network, layers: tuple[int, ...], batch: Sequence[Item]
) -> Callable[[], Iterable[Maps | ImageError]]:
    pictures = [item.pixels for item in batch if item.pixels is not None]
    return begin_in_parts(partial(begin_layers, network, layers), pictures)


def seen_by(views: Views[Seen], tell: Callable[[Seen], Result]) -> Work[Result]:
    """Look at several views, and keep of what was seen only what is told: the former may be large."""

    def begin(pictures: Sequence[Sequence[Array]]) -> Callable[[], Iterable[Result]]:
        wait = views.begin(pictures)
        return lambda: map(tell, wait())

    def begin_batch(batch: Sequence[Item]) -> Callable[[], Iterable[Result | ImageError]]:
        return begin_in_parts(begin, [item.views for item in batch])

    return Work(views.network, views.prepare, views.side, begin_batch, views.usual_batch, views.pixels)


def answers(
    work: Work[Result], items: Iterator[Item | Undecoded], *, one: bool, decoders: int
) -> Iterator[Result | ImageError]:
    """Answer pictures in order, with their results, or with what is wrong with them.

    Parameters
    ----------
    work : Work
    items : iterator of Item or Undecoded
        Read in a thread of its own, decoded and prepared in several, unless there is one only.
    one : bool
        Whether there is one picture only.
    decoders : int
        The most threads that decode and prepare.
    """
    finish = partial(fitted, prepare=work.prepare, seconds={})
    answered = _alone(work, items, finish) if one else _streamed(work, tasks(items, finish, {}), decoders)
    for item, result in answered:
        place = "" if one and item.file is None else f"{item.place}: "
        if item.warning:
            warnings.warn(f"{place}{item.warning}", stacklevel=5)  # where a method was called
        if isinstance(result, ImageError):
            kind = MemoryShortageError if isinstance(result, MemoryShortageError) else ImageError
            yield kind(f"{place}{result}")
        else:
            yield result


def raised(answers: Iterator[Result | ImageError]) -> Iterator[Result]:
    """Raise the first error."""
    for result in answers:
        if isinstance(result, ImageError):
            raise result
        yield result


def every(answers: Iterator[Result | ImageError]) -> list[Result]:
    """Give the results of all pictures, or raise the first error; there must be one picture at least."""
    found = list(raised(answers))
    if not found:
        raise UsageError("there are no pictures")
    return found


def _alone(
    work: Work[Result], items: Iterator[Item | Undecoded], finish: Callable[[Item], Item]
) -> Iterator[tuple[Item, Result | ImageError]]:
    """Answer the only picture, with little ado: what is done before and after a pass is done with cold caches."""
    for one in items:
        item = finish(one if isinstance(one, Item) else one.decoded({}))
        if item.error:
            yield item, item.error
        else:
            (result,) = work.begin([item])()
            yield item, result


def _streamed(
    work: Work[Result], items: Iterator[Item | Task], decoders: int
) -> Iterator[tuple[Item, Result | ImageError]]:
    """Answer pictures as they come: what has arrived is grouped by size, and nothing waits for what has not."""
    most = work.usual_batch()
    batches = Batches(items, most, most * work.pixels, threads_with_room(decoders))
    window: list[Item] = []
    try:
        for batch in batches:
            window += batch
            # Neither the end nor a failure of the source is ready: nothing is left in the window by then.
            if not batches.ready or _pictures_of(window, work.pixels) >= _WINDOW_BATCHES * most:
                full, window = window, []
                yield from _answered(work, full, most)
    finally:
        batches.stop()


def _pictures_of(items: Sequence[Item], usual_pixels: int) -> float:
    """Count pictures, large ones as several."""
    return sum(max(1.0, pixels_of(item) / usual_pixels) for item in items if item.pixels is not None)


def _answered(work: Work[Result], items: list[Item], most: int) -> Iterator[tuple[Item, Result | ImageError]]:
    """Answer some pictures: compute batches of one size each, then give all in order."""
    results: dict[int, Result | ImageError] = {item.number: item.error for item in items if item.error}
    begun: deque[tuple[list[int], Callable[[], Iterable[Result | ImageError]]]] = deque()
    for batch in _batches(items, most, most * work.pixels):
        begun.append(([item.number for item in batch], work.begin(batch)))
        if len(begun) > work.network.backend.ahead:
            numbers, wait = begun.popleft()
            results.update(zip(numbers, wait(), strict=True))
    for numbers, wait in begun:
        results.update(zip(numbers, wait(), strict=True))
    for item in items:
        yield item, results.pop(item.number)


def _batches(items: Sequence[Item], most: int, most_pixels: int) -> Iterator[list[Item]]:
    """Group pictures by size."""
    groups: dict[object, list[Item]] = defaultdict(list)
    for item in items:
        if item.pixels is not None:
            groups[shapes_of(item)].append(item)
    for group in groups.values():
        count = max(1, min(most, most_pixels // pixels_of(group[0])))
        for start in range(0, len(group), count):
            yield group[start : start + count]
