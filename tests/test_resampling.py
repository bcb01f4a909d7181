"""The kernels that scale pictures give what Pillow gives, to the last bit: which of them was used must not matter."""

from collections.abc import Iterator

import numpy as np
import pytest

from overfeat_tools.backend import Compiler
from overfeat_tools.pictures import fit, fitting, resampling
from overfeat_tools.pictures.resampling import Resampler


@pytest.fixture
def kernels(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> Iterator[Resampler]:
    """Have pictures fitted by the kernels; give what does."""
    made = Resampler(lambda: compiler)
    assert made.load()
    monkeypatch.setattr(fitting, "resampler", made)
    yield made
    monkeypatch.setattr(fitting, "resampler", Resampler(lambda: None))


def pictures() -> Iterator[tuple[np.ndarray, int]]:  # type: ignore[type-arg]
    """Give pictures of all shapes with extremes and noise, as views, too, and the sizes to fit them to."""
    random = np.random.default_rng(1)
    shapes = [(1, 1), (1, 5000), (5000, 2), (231, 232), (232, 231), (22, 22), (544, 800), (333, 250), (90, 700)]
    shapes += [tuple(random.integers(20, 400, 2)) for _ in range(25)]
    for number, (height, width) in enumerate(shapes):
        pixels = random.integers(0, 256, (height, width, 3), np.uint8)
        if number % 3 == 1:
            pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
        turned = (pixels, np.rot90(pixels), pixels[::-1, ::-1], pixels.transpose(1, 0, 2))[number % 4]
        yield turned, (231, 221, 22, 64, 300, 97)[number % 6]


def test_as_pillow(kernels: Resampler, monkeypatch: pytest.MonkeyPatch) -> None:
    for pixels, size in pictures():
        monkeypatch.setattr(fitting, "resampler", kernels)
        found = fit(pixels, size)
        monkeypatch.setattr(fitting, "resampler", Resampler(lambda: None))
        np.testing.assert_array_equal(found, fit(pixels, size), f"{pixels.shape} to {size}")


def test_without_a_look_beyond_the_picture(kernels: Resampler) -> None:
    """What lies around a picture in memory is not its business, and what lies around the result stays."""
    random = np.random.default_rng(2)
    whole = random.integers(0, 256, (90, 120, 3), np.uint8)
    part = whole[10:80, 20:100]
    expected = fit(part.copy(), 64)
    whole[:10], whole[80:], whole[:, :20], whole[:, 100:] = 255, 0, 255, 0
    np.testing.assert_array_equal(fit(part, 64), expected)
    assert kernels(part, (64, 64), (0.0, 0.0, 70.0, 70.0)) is not None


def test_rows_shorter_than_vectors_are_left_to_pillow(kernels: Resampler) -> None:
    tiny = np.zeros((3, 3, 3), np.uint8)
    assert kernels(tiny, (2, 2), (0.0, 0.0, 3.0, 3.0)) is None
    assert fit(tiny, 2).shape == (2, 2, 3)


def test_they_are_loaded_once_that_pays(compiler: Compiler) -> None:
    """Not for a few pictures, for which loading takes longer; and nobody waits twice."""
    asked, now = [], iter([0.0, 0.06, 0.06, 0.08, 0.08, 0.13, 0.13, 9.0])

    def open_compiler() -> Compiler:
        asked.append(True)
        return compiler

    made = Resampler(open_compiler)
    counts = []
    for _ in range(4):
        with made.going_without(lambda: next(now)):
            pass
        counts.append(len(asked))
    assert counts == [0, 0, 1, 1]
    assert made(np.zeros((300, 300, 3), np.uint8), (231, 231), (0.0, 0.0, 300.0, 300.0)) is not None


def test_a_compiler_that_is_broken(monkeypatch: pytest.MonkeyPatch, compiler: Compiler) -> None:
    """Pillow does it then, as where nothing is compiled at all."""

    def broken(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(Compiler, "function", broken)
    assert not Resampler(lambda: compiler).load()
    assert not Resampler(lambda: None).load()


def test_weights_add_up() -> None:
    """A plain surface stays plain."""
    for length, size in ((300, 231), (231, 300), (5000, 22), (3, 64)):
        starts, weights = resampling._weights_of(length, 0.0, float(length), size)  # noqa: SLF001
        assert np.abs(weights.sum(axis=1) - (1 << 22)).max() <= weights.shape[1]
        assert (starts >= 0).all()
        assert (starts + weights.shape[1] <= length).all()
