"""Weights of full size that are the same bytes on every machine, made once and kept in a cache.

The layout is that of the original's files: for each convolution the kernels (K, C, kh, kw), then the
biases (K,), little-endian float32.  VGG's files are safetensors: a header, then the same.  Values come
from the raw 64-bit words of PCG64(seed), which numpy promises not to change: a word gives two of 32
bits, the low half first, and such a w gives u = w / 2**31 - 1.  Kernels are u * sqrt(6 / fan-in),
biases u * 0.1, computed in float64.
"""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from overfeat_tools import paths

# (K, C, size) of each convolution, written down here a second time on purpose.
LAYOUTS = {
    "fast": [
        (96, 3, 11), (256, 96, 5), (512, 256, 3), (1024, 512, 3), (1024, 1024, 3), (3072, 1024, 6),
        (4096, 3072, 1), (1000, 4096, 1),
    ],
    "accurate": [
        (96, 3, 7), (256, 96, 7), (512, 256, 3), (512, 512, 3), (1024, 512, 3), (1024, 1024, 3),
        (4096, 1024, 5), (4096, 4096, 1), (1000, 4096, 1),
    ],
}  # fmt: skip
VGG = {
    "vgg11": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg16": (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"),
    "vgg19": (64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"),
}
FILES = {"fast": "net_weight_0", "accurate": "net_weight_1", **{name: f"{name}.safetensors" for name in VGG}}
SEEDS = {"fast": 1, "accurate": 2, "vgg11": 11, "vgg16": 16, "vgg19": 19}
SIZES_BYTES = {"fast": 583_683_488, "accurate": 578_625_952}
SHA256 = {
    "fast": "5dce4f2411af17bcfd80f3c7c7c45faacf65a9580ae7e0c708e8f0a010193dd6",
    "accurate": "d710e5d5754f9732be647ca3e64328f044e95425207a21763dd50824474e0f8e",
    "vgg11": "cf6c6c4b3647a8f3465b244a8d68beac0a1c6cb25163287941a286523946a26e",
    "vgg16": "11d3f333bbf3a8d9d62caa3c6d6684c841327159c773be172ac2b0bc12a31463",
    "vgg19": "eb6683fe0847d9f8a160e61dfc99bdc00c6dc031e9e01bd63880505fa9d40232",
}
_PIECE = 1 << 16  # stays in the cache


def vgg_layout(table: Sequence[int | str], units: int = 4096, classes: int = 1000) -> dict[str, tuple[int, int, int]]:
    """Give (K, C, size) of each convolution of VGG by its name in the file."""
    layout, channels, place = {}, 3, 0
    for entry in table:
        if isinstance(entry, int):
            layout[f"features.{place}"] = entry, channels, 3
            channels = entry
        place += 1 if entry == "M" else 2
    return layout | {
        "pre_logits.fc1": (units, channels, 7),
        "pre_logits.fc2": (units, units, 1),
        "head.fc": (classes, units, 1),
    }


def vgg_header(layout: dict[str, tuple[int, int, int]]) -> bytes:
    """Give the beginning of a safetensors file with the kernels and biases of each convolution in turn."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    stop = 0
    for name, (kernels, channels, size) in layout.items():
        whole = (kernels, channels) if name == "head.fc" else (kernels, channels, size, size)
        for part, shape in (("weight", whole), ("bias", (kernels,))):
            start, stop = stop, stop + 4 * math.prod(shape)
            entries[f"{name}.{part}"] = {"dtype": "F32", "shape": shape, "data_offsets": (start, stop)}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header


def cache_folder() -> Path:
    """Give the folder that the weights are kept in."""
    if named := os.environ.get("OVERFEAT_TEST_CACHE"):
        return Path(named)
    cache = paths.cache_folder("overfeat_tools")
    assert cache, "no home folder; name a folder with $OVERFEAT_TEST_CACHE"
    return cache / "tests"


def ensure(network: str) -> Path:
    """Make a network's weights unless they are there; give their path."""
    path = cache_folder() / FILES[network]
    if path.is_file() and path.stat().st_size == size_bytes(network):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name + ".", delete=False) as file:
        try:
            digest = hashlib.sha256()
            for piece in _pieces(network):
                digest.update(piece)
                file.write(piece)
            file.flush()
            assert digest.hexdigest() == SHA256[network], "the generator does not give the specified bytes"
            Path(file.name).replace(path)  # whole or not at all, also beside another test run
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return path


def size_bytes(network: str) -> int:
    """Give the size of a network's file."""
    if network in SIZES_BYTES:
        return SIZES_BYTES[network]
    layout = vgg_layout(VGG[network])
    return len(vgg_header(layout)) + sum(4 * k * (c * size * size + 1) for k, c, size in layout.values())


def _pieces(network: str) -> Iterator[bytes]:
    if network in LAYOUTS:
        yield from pieces(LAYOUTS[network], SEEDS[network])
    else:
        layout = vgg_layout(VGG[network])
        yield vgg_header(layout)
        yield from pieces(layout.values(), SEEDS[network])


def pieces(layout: Iterable[tuple[int, int, int]], seed: int) -> Iterator[bytes]:
    """Give the kernels and biases of convolutions."""
    bits = np.random.PCG64(seed)
    for kernels, channels, size in layout:
        fan_in = channels * size * size
        for count, scale in ((kernels * fan_in, (6.0 / fan_in) ** 0.5), (kernels, 0.1)):
            for start in range(0, count, _PIECE):
                piece = min(_PIECE, count - start)
                words = bits.random_raw((piece + 1) // 2).astype("<u8").view("<u4")[:piece]
                yield ((words / 2.0**31 - 1.0) * scale).astype("<f4").tobytes()
