"""What comes back: new arrays with the channels first, with one picture or all of them."""

from collections.abc import Sequence

import numpy as np

from overfeat_tools.backend import FloatArray


def row(values: FloatArray) -> FloatArray:
    """Give a map (H, W, C) as (C, H, W), or (C,) where it has one place."""
    first = np.array(values.transpose(2, 0, 1), order="C")
    return first[:, 0, 0] if first.shape[1:] == (1, 1) else first


def together(maps: Sequence[FloatArray]) -> FloatArray | list[FloatArray]:
    """Give maps (H, W, C) as (N, C, H, W), or as a list of (C, H, W) where their sizes differ."""
    first = [values.transpose(2, 0, 1) for values in maps]
    if any(values.shape != first[0].shape for values in first):
        return [np.array(values, order="C") for values in first]
    return np.stack(first, out=np.empty((len(first), *first[0].shape), np.float32))  # else they keep their order
