"""The arguments of the library: what they may be, and what is said of others."""

import operator
import os
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, get_args

from overfeat_tools.errors import UsageError
from overfeat_tools.networks.classes import Class, by_label, class_labelled
from overfeat_tools.networks.dense import SCALES, SIZES
from overfeat_tools.networks.topology import TOPOLOGIES, Topology

Size: TypeAlias = int | Literal["input", "none"] | None
"""What the shorter side of a picture is scaled to."""

Layer: TypeAlias = int | Literal["features", "scores", "probabilities"]
"""What a layer is called."""

Looking: TypeAlias = Literal["centre", "ten", "dense"]
"""What of a picture to look at."""

Stride: TypeAlias = Literal["fine", "coarse"] | None
"""How near to each other the places lie."""

_DEVICES = ("auto", "cpu", "cuda")
_METHODS = ("auto", "gemm", "fft", "cook-toom")
_PRECISIONS = ("float32", "tf32", "half")


def check_opening(
    name: object, weights: object, device: object, threads: object, method: object, precision: object
) -> None:
    """Refuse arguments that no network can be opened with."""
    check_word("name", name, tuple(TOPOLOGIES))
    check_word("precision", precision, _PRECISIONS)
    check_word("device", device, _DEVICES)
    check_word("method", method, _METHODS)
    if threads is not None:
        check_count("threads", threads)
    check_path("weights", weights, "a folder")


def check_path(name: str, value: object, what: str) -> None:
    """Refuse what is no name of a file or folder, and is not None."""
    if value == "" or not (value is None or isinstance(value, str | os.PathLike)):
        raise UsageError(f"{name}={value!r}: the name of {what} expected")


def check_word(name: str, value: object, words: Sequence[str]) -> None:
    """Refuse what is none of some words."""
    if value not in words:
        raise UsageError(f"{name}={value!r}: {', '.join(words[:-1])} or {words[-1]} expected")


def check_count(name: str, value: object) -> None:
    """Refuse what is no number from 1."""
    if _whole(name, value) < 1:
        raise UsageError(f"{name}={value!r}: at least 1 expected")


def check_probability(name: str, value: object) -> None:
    """Refuse what is no number from 0 to 1."""
    try:
        within = 0 <= value <= 1  # type: ignore[operator]
    except (TypeError, ValueError):  # the latter of an array
        within = False
    if not within:
        raise UsageError(f"{name}={value!r}: a number from 0 to 1 expected")


def class_of(classes: Sequence[Class], label: object, name: str = "label") -> Class:
    """Give the class of a label."""
    if not isinstance(label, str):
        raise UsageError(f"{name}={label!r}: a WordNet id or a name expected")
    return class_labelled(label, by_label(classes), name)


def classes_of(classes: Sequence[Class], labels: object) -> list[Class]:
    """Give the classes of one label or several, each once; none where none are named."""
    if labels is None:
        return []
    several = [labels] if isinstance(labels, str) or not isinstance(labels, Iterable) else labels
    found = list(dict.fromkeys(class_of(classes, label, "classes") for label in several))
    if not found:
        raise UsageError("classes: no class is named")
    return found


def _whole(name: str, value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise UsageError(f"{name}={value!r}: a whole number expected") from None


def side_of(topology: Topology, size: Size) -> int | None:
    """Give the side that pictures are scaled to, or None if they are not scaled."""
    if size in (None, "none"):
        return None
    if isinstance(size, str):
        check_word("size", size, ("input", "none"))
        return topology.input_size
    return _whole("size", size)


def check_views(views: object, size: object, scales: object, stride: object) -> None:
    """Refuse what contradicts a way of looking at pictures."""
    check_word("views", views, get_args(Looking))
    if size is not None and views != "centre":
        raise UsageError(f"size={size!r} goes with views='centre': views={views!r} has sizes of its own")
    if views != "dense" and not (scales is None and stride is None):
        raise UsageError("scales and stride go with views='dense'")
    if stride is not None:
        check_word("stride", stride, ("fine", "coarse"))


def scales_of(scales: Iterable[int] | None) -> tuple[int, ...]:
    """Give the scales in order; by default the paper's."""
    try:
        found = list(SCALES) if scales is None else [operator.index(scale) for scale in scales]
    except TypeError:
        found = []
    if not found or len(set(found)) < len(found) or not set(found) <= set(SIZES):
        raise UsageError(f"scales={scales!r}: different numbers from 1 to {max(SIZES)} expected")
    return tuple(sorted(found))


def several_layers(layers: object) -> list[Layer]:
    """Give the layers that are asked for, several in any iterable."""
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        raise UsageError(f"layers={layers!r}: a list of layers expected")
    found = list(layers)
    if not found:
        raise UsageError("no layers are asked for")
    return found


def layer_number(topology: Topology, layer: Layer) -> int:
    """Give the number of a layer."""
    last = topology.last_layer
    names = {"features": topology.feature_layer, "scores": last - 1, "probabilities": last}
    if isinstance(layer, str):
        check_word("layer", layer, tuple(names))
        return names[layer]
    number = _whole("layer", layer)
    if not 0 <= number <= last:
        raise UsageError(f"layer {number}: the layers of {topology.name} are 0..{last}")
    return number
