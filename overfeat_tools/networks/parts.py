"""A batch in parts: what needs more memory than there is, is computed in halves."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.errors import MemoryShortageError
from overfeat_tools.networks.network import Network

Maps = dict[int, FloatArray]
"""Outputs of layers of one picture, (H, W, C) each, or of a batch, by the layer's number."""

Given = TypeVar("Given", bound=Array | Sequence[Array])
Result = TypeVar("Result")

Begin = Callable[[Sequence[Given]], Callable[[], Iterable[Result]]]
"""Begins to compute pictures of one shape, or of each the same views; what it returns waits for their results."""


def begin_in_parts(
    begin: Begin[Given, Result], batch: Sequence[Given]
) -> Callable[[], Iterable[Result | MemoryShortageError]]:
    """Begin to compute a batch; give a function that gives each one's result, or why there is none.

    Parameters
    ----------
    begin : callable
        See `Begin`.  It is called again with each half of a batch that needs more memory than there is, after all that
        was begun before it.
    batch : sequence
        Pictures (H, W, 3), or the views of each.
    """
    try:
        return _begin(begin, batch)
    except MemoryShortageError as error:
        shortage = error.with_traceback(None)  # which would keep the arrays of the failed run
        return lambda: _in_halves(begin, batch, shortage)


def _in_halves(
    begin: Begin[Given, Result], batch: Sequence[Given], shortage: MemoryShortageError
) -> Iterator[Result | MemoryShortageError]:
    if len(batch) == 1:
        yield shortage
        return
    middle = len(batch) // 2
    for part in (batch[:middle], batch[middle:]):
        yield from begin_in_parts(begin, part)()


def _begin(begin: Begin[Given, Result], batch: Sequence[Given]) -> Callable[[], Iterable[Result]]:
    try:
        return begin(batch)
    except MemoryError:
        pass
    # Not raised from the other one, which holds what the run had taken.
    first = batch[0]
    height, width = (first if isinstance(first, np.ndarray) else first[0]).shape[:2]
    raise MemoryShortageError(f"{width}x{height}: not enough memory")


def begin_layers(network: Network, layers: tuple[int, ...], pictures: Sequence[Array]) -> Callable[[], Iterable[Maps]]:
    """Do what `begin_batch` does; give a function that gives each picture's outputs."""
    return partial(_each, begin_batch(network, layers, pictures), len(pictures))


def begin_batch(network: Network, layers: tuple[int, ...], pictures: Sequence[Array]) -> Callable[[], Maps]:
    """Begin to run pictures of one shape; give a function that gives their outputs of layers, (N, H, W, C) each.

    Raises
    ------
    MemoryShortageError
        They don't fit in the memory that is free.
    """
    height, width = pictures[0].shape[:2]
    network.check_memory(len(pictures), height, width, *layers)
    return network.begin_layers(pictures, layers)


def _each(wait: Callable[[], Maps], pictures: int) -> Iterable[Maps]:
    maps = wait()
    return ({number: values[index] for number, values in maps.items()} for index in range(pictures))
