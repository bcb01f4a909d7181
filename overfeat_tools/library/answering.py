"""Pictures in batches: read ahead, grouped by size, and answered in order."""

import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from overfeat_tools.backend import Array
from overfeat_tools.backend.machine import threads_with_room
from overfeat_tools.errors import ImageError, MemoryShortageError, UsageError
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.parts import Maps, begin_in_parts, begin_layers
from overfeat_tools.pictures import Batches, Item, Task, Undecoded, fitted, tasks

# What is grouped by size at a time, in batches.
_WINDOW_BATCHES = 2


def answers(
    network: Network,
    items: Iterator[Item | Undecoded],
    prepare: Callable[[Array], Array],
    layers: tuple[int, ...],
    *,
    one: bool,
    decoders: int,
) -> Iterator[Maps | ImageError]:
    """Answer pictures in order, with the outputs of layers, or with what is wrong with them.

    Parameters
    ----------
    network : Network
    items : iterator of Item or Undecoded
        Read in a thread of its own, decoded and prepared in several, unless there is one only.
    prepare : callable
        Brings a picture (H, W, 3) to what the network takes, or raises ImageError.
    layers : tuple of int
    one : bool
        Whether there is one picture only.
    decoders : int
        The most threads that decode and prepare.
    """
    finish = partial(fitted, prepare=prepare, seconds={})
    if one:
        only = [finish(item if isinstance(item, Item) else item.decoded({})) for item in items]
        answered = _answered(network, only, layers, 1, 1)
    else:
        answered = _streamed(network, tasks(items, finish, {}), layers, decoders)
    for item, result in answered:
        place = "" if one and item.file is None else f"{item.place}: "
        if item.warning:
            warnings.warn(f"{place}{item.warning}", stacklevel=5)  # where a method was called
        if isinstance(result, ImageError):
            kind = MemoryShortageError if isinstance(result, MemoryShortageError) else ImageError
            yield kind(f"{place}{result}")
        else:
            yield result


def raised(answers: Iterator[Maps | ImageError]) -> Iterator[Maps]:
    """Raise the first error."""
    for maps in answers:
        if isinstance(maps, ImageError):
            raise maps
        yield maps


def every(answers: Iterator[Maps | ImageError]) -> list[Maps]:
    """Give the maps of all pictures, or raise the first error; there must be one picture at least."""
    found = list(raised(answers))
    if not found:
        raise UsageError("there are no pictures")
    return found


def _streamed(
    network: Network, items: Iterator[Item | Task], layers: tuple[int, ...], decoders: int
) -> Iterator[tuple[Item, Maps | ImageError]]:
    """Answer pictures as they come: what has arrived is grouped by size, and nothing waits for what has not."""
    most, side = network.usual_batch(), network.topology.input_size
    most_pixels = most * side * side
    batches = Batches(items, most, most_pixels, threads_with_room(decoders))
    window: list[Item] = []
    try:
        for batch in batches:
            window += batch
            if not batches.ready or _pictures_of(window, side) >= _WINDOW_BATCHES * most:
                full, window = window, []
                yield from _answered(network, full, layers, most, most_pixels)
        rest, window = window, []
        yield from _answered(network, rest, layers, most, most_pixels)
    except Exception:  # of the source of the pictures: those before it are answered
        rest, window = window, []
        yield from _answered(network, rest, layers, most, most_pixels)
        raise
    finally:
        batches.stop()


def _pictures_of(items: Sequence[Item], side: int) -> float:
    """Count pictures, large ones as several."""
    return sum(max(1.0, item.pixels.size / (3 * side * side)) for item in items if item.pixels is not None)


def _answered(
    network: Network, items: list[Item], layers: tuple[int, ...], most: int, most_pixels: int
) -> Iterator[tuple[Item, Maps | ImageError]]:
    """Answer some pictures: compute batches of one size each, then give all in order."""
    results: dict[int, Maps | ImageError] = {item.number: item.error for item in items if item.error}
    begun: deque[tuple[list[int], Callable[[], Iterable[Maps | ImageError]]]] = deque()
    begin = partial(begin_layers, network, layers)
    for numbers, pictures in _batches(items, most, most_pixels):
        begun.append((numbers, begin_in_parts(begin, pictures)))
        if len(begun) > network.backend.ahead:
            results.update(_collected(*begun.popleft()))
    for one in begun:
        results.update(_collected(*one))
    for item in items:
        yield item, results.pop(item.number)


def _collected(
    numbers: list[int], wait: Callable[[], Iterable[Maps | ImageError]]
) -> Iterator[tuple[int, Maps | ImageError]]:
    return zip(numbers, wait(), strict=True)


def _batches(items: Sequence[Item], most: int, most_pixels: int) -> Iterator[tuple[list[int], list[Array]]]:
    """Group pictures by size; give the numbers and the pixels of each batch."""
    groups: dict[object, list[tuple[int, Array]]] = defaultdict(list)
    for item in items:
        if item.pixels is not None:
            groups[item.pixels.shape, item.pixels.dtype].append((item.number, item.pixels))
    for group in groups.values():
        height, width, _ = group[0][1].shape
        count = max(1, min(most, most_pixels // (height * width)))
        for start in range(0, len(group), count):
            batch = group[start : start + count]
            yield [number for number, _ in batch], [pixels for _, pixels in batch]
