"""A batch in parts: what needs more memory than there is, is computed in halves."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.errors import MemoryShortageError
from overfeat_tools.networks.network import Network

Result = dict[int, FloatArray] | MemoryShortageError
"""Outputs of layers of one picture, (H, W, C) each, by the layer's number; or why there are none."""


def begin_batch(
    network: Network, pictures: Sequence[Array], layers: tuple[int, ...]
) -> Callable[[], Iterable[Result]]:
    """Begin to run pictures of one shape; give a function that gives each one's result.

    Parameters
    ----------
    network : Network
    pictures : sequence of array (H, W, 3)
    layers : tuple of int
        The layers whose outputs are wanted.
    """
    try:
        wait = _begin(network, pictures, layers)
    except MemoryShortageError as error:
        shortage = error.with_traceback(None)  # which would keep the arrays of the failed run
        return lambda: _in_halves(network, pictures, layers, shortage)

    def results() -> Iterator[Result]:
        maps = wait()
        return ({number: values[index] for number, values in maps.items()} for index in range(len(pictures)))

    return results


def _in_halves(
    network: Network, pictures: Sequence[Array], layers: tuple[int, ...], shortage: MemoryShortageError
) -> Iterator[Result]:
    """Run each half of a batch that was too large, after all that was begun before it."""
    if len(pictures) == 1:
        yield shortage
        return
    middle = len(pictures) // 2
    for part in (pictures[:middle], pictures[middle:]):
        yield from begin_batch(network, part, layers)()


def _begin(
    network: Network, pictures: Sequence[Array], layers: tuple[int, ...]
) -> Callable[[], dict[int, FloatArray]]:
    height, width = pictures[0].shape[:2]
    network.check_memory(len(pictures), height, width, *layers)
    try:
        return network.begin_layers(np.stack(pictures), layers)
    except MemoryError:
        pass
    # Not raised from the other one, which holds what the run had taken.
    raise MemoryShortageError(f"{width}x{height}: not enough memory")
