"""Whether another program computes what we compute."""

from collections.abc import Callable, Sequence

import numpy as np

from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.errors import OverfeatError
from overfeat_tools.networks.drawings import drawings
from overfeat_tools.networks.network import Network as Engine

TOLERANCE = 1e-5
"""The largest difference allowed, as a part of the layer's largest value."""


def specimens(engine: Engine) -> Array:
    """Give pictures (2, H, W, 3) uint8 that are wider than high, so that none of the sizes is taken for another."""
    height = engine.topology.input_size
    width = height + height // 4
    drawn = drawings(width)["concentric rings"][-height:]
    noise = np.random.default_rng(0).integers(0, 256, drawn.shape, np.uint8)
    return np.stack([drawn, noise])


def check(engine: Engine, layers: Sequence[int], run: Callable[[FloatArray], Sequence[Array]], whose: str) -> None:
    """Compare another program's layers with ours.

    Parameters
    ----------
    engine : Network
    layers : sequence of int
    run : callable
        Takes pictures (N, 3, H, W) float32 and gives those layers, (N, C, H', W') each.
    whose : str
        The other program's name.

    Raises
    ------
    OverfeatError
        A layer differs by more than `TOLERANCE`.

    Notes
    -----
    Where scores differ by d, their softmax may differ by d / 2: large scores make large differences of what is at most
    1.  So probabilities are judged by half of the largest score, if that is more than their own largest value.
    """
    pictures = specimens(engine)
    channels_first = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32)
    softmax = engine.topology.last_layer
    maps = engine.begin_layers(pictures, {*layers, softmax - 1} if softmax in layers else layers)()
    for layer, theirs in zip(layers, run(channels_first), strict=True):
        ours = maps[layer].transpose(0, 3, 1, 2)
        if ours.shape != theirs.shape:
            raise OverfeatError(f"layer {layer} of {whose} has the shape {theirs.shape}, ours {ours.shape}")
        largest = np.abs(ours).max()
        if layer == softmax:
            largest = max(largest, np.abs(maps[softmax - 1]).max() / 2)
        difference = np.abs(ours - theirs).max() / largest
        if not difference <= TOLERANCE:  # nor NaN
            raise OverfeatError(f"layer {layer} of {whose} differs from ours by {difference:.2g} of its largest value")
