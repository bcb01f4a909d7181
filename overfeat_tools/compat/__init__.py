"""The original's Python module, by name and meaning: a script written for it runs after changing its import.

    from overfeat_tools import compat as overfeat

There is one network, which `init` opens and `free` closes.  `fprop` takes a picture, float32 (3, H, W), 0 to 255, and
gives scores, (classes, H', W'), without a softmax; `get_output` gives the output of any layer for the last picture.
`soft_max` and `get_top_classes` come from the original's C++ library.  What differs:

- Results are arrays of their own.  The original gave views of its buffers, so each result became the next one.
- The softmax is exact.  The original's exponential was approximate, and its probabilities 0.1 percent too low.
- What is wrong is an exception of `overfeat_tools.errors`, and not the end of the process.

Layers that `get_output` has been asked for once are computed by `fprop` from then on, in the same pass.
"""

import operator
import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from overfeat_tools.backend import Array, FloatArray, open_backend
from overfeat_tools.errors import ImageError, UsageError, reason
from overfeat_tools.networks.classes import read_classes
from overfeat_tools.networks.layers import softmax
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.opening import memory_for_packed_weights
from overfeat_tools.networks.topology import TOPOLOGIES
from overfeat_tools.results.ranking import rank

__all__ = [
    "fprop", "free", "get_class_name", "get_n_layers", "get_output", "get_top_classes", "init", "soft_max",
]  # fmt: skip

_NETWORKS: dict[object, str] = {0: "fast", 1: "accurate", "tiny": "tiny"}
_PICTURE_AXES, _COLOURS = 3, 3


@dataclass
class _State:
    """The one network, the last picture, and what is known of it."""

    network: Network
    picture: Array | None = None
    maps: dict[int, FloatArray] = field(default_factory=dict)
    wanted: set[int] = field(default_factory=set)


_lock = threading.RLock()
_state: _State | None = None


def init(weight_file_path: str | os.PathLike[str] | None = None, net_idx: int | str = 0) -> None:
    """Open the network.

    Parameters
    ----------
    weight_file_path : str or path, optional
        Its weight file, or the folder that has it; by default, where the programs look.
    net_idx : {0, 1, "tiny"}
        0 is `fast`, 1 is `accurate`; `tiny`, which comes with the package, the original did not have.

    Raises
    ------
    UsageError
        There is no such network.
    WeightsError
        The weights are missing, or have the wrong size.

    Examples
    --------
    >>> init(None, "tiny")
    >>> get_n_layers()
    22
    """
    global _state  # noqa: PLW0603 -- the original's interface has one network
    if net_idx not in list(_NETWORKS):  # a list, so that any object may be looked for
        raise UsageError(f"net_idx={net_idx!r}: 0 (fast) or 1 (accurate) expected")
    if not (weight_file_path is None or isinstance(weight_file_path, str | bytes | os.PathLike)):
        raise UsageError(f"weight_file_path={weight_file_path!r}: the name of a file expected")
    topology, folder = TOPOLOGIES[_NETWORKS[net_idx]], None
    if weight_file_path is not None and not topology.packaged:
        path = Path(os.fsdecode(weight_file_path))
        folder = path if path.is_dir() else path.parent
        if not path.is_dir():
            topology = replace(topology, weight_file=path.name)
    backend = open_backend()
    with _lock:
        _state = None  # its memory is let go before more is taken
        _state = _State(Network(topology, folder, backend, packed_limit_bytes=memory_for_packed_weights(backend)))


def free() -> None:
    """Close the network, and let its memory go."""
    global _state  # noqa: PLW0603 -- as above
    with _lock:
        _state = None


def _opened() -> _State:
    if _state is None:
        raise UsageError("there is no network: call init first")
    return _state


def fprop(image: Any) -> FloatArray:  # noqa: ANN401 -- whatever numpy makes an array of
    """Run the network on a picture.

    Parameters
    ----------
    image : array (3, H, W) float32
        Red, green, blue, 0 to 255; H and W at least 231, or 221 with `accurate`.  Other floating point, and uint8, are
        converted.

    Returns
    -------
    array (classes, H', W') float32
        Scores, before the softmax.

    Raises
    ------
    UsageError
        There is no network, or this is no picture.
    ImageError
        The picture is too small, or has values that are not finite numbers.

    Examples
    --------
    >>> init(None, "tiny")
    >>> fprop(np.zeros((3, 231, 263), np.float32)).shape
    (26, 1, 2)
    """
    picture = _picture(image)
    with _lock:
        state = _opened()
        least, (height, width, _) = state.network.topology.input_size, picture.shape
        if min(height, width) < least:
            raise ImageError(f"{width}x{height} is smaller than {least}x{least}")
        scores = state.network.topology.last_layer - 1
        state.picture, state.maps = None, {}
        state.maps = _run(state.network, picture, {scores, *state.wanted})
        state.picture = picture
        return _first(state.maps[scores])


def get_n_layers() -> int:
    """Count the layers: 22 of `fast`, 25 of `accurate`; the softmax is not among them."""
    return _opened().network.topology.last_layer


def get_output(i: int) -> FloatArray:
    """Give the output of a layer for the picture that `fprop` had last.

    Parameters
    ----------
    i : int
        0 to `get_n_layers() - 1`, as `of-layer --list` has them.

    Returns
    -------
    array (C, H', W') float32

    Raises
    ------
    UsageError
        There is no network, no such layer, or no picture yet.

    Examples
    --------
    >>> init(None, "tiny")
    >>> scores = fprop(np.zeros((3, 231, 231), np.float32))
    >>> get_output(get_n_layers() - 3).shape
    (96, 1, 1)
    """
    with _lock:
        state = _opened()
        number = _index(i, get_n_layers(), "layers")
        if state.picture is None:
            raise UsageError("there is no output before fprop has been called")
        if number not in state.maps:
            state.wanted.add(number)
            state.maps.update(_run(state.network, state.picture, {number}))
        return _first(state.maps[number])


def get_class_name(i: int) -> str:
    """Give the name of a class by its place in the scores.

    Raises
    ------
    UsageError
        There is no network, or no such class.
    """
    classes = read_classes(_opened().network.topology)
    return classes[_index(i, len(classes), "classes")].name


def soft_max(scores: Any) -> FloatArray:  # noqa: ANN401
    """Turn scores (classes, H', W') into probabilities, at each place; exactly, where the original approximated.

    Examples
    --------
    >>> soft_max(np.zeros((4, 1, 1), np.float32)).ravel().tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    x = _numbers(scores)
    if not x.size or not x.ndim:
        raise UsageError(f"scores (classes, H, W) expected, {x.shape} came")
    return softmax(x, np, axis=0)


def get_top_classes(probabilities: Any, n: int) -> list[tuple[str, float]]:  # noqa: ANN401
    """Name the `n` most probable classes, best first.

    Parameters
    ----------
    probabilities : array (classes, 1, 1)
        Of one place.
    n : int

    Returns
    -------
    list of (str, float)
        Name and probability.

    Raises
    ------
    UsageError
        There is no network, or these are not the probabilities of its classes.
    """
    classes = read_classes(_opened().network.topology)
    x = _numbers(probabilities)
    if x.size != len(classes):
        raise UsageError(f"the probabilities of {len(classes)} classes at one place expected, {x.shape} came")
    count = _index(n, len(classes) + 1, "numbers of classes")
    return [(each.name, probability) for each, probability in rank(x.reshape(-1), classes, count)]


def _run(network: Network, picture: Array, layers: set[int]) -> dict[int, FloatArray]:
    network.check_memory(1, *picture.shape[:2], *layers)
    return network.begin_layers(picture[None], layers)()


def _first(maps: FloatArray) -> FloatArray:
    return np.array(maps[0].transpose(2, 0, 1), order="C")


def _picture(image: Any) -> FloatArray:  # noqa: ANN401
    x = _numbers(image)
    if x.ndim != _PICTURE_AXES or x.shape[0] != _COLOURS:
        raise UsageError(f"a picture (3, H, W) expected, {x.shape} came")
    if not np.isfinite(x).all():
        raise ImageError("the picture has values that are not finite numbers")
    return np.array(x.transpose(1, 2, 0), order="C")


def _numbers(values: Any) -> FloatArray:  # noqa: ANN401
    try:
        x = np.asarray(values)
    except Exception as error:
        raise UsageError(f"an array expected: {reason(error)}") from error
    if x.dtype.kind != "f" and x.dtype != np.uint8:
        raise UsageError(f"an array of float32 expected, {x.dtype} came")
    with np.errstate(over="ignore"):
        return x.astype(np.float32, copy=False)


def _index(i: int, count: int, what: str) -> int:
    try:
        number = operator.index(i)
    except TypeError:
        raise UsageError(f"{i!r}: a whole number expected") from None
    if not 0 <= number < count:
        raise UsageError(f"{number}: the {what} are 0 to {count - 1}")
    return number
