"""Each layer does what its definition says, on batches, in any memory order, into new arrays."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfeat_tools.backend import CpuBackend
from overfeat_tools.convolution.epilogue import rectify
from overfeat_tools.networks.layers import Convolve, Normalise, Pad, Rectify, Softmax
from tests import reference

Array = npt.NDArray[np.float32]

LAYERS = [Normalise(118.380948, 61.896913), Normalise(tuple(range(9)), tuple(range(1, 10))), Pad(1), Softmax()]
BACKEND = CpuBackend(2)


def random(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Give normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def orders(x: Array) -> list[Array]:
    """Give the same numbers in several memory orders."""
    strided = np.zeros(tuple(2 * length for length in x.shape), x.dtype)[::2, ::2, ::-2, ::2]
    strided[...] = x
    return [x, np.ascontiguousarray(x.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2), np.asfortranarray(x), strided]


def test_rectify() -> None:
    """Zero is what is not above 1e-6: the threshold itself, -0.0, NaN; and zero is +0."""
    values = [-1.0, -0.0, 0.0, 1e-7, 1e-6, 1.1e-6, 1e-5, 2.0, np.inf, -np.inf, np.nan]
    x = np.array(values, np.float32)
    rectify(x, Rectify().threshold)
    assert x.tolist() == [0, 0, 0, 0, 0, np.float32(1.1e-6), np.float32(1e-5), 2, np.inf, 0, 0]
    assert not np.signbit(x).any()


def test_rectify_above_zero() -> None:
    """As later networks do."""
    x = np.array([-1.0, -0.0, 0.0, 1e-40, 1e-7, 2.0, np.nan], np.float32)
    rectify(x, 0.0)
    assert x.tolist() == [0, 0, 0, np.float32(1e-40), np.float32(1e-7), 2, 0]
    assert not np.signbit(x).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_normalise_by_channel(dtype: type) -> None:
    x = np.random.default_rng(0).integers(0, 256, (3, 37, 21, 3)).astype(dtype)
    mean, deviation = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    for same in orders(x):
        y = Normalise(mean, deviation)(same, BACKEND)
        for channel, numbers in enumerate(zip(mean, deviation, strict=True)):
            assert reference.distance(y[..., channel], reference.normalise(x[..., channel], *numbers)) < 5e-7


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_normalise(dtype: type) -> None:
    x = np.random.default_rng(0).integers(0, 256, (3, 37, 21, 3)).astype(dtype)
    for same in orders(x):
        y = Normalise(118.380948, 61.896913)(same, BACKEND)
        assert y.dtype == np.float32
        assert reference.distance(y, reference.normalise(x)) < 5e-7


def test_pad() -> None:
    x = random((3, 4, 5, 6))
    for width in (1, 2, 5):
        for same in orders(x):
            expected = reference.pad(x.transpose(0, 3, 1, 2), width).transpose(0, 2, 3, 1)
            np.testing.assert_array_equal(Pad(width)(same, BACKEND), expected.astype(np.float32))


@given(st.integers(1, 3), st.integers(1, 12), st.integers(1, 3), st.floats(0.1, 1e4))
def test_softmax(pictures: int, channels: int, side: int, spread: float) -> None:
    """Over the channels of each position, exact also where the scores lie far apart."""
    x = random((pictures, side, side, channels)) * np.float32(spread)
    expected = reference.softmax(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    for same in orders(x):
        y = Softmax()(same, BACKEND)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(y.sum(axis=3), 1.0, rtol=1e-5)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_results_are_new_float32_and_inputs_untouched(layer: Normalise) -> None:
    for x in orders(random((2, 6, 8, 9))):
        kept = x.copy()
        y = layer(x, BACKEND)
        np.testing.assert_array_equal(x, kept)
        assert y.dtype == np.float32
        assert not np.shares_memory(x, y)
        assert not np.shares_memory(y, layer(x, BACKEND))
        channels, height, width = layer.output_shape((9, 6, 8))
        assert y.shape[1:] == (height, width, channels)


@given(
    st.integers(1, 12), st.integers(1, 4), st.integers(0, 2), st.tuples(st.integers(1, 40), st.integers(1, 40))
)  # fmt: skip
def test_shape_of_a_convolution(size: int, stride: int, padding: int, maps: tuple[int, int]) -> None:
    """Each output needs a whole kernel: counted here one by one.  Below 1 where there is none."""
    height, width = Pad(padding).output_shape((3, *maps))[1:]
    channels, rows, columns = Convolve(7, size, stride).output_shape((3, height, width))
    assert channels == 7
    assert max(rows, 0) == len(range(0, height - size + 1, stride))
    assert max(columns, 0) == len(range(0, width - size + 1, stride))
