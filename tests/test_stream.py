"""Pictures keep their order, go together only with their like, and wait for nobody."""

import errno
import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfeat_tools.errors import ImageError, StreamError
from overfeat_tools.pictures import Batches, Item, prepared, read_items, supply

PATIENCE_SECONDS = 60.0


def item(number: int, side: int = 4) -> Item:
    """Give an item; side 0 stands for a bad picture."""
    if not side:
        return Item(number, None, f"picture {number}", error=ImageError("bad"))
    return Item(number, None, f"picture {number}", np.full((side, side, 3), number % 256, np.uint8))


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 9), st.integers(1, 40))
def test_order_and_batches(sides: list[int], most_pictures: int, most_pixels: int) -> None:
    """Every item once and in order; a batch is of one shape, within its limits, or one bad picture."""
    items = [item(number, side) for number, side in enumerate(sides)]
    batches = list(Batches(iter(items), most_pictures, most_pixels))
    assert [one.number for batch in batches for one in batch] == list(range(len(items)))
    for batch in batches:
        if any(one.error for one in batch):
            assert len(batch) == 1
            continue
        shapes = {one.pixels.shape for one in batch if one.pixels is not None}
        assert len(shapes) == 1
        assert len(batch) <= most_pictures
        assert len(batch) == 1 or len(batch) * shapes.pop()[0] ** 2 <= most_pixels


def test_dtypes_do_not_mix() -> None:
    """A picture of floats beside bytes would change what the bytes are stacked to."""
    floats = Item(2, None, "", np.zeros((4, 4, 3), np.float32))
    batches = list(Batches(iter([item(1), floats, item(3)]), 9, 10**6))
    assert [[one.number for one in batch] for batch in batches] == [[1], [2], [3]]


def test_the_first_comes_alone() -> None:
    """However many are there already."""
    batches = Batches(iter([item(number) for number in range(6)]), 3, 10**6, first=1)
    while not batches.ready:
        time.sleep(0.001)
    time.sleep(0.01)
    taken = [[one.number for one in batch] for batch in batches]
    assert taken[0] == [0]
    assert [number for batch in taken for number in batch] == list(range(6))
    assert max(map(len, taken)) > 1


def test_nothing_is_held_back() -> None:
    """A slow source: each item comes out before the next has gone in."""
    taken = threading.Semaphore(0)

    def slow() -> Iterator[Item]:
        for number in range(20):
            yield item(number)
            assert taken.acquire(timeout=PATIENCE_SECONDS), "the last item was never given"

    numbers = []
    for batch in Batches(slow(), 64, 10**6):
        numbers += [one.number for one in batch]
        assert len(batch) == 1
        taken.release()
    assert numbers == list(range(20))


@pytest.mark.parametrize(("most_pictures", "most_pixels"), [(4, 10**9), (1000, 16 * 4)])
def test_reading_ahead_is_bounded(most_pictures: int, most_pixels: int) -> None:
    """By two batches, and the one item in the reader's hand: an endless stream must fit in memory."""
    read, idle = [0], threading.Event()

    def endless() -> Iterator[Item]:
        while True:
            read[0] += 1
            if read[0] > 8:
                idle.set()
            yield item(read[0])

    batches = Batches(endless(), most_pictures, most_pixels)
    assert idle.wait(PATIENCE_SECONDS)
    threading.Event().wait(0.2)  # time to read on, were it to
    assert read[0] <= 2 * 4 + 1
    seen = 0
    for batch in batches:
        seen += len(batch)
        assert read[0] <= seen + 2 * 4 + 5
        if seen > 50:
            break
    batches.stop()


def test_failure_of_the_reader_comes_out() -> None:
    """A bug in the reader's thread is not swallowed, and what was read before it is answered."""

    def failing() -> Iterator[Item]:
        yield item(1)
        raise ZeroDivisionError

    batches = iter(Batches(failing(), 4, 10**6))
    assert [one.number for one in next(batches)] == [1]
    with pytest.raises(ZeroDivisionError):
        next(batches)


@pytest.mark.filterwarnings("ignore")  # decoders leave a broken file open until it is collected
def test_files(tmp_path: Path) -> None:
    """Numbers count everything; a PNM file may hold many; a bad one costs itself alone."""
    one = b"P5 1 1 255\na"
    contents = {"one": one, "two": one * 2, "junk": one + b"junk", "jpg": b"\xff\xd8\xff", "cmyk": b""}
    contents["cmyk"] = b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE CMYK\nENDHDR\nabcd" + one
    files = []
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
        files.append(str(tmp_path / name))
    items = list(read_items([*files, str(tmp_path / "none"), files[0]], {}))
    assert [one.number for one in items] == list(range(1, len(items) + 1))
    found = [(Path(one.file or "").name, type(one.error)) for one in items]
    none = type(None)
    assert found == [
        ("one", none), ("two", none), ("two", none), ("junk", none), ("junk", StreamError), ("jpg", ImageError),
        ("cmyk", ImageError), ("cmyk", none), ("none", ImageError), ("one", none),
    ]  # fmt: skip
    assert items[4].place == f"{files[2]}: picture 2"
    assert all(one.error is None or "\n" not in str(one.error) for one in items)
    del items
    gc.collect()


def test_a_read_error_names_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many bytes of the stream were used before a disk or a network failed."""
    (tmp_path / "a").write_bytes(b"P5 2 1 255\nabP5 2 1 255\nab")
    chunks = [b"P5 2 1 255\nabP5 2 1 25", OSError(errno.EIO, os.strerror(errno.EIO))]

    def read(_descriptor: int, _size: int) -> bytes:
        chunk = chunks.pop(0)
        if isinstance(chunk, OSError):
            raise chunk
        return chunk

    monkeypatch.setattr(supply.os, "read", read)
    good, broken = read_items([str(tmp_path / "a")], {})
    assert good.pixels is not None
    assert isinstance(broken.error, StreamError)
    assert str(broken.error) == "byte 22: input/output error"
    assert broken.place == f"{tmp_path / 'a'}: picture 2"


def test_prepare_may_refuse() -> None:
    def prepare(pixels: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        if len(pixels) < 3:
            message = "too small"
            raise ImageError(message)
        return pixels[:2]

    found = list(prepared(iter([item(1), item(2, 0), item(3, 1), item(4)]), prepare, {}))
    assert [None if one.pixels is None else one.pixels.shape for one in found] == [(2, 4, 3), None, None, (2, 4, 3)]
    assert [str(one.error or "") for one in found] == ["", "bad", "too small", ""]


def test_pipe_that_gives_one_byte_first(tmp_path: Path) -> None:
    """What comes is told by two bytes; a pipe may give one."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            for piece in (b"P", b"6 1 1 255\nabc", b"P6 1 1 255\ndef"):
                pipe.write(piece)
                time.sleep(0.05)

    writer = threading.Thread(target=write)
    writer.start()
    items = list(read_items([str(path)], {}))
    writer.join()
    assert [item.pixels.tobytes() for item in items if item.pixels is not None] == [b"abc", b"def"]


def test_a_pipe_that_does_not_block() -> None:
    """Whoever shares standard input may have set it so; nothing to read is then no error."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)

    def write() -> None:
        for chunk in (b"P6 1 1", b" 255\nabc", b"P6 1 1 255\ndef"):
            time.sleep(0.05)
            os.write(writer, chunk)
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    found = list(read_items([f"/dev/fd/{reader}"], {}))
    thread.join()
    os.close(reader)
    assert [one.error for one in found] == [None, None]


def test_without_a_thread_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    items = [Item(number, None, "here", np.zeros((2, 2, 3), np.uint8)) for number in range(1, 4)]
    assert [[one.number for one in batch] for batch in Batches(iter(items), 8, 1000)] == [[1], [2], [3]]
