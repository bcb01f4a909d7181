"""Compiled transforms of tiles give what their matrices, or numpy's Fourier transforms, give tile by tile."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from overfeat_tools.backend import Compiled, Compiler
from overfeat_tools.convolution import cook_toom
from overfeat_tools.convolution.kernels import fourier_transform, matrix_transform
from overfeat_tools.convolution.kernels.tile_access import FORWARD, INVERSE
from tests.kernel_arrays import Array, Put, assert_close, call, normal, unaligned, untouched

Pair = tuple[int, int]
"""Of rows and of columns."""


class CookToom:
    """Tiles of `size` pixels for windows of `window` a side, with the matrices of `cook_toom.py`."""

    depth = 1

    def __init__(self, size: Pair, window: int) -> None:
        self.size, self.outputs = size, (size[0] - window + 1, size[1] - window + 1)
        (forward_down, _, down), (forward_right, _, right) = (cook_toom.matrices(side, window) for side in size)
        self._forward, self._inverse = (forward_down, forward_right), (down, right)

    def forward(self, compiler: Compiler) -> Compiled:
        return matrix_transform.forward_kernel(compiler, self._forward)

    def inverse(self, compiler: Compiler, pool_size: int) -> Compiled:
        return matrix_transform.inverse_kernel(compiler, self._inverse, pool_size)

    def spectrum(self, tile: Array) -> Array:
        """Give (elements, depth, C) of a tile (*size, C), in float64."""
        return on_both_axes(self._forward, tile).reshape(math.prod(self.size), 1, -1)

    def product(self, numbers: Array) -> Array:
        """Arrange any numbers (*size, K) as a product of spectra: (elements, depth, K)."""
        return numbers.reshape(math.prod(self.size), 1, -1)

    def results(self, numbers: Array) -> Array:
        """Give the outputs (*outputs, K) of such a product, in float64."""
        return on_both_axes(self._inverse, numbers)


class Fourier:
    """Fourier tiles of `size` pixels a side for windows of `window`."""

    depth = 2

    def __init__(self, size: int, window: int) -> None:
        self.size, self.outputs = (size, size), (size - window + 1, size - window + 1)

    def forward(self, compiler: Compiler) -> Compiled:
        return fourier_transform.forward_kernel(compiler, self.size[0])

    def inverse(self, compiler: Compiler, pool_size: int) -> Compiled:
        return fourier_transform.inverse_kernel(compiler, self.size[0], self.outputs[0], pool_size)

    def spectrum(self, tile: Array) -> Array:
        """Give (elements, depth, C) of a tile (size, size, C), in float64."""
        return in_pairs(np.fft.fft2(tile.astype(np.float64), axes=(0, 1)))

    product = spectrum

    def results(self, numbers: Array) -> Array:
        """Give the outputs of the product that is the spectrum of these numbers: them, times what nobody divides by."""
        return math.prod(self.size) * numbers[: self.outputs[0], : self.outputs[1]].astype(np.float64)


Basis = CookToom | Fourier
BASES: list[Basis] = [
    *[CookToom((side, side), window) for side, window in ((6, 3), (7, 6), (8, 3))],
    *[CookToom(size, window) for size, window in (((4, 6), 3), ((8, 7), 3), ((5, 8), 3), ((6, 8), 5), ((9, 8), 5))],
    *[Fourier(side, window) for side, window in ((8, 3), (16, 11), (24, 7))],
]


# Every basis with the widest vectors and with one of the others every day.
_VECTORS = ("avx512", "avx2", "128 bits")
TRIED = [
    pytest.param(
        vectors, basis, id=f"{vectors}-{basis.size}-{basis.outputs}",
        marks=[] if kind in (0, 1 + number % 2) else [pytest.mark.long],
    )
    for kind, vectors in enumerate(_VECTORS) for number, basis in enumerate(BASES)
]  # fmt: skip


def words(basis: Basis) -> str:
    """Name a basis."""
    height, width = basis.size
    return f"{type(basis).__name__} {height}x{width} {height - basis.outputs[0] + 1}"


def on_both_axes(matrices: tuple[Array, Array], tile: Array) -> Array:
    """Give down @ tile @ right' for each number of the last axis."""
    down, right = matrices
    result: Array = np.einsum("ia,abc,jb->ijc", down, tile.astype(np.float64), right)
    return result


def in_pairs(spectrum: Array) -> Array:
    """Arrange a spectrum (T, T, C) as `kernels/fourier_transform.py` says: (T * T / 2, 2, C)."""
    size, half = len(spectrum), len(spectrum) // 2
    pairs = [spectrum[i, k] for k in range(1, half) for i in range(size)]
    pairs += [spectrum[i, k] for k in (0, half) for i in range(1, half)]
    pairs += [spectrum[0, k].real + 1j * spectrum[half, k].real for k in (0, half)]
    return np.stack([np.real(pairs), np.imag(pairs)], axis=1)


@dataclass(frozen=True)
class Cut:
    """Maps, and the tiles that they are cut into: `rows` x `columns` of each picture."""

    pictures: int
    height: int
    width: int
    rows: int
    columns: int

    @property
    def count(self) -> int:
        """Tiles of all pictures."""
        return self.pictures * self.rows * self.columns

    def place(self, number: int) -> tuple[int, int, int]:
        """Give a tile's picture, row and column."""
        return tuple(map(int, np.unravel_index(number, (self.pictures, self.rows, self.columns))))  # type: ignore[return-value]


def cuts(steps: Pair) -> list[Cut]:
    """List maps for tiles some steps apart: one pixel, less than a tile, just some, hanging over, wholly outside."""
    down, right = steps
    return [
        Cut(1, 1, 1, 1, 1),
        Cut(2, max(1, down - 1), right, 1, 1),
        Cut(1, 2 * down, 3 * right, 2, 3),
        hanging_over(steps),
        Cut(2, 2 * down - 1, min(2, right), 2, 1),
        Cut(1, down, right, 3, 2),
    ]


def hanging_over(steps: Pair) -> Cut:
    """Give maps whose last tiles hang over."""
    down, right = steps
    return Cut(3, down + 1, 2 * right + 1, 2, 3)


@dataclass(frozen=True)
class Share:
    """What is to be done: some tiles, some vectors of the channels; the rest is to be left alone.

    The first tile in memory is some tiles `before` the first of them.
    """

    tiles: tuple[int, int] = (0, 999)
    vectors: tuple[int, int] = (0, 999)
    before: int = 0


ALL_TILES = Share()
SHARES = [
    *(Share(some, before=before) for some in ((0, 18), (4, 11), (17, 18), (5, 5), (5, 6)) for before in (0, some[0])),
    *(Share((3, 9), vectors) for vectors in ((0, 1), (1, 3), (2, 3), (1, 1))),
]
"""Shares of 18 tiles and 3 vectors."""


def check_forward(
    basis: Basis, compiler: Compiler, cut: Cut, *, padding: int = 1, vectors: int = 1, share: Share = ALL_TILES,
    gap: int = 5, put: Put = np.copy,
) -> None:  # fmt: skip
    """Compare the spectra of some tiles with what the basis says of each by itself; channels fill some `vectors`."""
    lanes = compiler.lanes
    channels = vectors * lanes
    numbers, lane_numbers = range(cut.count)[slice(*share.tiles)], range(vectors)[slice(*share.vectors)]
    first, last = lane_numbers.start * lanes, lane_numbers.stop * lanes
    x = normal((cut.pictures, cut.height, cut.width, channels))
    origin, elements = numbers.start - share.before, math.prod(basis.size) // basis.depth
    own_floats = basis.depth * channels
    tile_floats = own_floats + gap
    expected = untouched((elements, (numbers.stop - origin) * tile_floats + gap))
    spectra = put(expected)
    source, zeros = put(x), put(np.zeros(channels, np.float32))
    call(
        basis.forward(compiler), FORWARD, spectra=spectra, x=source, zeros=zeros, element_stride=spectra.shape[1],
        tile_stride=tile_floats, height=cut.height, width=cut.width, channels=channels, row_step=basis.outputs[0],
        column_step=basis.outputs[1], top=padding, left=padding, tile_columns=cut.columns, tile_rows=cut.rows,
        origin=origin, tile_start=numbers.start, tile_stop=numbers.stop, channel_start=first, channel_stop=last,
    )  # fmt: skip
    for number in numbers:
        picture, row, column = cut.place(number)
        tile = np.zeros((*basis.size, channels))
        for i, j in np.ndindex(*basis.size):
            y, x_ = row * basis.outputs[0] - padding + i, column * basis.outputs[1] - padding + j
            if 0 <= y < cut.height and 0 <= x_ < cut.width:
                tile[i, j] = x[picture, y, x_]
        start = (number - origin) * tile_floats
        here = expected[:, start : start + own_floats].reshape(elements, basis.depth, channels, copy=False)
        here[..., first:last] = basis.spectrum(tile)[..., first:last]
    assert_close(spectra, expected, note=(cut, padding))
    np.testing.assert_array_equal(source, x)
    assert not zeros.any()


@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize(("compiler", "basis"), TRIED, indirect=["compiler"])
def test_tiles_into_spectra(basis: Basis, padding: int, compiler: Compiler) -> None:
    for cut in cuts(basis.outputs):
        check_forward(basis, compiler, cut, padding=padding)


@pytest.mark.parametrize(("compiler", "basis"), TRIED[::3], indirect=["compiler"])
def test_some_tiles_and_channels_into_spectra(basis: Basis, compiler: Compiler) -> None:
    """A share of the tiles, or of the channels, of a round that did not begin with the first tile."""
    cut = hanging_over(basis.outputs)
    for share in SHARES:
        check_forward(basis, compiler, cut, vectors=3, share=share)


@pytest.mark.parametrize("basis", [CookToom((6, 5), 3), Fourier(8, 3)], ids=words)
def test_tiles_at_any_place(basis: Basis, compiler: Compiler) -> None:
    cut = Cut(2, basis.outputs[0] + 1, basis.outputs[1], 2, 1)
    check_forward(basis, compiler, cut, put=unaligned)
    check_inverse(basis, compiler, cut, put=unaligned)


def check_inverse(
    basis: Basis, compiler: Compiler, cut: Cut, pool_size: int = 1, *, vectors: int = 1, share: Share = ALL_TILES,
    gap: int = 5, put: Put = np.copy,
) -> None:  # fmt: skip
    """Compare outputs with what the basis says of each tile's product; `cut` is of the map of outputs, after pooling.

    Channels fill some `vectors`; where there is a `gap` between elements, there is also one of nan after the channels.
    """
    lanes = compiler.lanes
    channels = vectors * lanes
    padded, sides = channels + bool(gap) * lanes, (basis.outputs[0] // pool_size, basis.outputs[1] // pool_size)
    numbers, lane_numbers = range(cut.count)[slice(*share.tiles)], range(vectors)[slice(*share.vectors)]
    first, last = lane_numbers.start * lanes, lane_numbers.stop * lanes
    origin, elements = numbers.start - share.before, math.prod(basis.size) // basis.depth
    tile_floats = basis.depth * padded
    bias, products = normal((channels,), 3), untouched((elements, (numbers.stop - origin) * tile_floats + gap))
    expected = untouched((cut.pictures, cut.height, cut.width, channels))
    for number in numbers:
        picture, row, column = cut.place(number)
        values = normal((*basis.size, channels), number)
        start = (number - origin) * tile_floats
        here = products[:, start : start + tile_floats].reshape(elements, basis.depth, padded, copy=False)
        here[..., :channels] = basis.product(values)
        outputs = basis.results(values)
        for i, j in np.ndindex(*sides):
            y, x = row * sides[0] + i, column * sides[1] + j
            if y < cut.height and x < cut.width:
                window = outputs[i * pool_size : (i + 1) * pool_size, j * pool_size : (j + 1) * pool_size]
                expected[picture, y, x, first:last] = (window.max(axis=(0, 1)) + bias)[first:last]
    source, bias_given = put(products), put(bias)

    def inverse(threshold: float, keep_mask: int) -> Array:
        y, discard = put(untouched(expected.shape)), put(untouched((channels,)))
        call(
            basis.inverse(compiler, pool_size), INVERSE, y=y, spectra=source, bias=bias_given, discard=discard,
            element_stride=source.shape[1], tile_stride=tile_floats, height=cut.height, width=cut.width,
            channels=channels, imaginary=padded, top=0, left=0, tile_columns=cut.columns, tile_rows=cut.rows,
            origin=origin, tile_start=numbers.start, tile_stop=numbers.stop, channel_start=first, channel_stop=last,
            threshold=threshold, keep_mask=keep_mask,
        )  # fmt: skip
        return y

    plain = inverse(0.0, -1)
    assert_close(plain, expected, note=(cut, pool_size))
    rectified = np.where(plain > np.float32(0.5), plain, np.where(np.isnan(plain), plain, 0.0))
    np.testing.assert_array_equal(inverse(0.5, 0), rectified)
    np.testing.assert_array_equal(source, products)


@pytest.mark.parametrize(("compiler", "basis"), TRIED, indirect=["compiler"])
def test_spectra_into_outputs(basis: Basis, compiler: Compiler) -> None:
    """What fills no pooling window is dropped, also where a map is smaller than a tile."""
    for pool_size in range(1, min(3, *basis.outputs) + 1):
        for cut in cuts((basis.outputs[0] // pool_size, basis.outputs[1] // pool_size)):
            check_inverse(basis, compiler, cut, pool_size)


@pytest.mark.parametrize(("compiler", "basis"), TRIED[::3], indirect=["compiler"])
def test_some_spectra_and_channels_into_outputs(basis: Basis, compiler: Compiler) -> None:
    """A share of the tiles, or of the channels, of a round that did not begin with the first tile."""
    cut = hanging_over(basis.outputs)
    for share in SHARES:
        check_inverse(basis, compiler, cut, vectors=3, share=share)


class AnyMatrices(CookToom):
    """Tiles transformed by whatever matrices: A (n, n) and B (m, n), others for the rows than for the columns."""

    def __init__(self, down: tuple[Array, Array], right: tuple[Array, Array]) -> None:
        self._forward, self._inverse = (down[0], right[0]), (down[1], right[1])
        (rows, height), (columns, width) = down[1].shape, right[1].shape
        self.outputs, self.size = (rows, columns), (height, width)


def matrices(seed: int) -> tuple[Array, Array]:
    """Give matrices rich in what is written in a shorter way: zeros, ones, rows and columns that differ in signs."""
    generator = np.random.default_rng(seed)
    size, outputs = 3 + seed % 2, 2
    values = np.array([0, 0, 1, -1, 0.5, -2, 3.0])
    forward, inverse = generator.choice(values, (size, size)), generator.choice(values, (outputs, size))
    signs = generator.choice([-1.0, 1.0], (2, size))
    forward[1] = forward[0] * signs[0]
    inverse[:, 1] = inverse[:, 0] * signs[1, :outputs]
    forward[:, 2] = {0: 0.0, 1: -forward[:, 0], 2: forward[:, 0], 3: forward[:, 2]}[seed % 4]
    return forward, inverse


@pytest.mark.parametrize("seed", range(6))
def test_any_matrices(seed: int, compiler: Compiler) -> None:
    """Sums that several rows share are right for matrices of any signs and zeros, not for the shipped ones only.

    Many of these have the same sizes: each is a kernel of its own.
    """
    basis = AnyMatrices(matrices(seed), matrices(seed + 1))
    for cut in cuts(basis.outputs)[2:4]:
        check_forward(basis, compiler, cut)
        check_inverse(basis, compiler, cut)
