"""Pictures that several threads decode: in order, none held back, within bounds, and the same as by one."""

import gc
import itertools
import random
import sys
import tarfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overfeat_tools.errors import ImageError
from overfeat_tools.pictures import Batches, Item, Task, Wanted, pool, read_items, read_undecoded, tasks
from overfeat_tools.pictures.decoders import wait_for_room
from tests.picture_files import MAKERS, smooth
from tests.test_stream import PATIENCE_SECONDS, item


def numbers(batches: Batches) -> list[int]:
    return [one.number for batch in batches for one in batch]


def decoders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "decoder"]


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=40), st.integers(1, 4), st.integers(1, 5))
def test_order(kinds: list[tuple[bool, int]], threads: int, most: int) -> None:
    """Whoever is done first, and whether it is work or done already."""

    def work(number: int, side: int) -> Item:
        time.sleep(random.random() / 1000)  # noqa: S311
        return item(number, side)

    def items() -> Iterator[Item | Task]:
        for number, (is_task, side) in enumerate(kinds):
            yield Task(lambda n=number, s=side: work(n, s), 1 << 20) if is_task else item(number, side)  # type: ignore[misc]

    assert numbers(Batches(items(), most, 10**6, threads)) == list(range(len(kinds)))


def test_an_interrupt_anywhere_leaves_nobody_waiting() -> None:
    """Raised wherever a function of Python's begins or returns in the main thread, as Ctrl-C may be."""
    for moment in itertools.count():

        def items() -> Iterator[Item | Task]:
            for number in range(100):
                yield Task(lambda n=number: item(n, 1)) if number % 2 else item(number, 1)  # type: ignore[misc]
                time.sleep(0.001)

        before = set(threading.enumerate())
        batches = Batches(items(), 3, 10**6, 2)
        taking = iter(batches)
        if not interrupted_at(moment, taking.__next__):
            break
        stopping = threading.Thread(target=batches.stop, daemon=True)
        stopping.start()
        for thread in {*threading.enumerate()} - before:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), (moment, thread)
    assert moment > 10
    batches.stop()


def interrupted_at(moment: int, call: Callable[[], object]) -> bool:
    """Call a function, with KeyboardInterrupt at the call or return of this number; tell whether there was one."""
    left = moment

    def trace(_frame: object, event: str, _argument: object) -> Callable[..., object]:
        nonlocal left
        left -= event in ("call", "return")
        if left < 0:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def test_the_same_as_one_after_the_other(tmp_path: Path) -> None:
    """Numbers, places, errors, warnings and pixels of every kind: files, an archive, damaged ones, several pages."""
    files = []
    for name, make in MAKERS.items():
        path = tmp_path / name
        path.write_bytes(make(smooth()))
        files.append(str(path))
    jpeg = (tmp_path / "jpeg").read_bytes()
    damaged = {"cut": jpeg[:-60], "header": jpeg[:30], "text": b"no picture", "two": (tmp_path / "p6").read_bytes() * 2}
    for name, data in damaged.items():
        (tmp_path / name).write_bytes(data)
        files.insert(3, str(tmp_path / name))
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        for file in files[:10]:
            archive.add(file, Path(file).name)
    files = [*files, str(tmp_path / "none"), str(tmp_path / "all.tar"), *files]
    for frames in (1, None):
        told: tuple[list[str], list[str]] = [], []
        expected = list(read_items(files, {}, frames=frames, tell=told[0].append))
        read = read_undecoded(files, {}, Wanted(frames=frames), told[1].append)
        found = [one for batch in Batches(tasks(read, lambda one: one, {}), 8, 10**6, 3) for one in batch]
        assert list(map(description, found)) == list(map(description, expected))
        assert told[0] == told[1]


def description(one: Item) -> tuple[object, ...]:
    pixels = None if one.pixels is None else (one.pixels.shape, one.pixels.tobytes())
    return one.number, one.file, one.place, one.frame, one.warning, type(one.error), str(one.error), pixels


def test_nothing_is_held_back() -> None:
    """A picture is answered while the reader waits for the next."""
    taken = threading.Semaphore(0)

    def slow() -> Iterator[Task]:
        for number in range(20):
            yield Task(lambda n=number: item(n))  # type: ignore[misc]
            assert taken.acquire(timeout=PATIENCE_SECONDS), "the last item was never given"

    found = []
    for batch in Batches(slow(), 64, 10**6, 2):
        found += [one.number for one in batch]
        taken.release()
    assert found == list(range(20))


@pytest.mark.parametrize(("size_bytes", "most"), [(0, 8), (pool._MOST_FILE_BYTES, 2), (pool._MOST_FILE_BYTES * 9, 1)])  # noqa: SLF001
def test_reading_ahead_is_bounded(size_bytes: int, most: int) -> None:
    """By the number of pictures and the bytes of files; one picture is always allowed."""
    gate, read = threading.Event(), []

    def work(number: int) -> Item:
        assert gate.wait(PATIENCE_SECONDS)
        return item(number)

    def items() -> Iterator[Task]:
        for number in range(50):
            read.append(number)
            yield Task(lambda n=number: work(n), size_bytes)  # type: ignore[misc]

    batches = Batches(items(), 4, 10**6, 2)
    wait_until(lambda: len(read) > most)  # one is in the reader's hand
    time.sleep(0.05)  # time to read on, were it to
    assert len(read) == most + 1
    gate.set()
    assert numbers(batches) == list(range(50))


@pytest.mark.parametrize(("pixels", "most"), [(10, 4), (pool._MOST_PIXELS // 2, 3), (pool._MOST_PIXELS * 3, 1)])  # noqa: SLF001
def test_decoding_at_a_time_is_bounded(pixels: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the pixels of what is decoded, and one more picture: the next to be answered, which always goes."""
    monkeypatch.setattr(pool, "free_bytes", lambda: None)
    lock, under_way, seen = threading.Lock(), 0, 0

    def work(number: int) -> Item:
        nonlocal under_way, seen
        wait_for_room.get()(pixels)
        with lock:
            under_way += 1
            seen = max(seen, under_way)
        time.sleep(0.005)
        with lock:
            under_way -= 1
        return item(number)

    found = numbers(Batches((Task(lambda n=number: work(n)) for number in range(20)), 32, 10**6, 4))  # type: ignore[misc]
    assert found == list(range(20))
    assert seen <= most


def test_little_memory_is_shared_by_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "free_bytes", lambda: 0)
    seen = []

    def work(number: int) -> Item:
        wait_for_room.get()(1)
        seen.append(number)
        return item(number)

    found = numbers(Batches((Task(lambda n=number: work(n)) for number in range(9)), 32, 10**6, 4))  # type: ignore[misc]
    assert found == seen == list(range(9))


def test_a_failure_comes_in_its_turn() -> None:
    """A bug in a decoder's thread is not swallowed, and what was read before it is answered."""

    def fail() -> Item:
        raise ZeroDivisionError

    found = []
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        for batch in Batches(iter([item(1), Task(lambda: item(2)), Task(fail), item(3)]), 4, 10**6, 2):
            found += [one.number for one in batch]
    assert found == [1, 2]


def test_stop_ends_every_thread() -> None:
    """Those that decode, wait for room or for work, and the reader that has no room."""
    claims = []

    def work(number: int) -> Item:
        claims.append(number)
        wait_for_room.get()(pool._MOST_PIXELS if number < 2 else 1)  # noqa: SLF001
        time.sleep(0.01)
        return item(number, 1000)

    before = len(decoders())
    batches = Batches((Task(lambda n=number: work(n)) for number in range(100)), 2, 10, 3)  # type: ignore[misc]
    wait_until(lambda: len(claims) > 2)
    batches.stop()
    wait_until(lambda: len(decoders()) <= before and not batches._thread.is_alive())  # noqa: SLF001
    assert len(claims) < 10


def test_threads_end_with_the_work() -> None:
    before = len(decoders())
    assert numbers(Batches((Task(lambda n=n: item(n)) for n in range(9)), 2, 10**6, 3)) == list(range(9))  # type: ignore[misc]
    wait_until(lambda: len(decoders()) <= before)


@pytest.mark.parametrize("left", [1, 2])
def test_fewer_threads_than_wanted(left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system gives only the reader's, or one more."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        nonlocal left
        if not left:
            message = "can't start new thread"
            raise RuntimeError(message)
        left -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    found = numbers(Batches((Task(lambda n=number: item(n)) for number in range(30)), 4, 10**6, 8))  # type: ignore[misc]
    assert found == list(range(30))


def test_what_was_taken_is_let_go() -> None:
    """A thread that waits must not keep the picture that it decoded last."""
    gate = threading.Event()

    def items() -> Iterator[Task]:
        for number in range(3):
            yield Task(lambda n=number: item(n))  # type: ignore[misc]
        assert gate.wait(PATIENCE_SECONDS)

    kept = []
    for batch in Batches(items(), 1, 10**6, 2):
        kept.append(weakref.ref(batch[0].pixels))  # type: ignore[arg-type]
        if len(kept) == 3:
            del batch
            gc.collect()
            wait_until(lambda: not any(one() is not None for one in kept[:2]))
            gate.set()


def test_small_pictures_are_finished_where_they_are_read() -> None:
    """To hand them over would take as long."""
    small, large, bad = item(1, 8), Item(2, None, "", np.zeros((400, 400, 3), np.uint8)), item(3, 0)
    found = list(tasks(iter([small, large, bad]), lambda one: one.failed(ImageError("finished")), {}))
    assert [isinstance(one, Item) for one in found] == [True, False, True]
