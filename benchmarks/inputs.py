"""What the benchmarks run on: weights, pictures, photographs; all the same bytes every time."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from measure import ROOT

from overfeat_tools import paths
from overfeat_tools.networks.topology import Topology
from overfeat_tools.networks.weights import PACKAGED, weights_folder

Array = npt.NDArray[Any]

_PHOTOGRAPH_SIZE = (1600, 1088)
_JPEG_QUALITY = 88


def cache_folder() -> Path:
    """Give the folder for what is made once: models, photographs, programs."""
    cache = paths.cache_folder("overfeat_tools")
    if cache is None:
        sys.exit("no home folder to keep the inputs in; set $HOME or $XDG_CACHE_HOME")
    return cache / "bench"


def weights(topology: Topology, folder: str | None) -> Path:
    """Give a network's weight file: its own, or from the folder named or installed, else a synthetic one."""
    if topology.packaged:
        return PACKAGED / topology.weight_file
    path = weights_folder(Path(folder) if folder else None) / topology.weight_file
    if folder or path.is_file():
        return path
    sys.path.insert(0, str(ROOT))  # the tests' generator is no part of what is installed
    from tests import synthetic_weights

    return synthetic_weights.ensure(topology.name)


def pictures(count: int, height: int, width: int) -> Array:
    """Make pictures (N, H, W, 3) uint8 with structure of all sizes: smooth fields and noise."""
    random = np.random.default_rng(7)
    made = np.empty((count, height, width, 3), np.uint8)
    for picture in made:
        picture[...] = _scene(random, height, width)
    return made


def _scene(random: np.random.Generator, height: int, width: int) -> Array:
    from PIL import Image

    scene = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((3, 60.0), (9, 35.0), (40, 15.0)):
        field = random.standard_normal((3, cells, cells), np.float32)
        for channel in range(3):
            smooth = Image.fromarray(field[channel]).resize((width, height), Image.Resampling.BICUBIC)
            scene[..., channel] += strength * np.asarray(smooth)
    scene += random.standard_normal((height, width, 1), np.float32) * 6.0 + 120.0
    return scene.clip(0, 255).astype(np.uint8)


def ppm(picture: Array) -> bytes:
    """Write a picture (H, W, 3) uint8 as PPM."""
    height, width = picture.shape[:2]
    return b"P6\n%d %d\n255\n" % (width, height) + picture.tobytes()


def photographs(count: int) -> list[Path]:
    """Give JPEG files of a camera's size and quality, made once."""
    from PIL import Image

    width, height = _PHOTOGRAPH_SIZE
    folder = cache_folder() / f"photographs-{width}x{height}-q{_JPEG_QUALITY}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            part = path.with_suffix(".part")
            scene = _scene(np.random.default_rng(number), height, width)
            Image.fromarray(scene).save(part, "JPEG", quality=_JPEG_QUALITY)
            part.replace(path)
    return paths
