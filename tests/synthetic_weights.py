"""Weights of full size that are the same bytes on every machine, made once and kept in a cache.

The layout is that of the original's files: for each convolution the kernels (K, C, kh, kw), then the
biases (K,), little-endian float32.  Values come from the raw 64-bit words of PCG64(seed), which numpy
promises not to change: a word gives two of 32 bits, the low half first, and such a w gives
u = w / 2**31 - 1.  Kernels are u * sqrt(6 / fan-in), biases u * 0.1, computed in float64.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
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
FILES = {"fast": "net_weight_0", "accurate": "net_weight_1"}
SEEDS = {"fast": 1, "accurate": 2}
SIZES_BYTES = {"fast": 583_683_488, "accurate": 578_625_952}
SHA256 = {
    "fast": "5dce4f2411af17bcfd80f3c7c7c45faacf65a9580ae7e0c708e8f0a010193dd6",
    "accurate": "d710e5d5754f9732be647ca3e64328f044e95425207a21763dd50824474e0f8e",
}
_PIECE = 1 << 22


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
    if path.is_file() and path.stat().st_size == SIZES_BYTES[network]:
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


def _pieces(network: str) -> Iterator[bytes]:
    bits = np.random.PCG64(SEEDS[network])
    for kernels, channels, size in LAYOUTS[network]:
        fan_in = channels * size * size
        for count, scale in ((kernels * fan_in, (6.0 / fan_in) ** 0.5), (kernels, 0.1)):
            for start in range(0, count, _PIECE):
                piece = min(_PIECE, count - start)
                words = bits.random_raw((piece + 1) // 2).astype("<u8").view("<u4")[:piece]
                yield ((words / 2.0**31 - 1.0) * scale).astype("<f4").tobytes()
