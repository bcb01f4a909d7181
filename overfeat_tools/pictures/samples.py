"""From samples of any range to red, green, blue, 0..255."""

import numpy as np

from overfeat_tools.backend import Array

BYTE = 255
DEEP = 65535

Colour = tuple[int, int, int]
"""Red, green, blue, 0..255."""


def scaled(samples: Array, maxval: int) -> Array:
    """Scale 0..maxval to 0..255: in bytes where that is exact, else in float32; above maxval is white."""
    if maxval == BYTE:
        return samples
    samples = np.minimum(samples, maxval)
    if BYTE % maxval == 0:
        return samples.astype(np.uint8) * np.uint8(BYTE // maxval)
    # 65535 * 255 is below 2**24: up to 16 bits the division is the only rounding.
    return samples.astype(np.float32) * np.float32(BYTE) / np.float32(maxval)


def rgb(samples: Array, background: Colour | None = None) -> Array:
    """Make (H, W, 3), contiguous, of gray or colours, (H, W, 1 to 4), 0..255.

    The second or fourth channel is alpha.  It is dropped, or the picture is laid over a background.
    """
    has_alpha = samples.shape[2] in (2, 4)
    colours = samples[..., :1] if samples.shape[2] < 3 else samples[..., :3]  # noqa: PLR2004 -- gray, with or without alpha
    if has_alpha and background is not None:
        behind = np.asarray(background, np.float32)
        blended = behind + (colours - behind) * (samples[..., -1:] / np.float32(BYTE))
        return np.rint(blended).astype(np.uint8) if samples.dtype == np.uint8 else blended
    return np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else np.ascontiguousarray(colours)


def without_ink(cmyk: Array) -> Array:
    """Turn what the four inks leave of the light, (H, W, 4), 0..255, into red, green, blue."""
    light = cmyk[..., :3].astype(np.float32) * cmyk[..., 3:] / np.float32(BYTE)
    return light if cmyk.dtype != np.uint8 else light.astype(np.uint8)
