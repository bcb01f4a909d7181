"""From samples of any range to red, green, blue, 0..255."""

import numpy as np

from overfeat_tools.backend import Array

BYTE = 255


def scaled(samples: Array, maxval: int) -> Array:
    """Scale 0..maxval to 0..255: in bytes where that is exact, else in float32; above maxval is white."""
    if maxval == BYTE:
        return samples
    samples = np.minimum(samples, maxval)
    if BYTE % maxval == 0:
        return samples.astype(np.uint8) * np.uint8(BYTE // maxval)
    # 65535 * 255 is below 2**24: up to 16 bits the division is the only rounding.
    return samples.astype(np.float32) * np.float32(BYTE) / np.float32(maxval)


def rgb(samples: Array) -> Array:
    """Make (H, W, 3), contiguous, of gray (H, W, 1) or of colours with or without more channels behind them."""
    if samples.shape[2] < 3:  # noqa: PLR2004 -- gray, perhaps with alpha
        return np.repeat(samples[..., :1], 3, axis=2)
    return np.ascontiguousarray(samples[..., :3])


def without_ink(cmyk: Array) -> Array:
    """Turn what the four inks leave of the light, (H, W, 4), 0..255, into red, green, blue."""
    light = cmyk[..., :3].astype(np.float32) * cmyk[..., 3:] / np.float32(BYTE)
    return light if cmyk.dtype != np.uint8 else light.astype(np.uint8)
