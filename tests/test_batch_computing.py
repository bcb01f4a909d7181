"""The batches of of-batch: where there is no memory, halves are computed, and a picture that is too large is told."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from overfeat_tools.batch.computing import Computation, Done, Result, Work
from overfeat_tools.batch.rows import NO_MEMORY, OK, Row
from overfeat_tools.errors import MemoryShortageError


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("room", [0, 1, 3])
def test_where_there_is_no_memory(room: int, ahead: int) -> None:
    """Every row comes, in order, with its own result or with what it lacks."""
    begun: list[int] = []

    def compute(pictures: Sequence[tuple[np.ndarray, ...]]) -> Callable[[], list[Result]]:  # type: ignore[type-arg]
        if len(pictures) > room:
            raise MemoryShortageError("too large")
        begun.append(len(pictures))
        return lambda: [Result(shown) for shown in pictures]

    rows: list[Row] = []

    def take(done: list[Done]) -> None:
        for each in done:
            rows.append(each.row)
            if room:
                assert each.result is not None
                assert each.result.maps[0][0, 0, 0] == int(each.row.path)
            else:
                assert each.result is None

    work = Computation(Work(compute, 8, 231**2), 8, ahead, take)
    for number in range(20):
        work.add(Row(str(number)), (np.full((231, 231, 3), number, np.uint8),))
    work.finish()
    assert [int(row.path) for row in rows] == list(range(20))
    told = (OK, None) if room else (NO_MEMORY, "too large")
    assert {(row.status, row.error) for row in rows} == {told}
    assert sum(begun) == (20 if room else 0)
