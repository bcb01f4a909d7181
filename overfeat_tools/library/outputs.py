"""What comes back: new arrays with the channels first, with one picture or all of them."""

from collections.abc import Sequence

import numpy as np

from overfeat_tools.backend import FloatArray


def first(values: FloatArray) -> FloatArray:
    """Give a map (H, W, C) as (C, H, W)."""
    return np.array(values.transpose(2, 0, 1), order="C")


def row(values: FloatArray) -> FloatArray:
    """Give a map (H, W, C) as (C, H, W), or (C,) where it has one place."""
    return first(values) if values.shape[:2] != (1, 1) else np.array(values[0, 0])


def together(maps: Sequence[FloatArray]) -> FloatArray | list[FloatArray]:
    """Give maps (H, W, C) as (N, C, H, W), or as a list of (C, H, W) where their sizes differ."""
    if any(values.shape != maps[0].shape for values in maps):
        return [first(values) for values in maps]
    turned = [values.transpose(2, 0, 1) for values in maps]
    return np.stack(turned, out=np.empty((len(turned), *turned[0].shape), np.float32))  # else they keep their order
