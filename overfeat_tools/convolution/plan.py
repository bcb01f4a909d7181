"""Which way to compute a convolution: candidates, and a model of what each costs.

The model counts what a way must do at least and divides by the machine's rates:

    product      2 * multiply-adds / (peak * columns / (columns + half)), never faster than the
                 kernels (or their spectra) can be read from memory
    copies       bytes gathered and spread / copying rate
    transforms   their operations / the rate of the transform

`columns` is the width of the product's right side: skinny products are slow, and so are copies of
short runs: runs of N pictures go at N / (N + half_run) of the rate.

The compiled ways (`direct.py`, `fused.py`; where the backend has a compiler) have a model of their own.  Their products
run at one rate whatever their shape; reading the kernels from memory goes on beside that, though not quite,

    product      max(computing, reading) + min(computing, reading) / 6
    tiles        bytes of spectra and products, written and read / their rate
    rounds       a time for each round of tiles, for handing the work to the threads

Only the rates' ratios decide, and
they are alike on most machines: those shipped lie between what `fit.py` found on 2 cores with AVX-512
and with AVX2.  With them the ways chosen for the layers of both networks, for 1 to 32 pictures, took 1 % longer
on average than the best ones (AVX-512).
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from overfeat_tools.convolution import bases, cooktoom, direct, fused, gemm
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Geometry
from overfeat_tools.convolution.kernels.matmul import VECTORS
from overfeat_tools.convolution.tiles import cut

# Tile sizes whose transform FFTW has straight-line code for: 1.0 to 1.4 ns a place and thread, where
# 18, 24, 28, 36 and 40 take 4 to 12.
FOURIER_SIZES = (8, 9, 10, 12, 14, 16, 20, 25, 32, 64)

# Above this a second copy of the weights, in another order, is not worth having.
_SMALL_KERNELS_BYTES = 1 << 20


# Products of so few columns have loops of their own, where any are compiled: of 2, or of 4 on processors with more
# registers, where reading the kernels is no longer all.
_FEW_COLUMNS = 2

# What a panel of one vector costs of one of two.
_ONE_VECTOR = 0.75

# What sums cost that are kept short for accuracy.
_SHORT_SUMS = 1.03

# Kernels at least so large are worth compiled Fourier tiles.
_LEAST_FUSED_FOURIER = 5


@dataclass(frozen=True)
class Rates:
    """What a machine does in a second, all threads together."""

    product_flops: float = 300e9
    complex_product_flops: float = 210e9
    half_columns: float = 35.0
    half_complex_columns: float = 18.0
    memory_bytes: float = 35e9
    unfold_bytes: float = 1.6e9
    copy_bytes: float = 14.5e9
    half_run: float = 0.9
    fourier_flops: float = 32e9
    prepare_fourier_bytes: float = 2.1e9
    prepare_real_bytes: float = 4.5e9
    call_seconds: float = 0.0
    compiled_flops: float = 330e9
    compiled_tile_bytes: float = 44e9
    prepare_panel_bytes: float = 1.5e9
    rounds_a_second: float = 7e3


# By the backend's name.  Those of cuda are estimates for a data-centre card (50 TFLOP/s in float32, 3 TB/s),
# not measured; a call is what it takes to queue one.
RATES = {
    "cpu": Rates(),
    "cuda": Rates(
        product_flops=50e12,
        complex_product_flops=45e12,
        half_columns=128.0,
        half_complex_columns=32.0,
        memory_bytes=3e12,
        unfold_bytes=1e12,
        copy_bytes=1.5e12,
        half_run=8.0,
        fourier_flops=2e12,
        prepare_fourier_bytes=100e9,
        prepare_real_bytes=200e9,
        call_seconds=10e-6,
    ),
}


# The size of the tiles of a way that has none.
_NO_TILES = (0, 0)


class Budget:
    """Memory for spectra, shared by the convolutions of a network."""

    def __init__(self, limit_bytes: float = math.inf) -> None:
        self._left_bytes = limit_bytes

    def fits(self, size_bytes: int) -> bool:
        """Tell whether so much is left."""
        return size_bytes <= self._left_bytes

    def take(self, size_bytes: int) -> None:
        """Note that so much is used; less than nothing gives it back."""
        self._left_bytes -= size_bytes


@dataclass(frozen=True)
class Way:
    """One way to compute: the method, its tile size (0: no tiles), and what it costs.

    `seconds` is the estimate for one batch, `price_seconds` for making the spectra once,
    `spectra_bytes` their size.
    """

    method: str
    size: tuple[int, int]
    seconds: float
    price_seconds: float
    spectra_bytes: int

    def __str__(self) -> str:
        height, width = self.size
        return f"{self.method} {height}x{width}" if height else self.method

    @property
    def key(self) -> tuple[str, tuple[int, int]]:
        """What the spectra depend on."""
        return self.method, self.size


def ways(
    geometry: Geometry, pictures: int, rates: Rates, panel_width: int = 0, *, loaded: bool = True
) -> list[Way]:
    """List every way to compute this convolution on a batch, the cheapest first.

    `panel_width` is that of the compiled product, 0 where there is none.  `loaded` tells whether it is there already,
    so that gemm uses it, too.
    """
    found = [("gemm", _NO_TILES)]
    if geometry.kernels * geometry.taps * FLOAT_BYTES <= _SMALL_KERNELS_BYTES:
        found.append(("gemm-rows", _NO_TILES))
    # Kernels that meet one place only are sooner read where they lie than put into panels.
    if panel_width and in_vectors(geometry.kernels, panel_width) and geometry.out_pixels > 1:
        found.append(("gemm-direct", _NO_TILES))
    if geometry.stride == 1:
        found += [("fft", size) for size in fourier_sizes(geometry, panel_width)]
        found += [("cook-toom", size) for size in cook_toom_sizes(geometry, panel_width)]
    return sorted(
        (
            estimate(method, size, geometry, pictures, rates, panel_width if loaded or method != "gemm" else 0)
            for method, size in found
        ),
        key=lambda way: way.seconds,
    )


def in_vectors(channels: int, panel_width: int) -> bool:
    """Tell whether channels fill whole vectors, as the compiled ways need."""
    return channels % (panel_width // VECTORS) == 0


def has_fused(geometry: Geometry, panel_width: int) -> bool:
    """Tell whether there are compiled tiles for this convolution."""
    return panel_width > 0 and all(in_vectors(n, panel_width) for n in (geometry.channels, geometry.kernels))


def is_fused(method: str, size: tuple[int, int], geometry: Geometry, panel_width: int) -> bool:
    """Tell whether tiles of this convolution are computed by the compiled loops."""
    if not has_fused(geometry, panel_width):
        return False
    if method == "cook-toom":
        return True
    # A small kernel's spectra are many times as large as it is; twice that is too much.
    square = size[0] == size[1] and geometry.kernel_height == geometry.kernel_width >= _LEAST_FUSED_FOURIER
    return method == "fft" and square and size[0] in bases.FOURIER_SIZES


def is_compiled(method: str, size: tuple[int, int], geometry: Geometry, panel_width: int) -> bool:
    """Tell whether a way is computed by compiled loops."""
    return method == "gemm-direct" or is_fused(method, size, geometry, panel_width)


def estimate(
    method: str, size: tuple[int, int], geometry: Geometry, pictures: int, rates: Rates, panel_width: int = 0
) -> Way:
    """Estimate what one way costs on a batch."""
    if method == "gemm":
        return _gemm(geometry, pictures, rates, panel_width)
    if method == "gemm-rows":
        return _rows(geometry, pictures, rates)
    if method == "gemm-direct":
        return _direct(geometry, pictures, rates, panel_width)
    if is_fused(method, size, geometry, panel_width):
        return _fused(method, size, geometry, pictures, rates, panel_width)
    return _transform(method, size, geometry, pictures, rates)


def fourier_sizes(geometry: Geometry, panel_width: int = 0) -> list[tuple[int, int]]:
    """List the Fourier tile sizes that suit a map: each at least as large as the kernel needs.

    The whole padded map is one of them, rounded up to a size that transforms fast.  Compiled tiles have sizes of their
    own.
    """
    kernel = (geometry.kernel_height, geometry.kernel_width)
    if kernel == (1, 1):
        return []
    padded = (geometry.height + 2 * geometry.padding, geometry.width + 2 * geometry.padding)

    def options(kernel: int, length: int) -> list[int]:
        whole = next((size for size in FOURIER_SIZES if size >= length), FOURIER_SIZES[-1])
        return [size for size in FOURIER_SIZES if kernel < size <= whole and size <= 8 * kernel]

    heights, widths = options(kernel[0], padded[0]), options(kernel[1], padded[1])
    if not heights or not widths:
        return []
    squares = sorted(set(heights) & set(widths))
    found = [(size, size) for size in squares] or [(heights[-1], widths[-1])]
    most = max(*heights, *widths)
    own = [(size, size) for size in bases.FOURIER_SIZES if size not in FOURIER_SIZES and max(kernel) < size <= most]
    return found + [size for size in own if is_fused("fft", size, geometry, panel_width)]


def cook_toom_sizes(geometry: Geometry, panel_width: int = 0) -> list[tuple[int, int]]:
    """List the Cook-Toom tile sizes that suit a kernel: those with at least two outputs a side.

    Compiled tiles may be higher than wide, or less, so that whole ones fill a map; and large, but not on both axes:
    that would almost double the error.
    """
    side = geometry.kernel_height
    if not 1 < side == geometry.kernel_width:
        return []
    sizes = [size for size in cooktoom.POINTS if size > side]
    if has_fused(geometry, panel_width):
        return [size for size in itertools.product(sizes, sizes) if min(size) < bases.LARGE_TILE]
    return [(size, size) for size in sizes if size in cooktoom.TERMS]


def _gemm(geometry: Geometry, pictures: int, rates: Rates, panel_width: int) -> Way:
    columns = geometry.out_pixels * pictures
    kernel_bytes = geometry.kernels * geometry.taps * FLOAT_BYTES
    copied = geometry.taps * columns * FLOAT_BYTES if gemm.workspace_bytes(geometry, pictures) else 0
    flops = 2.0 * geometry.multiply_adds * pictures
    if columns == 1 or (panel_width and columns <= _FEW_COLUMNS):  # reading is all there is to it
        seconds = kernel_bytes / rates.memory_bytes
    elif panel_width:
        # Whole panels are computed; one of a single vector at two thirds of the rate.
        computed = -(-columns // panel_width) if columns > panel_width // 2 else _ONE_VECTOR
        seconds = _compiled_product(flops * computed * panel_width / columns, kernel_bytes, rates)
        if geometry.out_pixels > 1 and not copied:
            # The layers around it have the channels last, so the map is turned, and turned back.
            copied = (geometry.channels + geometry.kernels) * columns * FLOAT_BYTES
    else:
        seconds = _product(flops, columns, kernel_bytes, rates)
    return Way("gemm", _NO_TILES, seconds + copied / rates.unfold_bytes, 0.0, 0)


def _rows(geometry: Geometry, pictures: int, rates: Rates) -> Way:
    columns = geometry.out_width * pictures
    kernel_bytes = geometry.kernels * geometry.taps * FLOAT_BYTES
    rows = geometry.height + 2 * geometry.padding
    unfolded = geometry.kernel_width * geometry.channels * columns * rows * FLOAT_BYTES
    seconds = _product(2.0 * geometry.multiply_adds * pictures, columns, kernel_bytes, rates)
    price = kernel_bytes / rates.prepare_real_bytes
    calls = geometry.out_height * rates.call_seconds
    return Way("gemm-rows", _NO_TILES, seconds + unfolded / rates.unfold_bytes + calls, price, kernel_bytes)


def _transform(method: str, size: tuple[int, int], geometry: Geometry, pictures: int, rates: Rates) -> Way:
    tiling = cut(geometry, *size)
    columns = tiling.count * pictures
    pairs = geometry.channels * geometry.kernels
    maps = (geometry.channels + geometry.kernels) * columns
    spectra_bytes = tiling.pixels * pairs * FLOAT_BYTES
    flops = 2.0 * tiling.pixels * pairs * columns
    if method == "fft":
        # Half the bins, 8 operations each: twice the real count above.
        work = _product(2 * flops, columns, spectra_bytes, rates, complex_=True)
        transforms = maps * 2.5 * tiling.pixels * np.log2(tiling.pixels) / rates.fourier_flops
    else:
        work = _product(flops, columns, spectra_bytes, rates)
        transforms = maps * 2.0 * tiling.pixels**2 / rates.product_flops
    copied = 3.0 * maps * tiling.pixels * FLOAT_BYTES
    copies = copied / rates.copy_bytes * (pictures + rates.half_run) / pictures
    prepare = rates.prepare_fourier_bytes if method == "fft" else rates.prepare_real_bytes
    return Way(method, size, work + transforms + copies, spectra_bytes / prepare, spectra_bytes)


def _direct(geometry: Geometry, pictures: int, rates: Rates, panel_width: int) -> Way:
    panel_bytes = direct.spectra_bytes(geometry, panel_width)
    flops = 2.0 * geometry.multiply_adds * pictures
    seconds = _compiled_product(flops, panel_bytes, rates) + 1.0 / rates.rounds_a_second
    return Way("gemm-direct", _NO_TILES, seconds, panel_bytes / rates.prepare_panel_bytes, panel_bytes)


def _fused(
    method: str, size: tuple[int, int], geometry: Geometry, pictures: int, rates: Rates, panel_width: int
) -> Way:
    tiling = cut(geometry, *size)
    tiles = tiling.count * pictures
    spectra_bytes = fused.spectra_bytes(method, geometry, tiling, panel_width)
    rounds = -(-tiles // fused.tiles_at_once(geometry, tiling, panel_width))
    flops = spectra_bytes / FLOAT_BYTES * 2.0 * tiles
    if method == "fft":
        # A complex product is four real ones, of two numbers of a spectrum.
        flops *= 2
    if bases.has_short_sums(method, size):
        flops *= _SHORT_SUMS
    work = _compiled_product(flops, rounds * spectra_bytes, rates)
    moved = 2.0 * (geometry.channels + geometry.kernels) * tiles * tiling.pixels * FLOAT_BYTES
    seconds = work + moved / rates.compiled_tile_bytes + rounds / rates.rounds_a_second
    return Way(method, size, seconds, spectra_bytes / rates.prepare_real_bytes, spectra_bytes)


def _compiled_product(flops: float, kernel_bytes: float, rates: Rates) -> float:
    computing, reading = flops / rates.compiled_flops, kernel_bytes / rates.memory_bytes
    return max(computing, reading) + min(computing, reading) / 6


def _product(flops: float, columns: int, kernel_bytes: int, rates: Rates, *, complex_: bool = False) -> float:
    peak = rates.complex_product_flops if complex_ else rates.product_flops
    half = rates.half_complex_columns if complex_ else rates.half_columns
    computing = flops / peak * (columns + half) / columns
    return float(max(computing, kernel_bytes / rates.memory_bytes))
