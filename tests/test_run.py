"""The loop of the commands: each picture gets its own answer, in order, within the memory there is."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from overfeat_tools.backend import CpuBackend
from overfeat_tools.cli import NetworkOptions
from overfeat_tools.commands import run
from overfeat_tools.commands.run import Run
from overfeat_tools.errors import MemoryShortageError, UsageError
from overfeat_tools.networks.layers import Normalise
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.opening import memory_for_packed_weights
from overfeat_tools.networks.topology import Topology
from overfeat_tools.pictures import Batches, Item

TINY = Topology("tiny", 1, 0, "none", "classes.tsv", (Normalise(0.0, 1.0),))


def needed_bytes(pictures: int, height: int, width: int, _: int) -> int:
    """Stand for `Network.needed_bytes`."""
    return 24 * pictures * height * width


class StandIn(SimpleNamespace):
    """Has what a run wants of a network."""

    check_memory = Network.check_memory
    _fitted_bytes = 0

    def begin_layers(self, pictures: np.ndarray, layers: tuple[int]) -> Callable[[], dict[int, np.ndarray]]:  # type: ignore[type-arg]
        wait = self.begin(pictures, *layers)
        return lambda: {layers[0]: wait()}


class Loop:
    """A run of a network that gives its input back, and what came of it."""

    def __init__(self, fail: Callable[[np.ndarray], None] = lambda _: None, **options: int) -> None:  # type: ignore[type-arg]
        self.answers: list[tuple[int, float]] = []
        self.errors: list[tuple[int, str]] = []

        def begin(pictures: list[np.ndarray], _: int) -> Callable[[], np.ndarray]:  # type: ignore[type-arg]
            fail(pictures)
            result = np.stack(pictures).astype(np.float32)
            return lambda: result

        network = StandIn(
            topology=TINY, begin=begin, backend=CpuBackend(1), needed_bytes=needed_bytes, usual_batch=lambda: 64
        )
        self.run = Run(
            "test", NetworkOptions(**options), network, 0, lambda pixels: pixels,  # type: ignore[arg-type]
            lambda one, values: self.answers.append((one.number, float(values.flat[0]))),
            lambda one, error: self.errors.append((one.number, str(error))),
        )  # fmt: skip


@pytest.fixture
def many(tmp_path: Path) -> list[str]:
    """Give a file of 40 pictures of growing brightness."""
    path = tmp_path / "many.pgm"
    path.write_bytes(b"".join(b"P5 100 100 255\n" + bytes([number]) * 10_000 for number in range(1, 41)))
    return [str(path)]


def test_each_picture_gets_its_own_answer(many: list[str]) -> None:
    loop = Loop()
    assert loop.run.over(many) == 0
    assert loop.answers == [(number, number) for number in range(1, 41)]


def test_the_first_picture_is_answered_by_itself(many: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many have been read by then: its answer must not wait for theirs."""

    def batches(*arguments: Any, **options: Any) -> Batches:  # noqa: ANN401 -- whatever a run gives
        made = Batches(*arguments, **options)
        time.sleep(0.1)  # the reader brings the others meanwhile
        return made

    monkeypatch.setattr(run, "Batches", batches)
    sizes: list[int] = []
    loop = Loop(lambda pictures: sizes.append(len(pictures)), batch=10**5)
    assert loop.run.over(many) == 0
    assert sizes[0] == 1
    assert max(sizes) > 1
    assert loop.answers == [(number, number) for number in range(1, 41)]


def test_strict_stops_at_the_first(many: list[str]) -> None:
    loop = Loop(strict=True)
    assert loop.run.over(["/nonexistent", *many]) == 3
    assert (loop.answers, len(loop.errors)) == ([], 1)


@pytest.mark.parametrize("how", ["estimated", "met"])
def test_a_batch_too_large_for_memory_is_run_in_parts(
    how: str, many: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches are the program's own idea: a picture must not fail because of its neighbours."""
    gate = threading.Event()

    def fail(pictures: np.ndarray) -> None:  # type: ignore[type-arg]
        gate.wait(1.0)  # so that the next batch is a large one
        gate.set()
        if how == "met" and len(pictures) > 2:
            raise MemoryError

    if how == "estimated":
        monkeypatch.setattr(CpuBackend, "free_bytes", lambda _: needed_bytes(2, 100, 100, 0))
    loop = Loop(fail, batch=10**5)
    assert loop.run.over(many) == 0
    assert [number for number, _ in loop.answers] == list(range(1, 41))


def test_a_batch_computes_while_the_next_is_brought(many: list[str]) -> None:
    """On a device that computes by itself: two batches are under way at most, answers keep their order."""
    loop = Loop(batch=3)
    under_way, most = 0, 0

    def begin(pictures: list[np.ndarray], _: int) -> Callable[[], np.ndarray]:  # type: ignore[type-arg]
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        time.sleep(0.01)  # the reader brings the next one meanwhile

        def wait() -> np.ndarray:  # type: ignore[type-arg]
            nonlocal under_way
            under_way -= 1
            return np.stack(pictures).astype(np.float32)

        return wait

    backend = CpuBackend(1)
    backend.ahead = 1
    network = StandIn(topology=TINY, begin=begin, backend=backend, needed_bytes=needed_bytes)
    loop.run.network = network  # type: ignore[assignment]
    assert loop.run.over([*many, *many]) == 0
    assert [number for number, _ in loop.answers] == list(range(1, 81))
    assert under_way == 0
    assert most == 2


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_source_that_fails(ahead: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was begun before it is answered."""
    path = tmp_path / "few.pgm"
    path.write_bytes(b"".join(b"P5 2 2 255\n" + bytes([number]) * 4 for number in range(1, 9)))
    real, ended = run.read_undecoded, threading.Event()

    def read(*arguments: object) -> Iterator[object]:
        yield from real(*arguments)  # type: ignore[arg-type]
        ended.set()
        raise KeyError("of the source")

    def wait_for_the_failure(_: object) -> None:
        ended.wait(5)
        time.sleep(0.05)

    monkeypatch.setattr(run, "read_undecoded", read)
    loop = Loop(wait_for_the_failure, batch=64)
    loop.run.network.backend.ahead = ahead
    with pytest.raises(KeyError, match="of the source"):
        loop.run.over([str(path)])
    assert [number for number, _ in loop.answers] == list(range(1, 9))


def test_no_answer_waits_for_the_next_picture(tmp_path: Path) -> None:
    """Also on a device that computes by itself: with nothing more there, a batch is finished."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    loop = Loop()
    loop.run.network.backend.ahead = 1
    answered = threading.Event()
    answer = loop.run.answer
    loop.run.answer = lambda item, values: (answer(item, values), answered.set())  # type: ignore[assignment, func-returns-value]
    reader = threading.Thread(target=loop.run.over, args=([str(path)],))
    reader.start()
    with path.open("wb", buffering=0) as pipe:
        for number in range(1, 4):
            pipe.write(b"P5 100 100 255\n" + bytes([number]) * 10_000)
            assert answered.wait(30), number
            answered.clear()
    reader.join()
    assert len(loop.answers) == 3


@pytest.mark.parametrize("strict", [False, True])
def test_a_damaged_picture(strict: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """It is answered, with its warning; but `--strict` takes it for one that can't be used, and stops."""
    pixels = np.full((100, 100, 3), 7, np.uint8)
    items = [Item(1, "a", "a", pixels), Item(2, "b", "b", pixels, warning="cut off"), Item(3, "c", "c", pixels)]
    monkeypatch.setattr(run, "read_undecoded", lambda *_, **__: iter(items))
    loop = Loop(strict=strict)
    assert loop.run.over(["a", "b", "c"]) == (3 if strict else 0)
    assert [number for number, _ in loop.answers] == ([1] if strict else [1, 2, 3])
    assert loop.errors == ([(2, "cut off")] if strict else [])


def test_memory_for_packed_weights_is_in_mebibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERFEAT_MEMORY", "3")
    assert memory_for_packed_weights(CpuBackend(1)) == 3 << 20


@pytest.mark.parametrize("text", ["9" * 400, "9" * 5000, "-1", "1.5", "1e3", "\u0663", " 1", "many"])
def test_memory_that_is_no_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERFEAT_MEMORY", text)
    with pytest.raises(UsageError, match="OVERFEAT_MEMORY"):
        memory_for_packed_weights(CpuBackend(1))


def test_memory_is_asked_for_before_a_batch_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    network = StandIn(topology=TINY, backend=CpuBackend(1), needed_bytes=needed_bytes)
    monkeypatch.setattr(CpuBackend, "free_bytes", lambda _: needed_bytes(3, 100, 100, 0))
    network.check_memory(3, 100, 100, 0)  # type: ignore[misc]
    with pytest.raises(MemoryShortageError, match="100x101"):
        network.check_memory(3, 101, 100, 0)  # type: ignore[misc]
