"""Pictures that anybody can draw again, to see what a network makes of them."""

import numpy as np

from overfeat_tools.backend import Array


def drawings(side: int) -> dict[str, Array]:
    """Draw squares (side, side, 3) uint8, each under the name of what it shows."""
    y, x = np.mgrid[:side, :side]
    stripe = side // 12
    middle = (side - 1) / 2
    radius = np.hypot(x - middle, y - middle)
    dark, light, red = (30, 40, 90), (230, 225, 200), (210, 30, 30)
    masks = {
        "horizontal stripes": y // stripe % 2 == 1,
        "vertical stripes": x // stripe % 2 == 1,
        "checkerboard": (x // (2 * stripe) + y // (2 * stripe)) % 2 == 1,
        "concentric rings": radius // stripe % 2 == 1,
    }
    drawn: dict[str, Array] = {name: _coloured(mask, light, dark) for name, mask in masks.items()}
    drawn["red disc"] = _coloured(radius < 0.3 * side, red, light)
    drawn["linear gradient"] = np.stack([40 + 170 * x // side] * 3, axis=2).astype(np.uint8)
    return drawn


def _coloured(mask: Array, inside: tuple[int, int, int], outside: tuple[int, int, int]) -> Array:
    return np.where(mask[..., None], inside, outside).astype(np.uint8)
