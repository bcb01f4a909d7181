"""Any number of pictures: in order, grouped by size, in constant memory, and what becomes of bad ones."""

import gc
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from overfeat_tools import Network, errors
from overfeat_tools.backend import CpuBackend
from overfeat_tools.networks.network import Network as Engine
from overfeat_tools.networks.views import Ten
from overfeat_tools.pictures import Undecoded
from tests import picture_files
from tests.library_pictures import FEATURES, SIDE, Pixels, drawn, near, open_tiny, png


@pytest.fixture(scope="module")
def net() -> Network:
    """Give a network."""
    return open_tiny()


def test_mixed_sizes_are_grouped_and_put_back(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each picture gets its own answer, with fewer passes than pictures and no batch above the usual one."""
    sizes = [(SIDE, SIDE), (240, 300), (300, 240)]
    pictures = [drawn(seed, *sizes[seed % 3]) for seed in range(60)]
    expected = [net.engine.run(one[None], FEATURES)[0].transpose(2, 0, 1) for one in pictures]
    monkeypatch.setattr(Engine, "usual_batch", lambda _: 16)
    batches = []
    begin = Engine.begin_layers
    monkeypatch.setattr(
        Engine, "begin_layers", lambda engine, x, layers: (batches.append(len(x)), begin(engine, x, layers))[1]
    )
    results = net.features(pictures)
    assert all(near(ours, theirs) for ours, theirs in zip(results, expected, strict=True))
    assert sum(batches) == len(pictures)
    assert len(batches) < 40
    assert max(batches) <= 16


def test_constant_memory_and_order(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are read a few batches ahead, whatever their number; a picture isn't kept when it has been answered."""
    monkeypatch.setattr(Engine, "usual_batch", lambda _: 4)
    given: list[weakref.ref[Pixels]] = []

    def pictures() -> Iterator[Pixels]:
        for seed in range(80):
            picture = drawn(seed % 7)
            given.append(weakref.ref(picture))
            yield picture

    expected = [net.features(drawn(seed)) for seed in range(7)]
    for number, row in enumerate(net.iter_features(pictures())):
        assert near(row, expected[number % 7])  # type: ignore[arg-type]
        assert len(given) <= number + 25
        if number % 20 == 0:
            gc.collect()
            assert sum(one() is not None for one in given) <= 25
    assert number == 79


def test_no_answer_waits_for_the_next_picture(net: Network) -> None:
    """A live source is answered picture by picture."""
    answered = threading.Semaphore(0)

    def pictures() -> Iterator[Pixels]:
        for seed in range(4):
            yield drawn(seed)
            assert answered.acquire(timeout=30)

    for _ in net.iter_features(pictures()):
        answered.release()


def test_files_are_decoded_by_several_threads(net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at a time, and their order is kept."""
    files = [tmp_path / f"{number}.png" for number in range(6)]
    for number, file in enumerate(files):
        file.write_bytes(png(drawn(number, 240, 300)))
    pictures = [files[0], files[1].read_bytes(), *files[2:]]
    expected = [net.features(file, size="input") for file in files]
    both, decode = threading.Barrier(2, timeout=30), Undecoded.decoded
    monkeypatch.setattr(Undecoded, "decoded", lambda one, seconds: (both.wait(), decode(one, seconds))[1])
    rows = list(net.iter_features(pictures, size="input"))
    assert all(near(row, one) for row, one in zip(rows, expected, strict=True))  # type: ignore[arg-type]


def test_stopping_early_ends_the_reader(net: Network) -> None:
    before = threading.active_count()
    rows = net.iter_features(drawn(seed) for seed in range(10**6))
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.name == "reader":
            thread.join(10)
    assert threading.active_count() <= before + 1


def test_errors_as_rows_or_raised(net: Network, tmp_path: Path) -> None:
    """A bad picture costs itself, or ends the rows after those before it have come; each is named."""
    (tmp_path / "junk.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    pictures = [drawn(1), str(tmp_path / "junk.png"), drawn(1, 10, 20), tmp_path / "none.jpg", b"", drawn(2)]
    rows = list(net.iter_features(pictures, errors="return"))  # type: ignore[arg-type]
    assert [type(row).__name__ for row in rows] == ["ndarray", *["ImageError"] * 4, "ndarray"]
    assert near(rows[-1], net.features(drawn(2)))  # type: ignore[arg-type]
    texts = [str(row) for row in rows[1:5]]
    assert texts[0].startswith(f"{tmp_path / 'junk.png'}: ")
    assert texts[1:] == [
        "picture 3: 20x10 is smaller than 231x231",
        f"{tmp_path / 'none.jpg'}: no such file or directory",
        "picture 5: the file is empty",
    ]
    raising = net.iter_features(pictures)  # type: ignore[arg-type]
    assert near(next(raising), rows[0])  # type: ignore[arg-type]
    with pytest.raises(errors.ImageError, match=r"junk\.png: "):
        next(raising)


def test_a_source_that_fails(net: Network) -> None:
    """What a source of pictures raises comes through, after what it gave before."""

    def pictures() -> Iterator[Pixels]:
        yield drawn(1)
        raise KeyError("of the source")

    rows = net.iter_features(pictures())
    assert next(rows).shape == (96,)  # type: ignore[union-attr]
    with pytest.raises(KeyError, match="of the source"):
        next(rows)


def test_a_damaged_picture_is_answered_with_a_warning(net: Network, tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(picture_files.saved(picture_files.smooth(300, 300), "JPEG")[:-200])
    with pytest.warns(UserWarning, match=r"cut\.jpg: damaged") as warned:
        row = net.features(str(path))
    assert row.shape == (96, 3, 3)  # type: ignore[union-attr]
    assert warned[0].filename == __file__


@pytest.mark.parametrize("how", ["estimated", "met"])
def test_a_batch_too_large_for_memory_is_run_in_parts(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are the library's own idea: a picture must not fail because of its neighbours."""
    net = Network("tiny", device="cpu", threads=1)
    expected = [net.features(drawn(seed)) for seed in range(5)]
    net = Network("tiny", device="cpu", threads=1)
    if how == "estimated":
        limit = net.engine.needed_bytes(2, SIDE, SIDE, FEATURES)
        monkeypatch.setattr(CpuBackend, "free_bytes", lambda _: limit)
    else:
        begin = Engine.begin_layers

        def fail(engine: Engine, x: Sequence[Pixels], layers: tuple[int, ...]) -> object:
            if len(x) > 2 or len(x[0]) > SIDE:
                raise MemoryError
            return begin(engine, x, layers)

        monkeypatch.setattr(Engine, "begin_layers", fail)
    pictures = [*(drawn(seed) for seed in range(5)), drawn(1, 900, 900)]
    *rows, last = net.iter_features(pictures, errors="return")
    assert all(near(row, one) for row, one in zip(rows, expected, strict=True))  # type: ignore[arg-type]
    assert isinstance(last, errors.MemoryShortageError)


def test_views_too_many_for_memory(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are looked at in parts, too, each picture with its own answer; one that is too large is told of."""
    pictures = [drawn(seed, 240, 240 + 40 * (seed % 2)) for seed in range(5)]
    expected = [net.classify(picture, n=1, views="ten") for picture in pictures]
    begin = Ten.begin

    def fail(views: Ten, given: Sequence[Sequence[Pixels]]) -> object:
        if len(given) > 1:
            raise MemoryError
        return begin(views, given)

    monkeypatch.setattr(Ten, "begin", fail)
    for (ours,), (theirs,) in zip(net.classify(pictures, n=1, views="ten"), expected, strict=True):
        assert (ours[1], round(ours[2], 4)) == (theirs[1], round(theirs[2], 4))  # type: ignore[index]
    monkeypatch.setattr(Ten, "begin", lambda _, given: fail(_, [*given, *given]))
    with pytest.raises(errors.MemoryShortageError, match="picture 1: 231x231: not enough memory"):
        net.classify(pictures, views="ten")
