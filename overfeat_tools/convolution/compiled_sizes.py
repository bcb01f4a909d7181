"""Which sizes of compiled tiles there are for a convolution."""

from collections.abc import Iterator

from overfeat_tools.backend import Backend
from overfeat_tools.convolution.algorithm import Algorithm, fills_vectors
from overfeat_tools.convolution.bases import FOURIER_SIZES
from overfeat_tools.convolution.compiled_tiles import CompiledTiles
from overfeat_tools.convolution.cook_toom import tile_sizes
from overfeat_tools.convolution.geometry import Geometry

# The tile with complex points has too few outputs for what it costs where kernels are smaller.
_LARGEST, _SUITS_LARGEST = (9, 8), (5, 6)

# Fourier tiles of kernels smaller than this have spectra too large for what they save.
_LEAST_FOURIER_KERNEL = 5


def candidates(geometry: Geometry, backend: Backend) -> Iterator[Algorithm]:
    """Give the tiles that suit a convolution; they need whole vectors of channels and kernels."""
    compiler, kernel = backend.compiler, (geometry.kernel_height, geometry.kernel_width)
    whole = compiler and all(fills_vectors(count, compiler) for count in (geometry.channels, geometry.kernels))
    if not whole or geometry.stride != 1 or kernel[0] != kernel[1]:
        return
    for size in (*tile_sizes(kernel[0]), *([_LARGEST] if kernel[0] in _SUITS_LARGEST else [])):
        yield CompiledTiles(geometry, backend, "cook-toom", size)
        trimmed = CompiledTiles(geometry, backend, "cook-toom", size, trimmed=True)
        if trimmed.tilings != [trimmed.tiling]:
            yield trimmed
    if kernel[0] >= _LEAST_FOURIER_KERNEL:
        longest = max(geometry.height, geometry.width) + 2 * geometry.padding
        for side in FOURIER_SIZES:
            if side > kernel[0] and (side == FOURIER_SIZES[0] or side < 2 * longest):
                yield CompiledTiles(geometry, backend, "fft", (side, side))
