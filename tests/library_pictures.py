"""Pictures for the tests of the library, and the network that they are shown to."""

import numpy as np
import numpy.typing as npt

from overfeat_tools import Network
from overfeat_tools.backend import CpuBackend
from tests import picture_files, reference

Pixels = npt.NDArray[np.uint8]

SIDE = 231
FEATURES = 19


def open_tiny() -> Network:
    """Open the network that comes with the package; equal pixels give equal bytes, where kernels can be compiled."""
    network = Network("tiny", device="cpu", threads=2, reproducible=CpuBackend(1).compiler is not None)
    network.features(drawn(1))
    return network


def drawn(seed: int, height: int = SIDE, width: int = SIDE) -> Pixels:
    """Give a picture."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def near(ours: npt.ArrayLike, theirs: npt.ArrayLike) -> bool:
    """Tell whether maps are equal but for rounding."""
    return reference.distance(np.asarray(ours), np.asarray(theirs)) <= 2e-6


def png(pixels: Pixels) -> bytes:
    """Give a picture's file."""
    return picture_files.saved(pixels, "PNG")
