"""A pass recorded once: stages of compiled calls, laid out for the executor, to be run again and again.

The words of all calls stand one after the other in one array.  Those that are addresses in a buffer (a workspace, the
input, the output) are moved when the buffer has another place than the last time.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from overfeat_tools.backend.arrays import Array
from overfeat_tools.backend.calls import Argument, Piece, Place, address, word

_WORD_BYTES = 8


class Recording:
    """Stages noted while a pass is recorded."""

    def __init__(self) -> None:
        self.stages: list[Sequence[Piece]] = []
        self.scratch_bytes = 0
        self.step_ends: list[int] = []

    def add(self, pieces: Sequence[Piece], scratch_bytes: int) -> None:
        """Note a stage, if there is anything to do: the executor would wait for its last piece."""
        if pieces:
            self.stages.append(pieces)
        self.scratch_bytes = max(self.scratch_bytes, scratch_bytes)

    def end_step(self) -> None:
        """Note that the stages since the last call make a step of the pass."""
        self.step_ends.append(len(self.stages))


class Program:
    """Stages, each of pieces that don't depend on each other.

    Parameters
    ----------
    recording : Recording
    buffers : mapping of str to array
        Memory that need not stay where it is.  All other arrays are kept.
    shapes : sequence of tuple of int
        Shapes of the results.
    """

    def __init__(self, recording: Recording, buffers: Mapping[str, Array], shapes: Sequence[tuple[int, ...]]) -> None:
        self.scratch_bytes, self.shapes = recording.scratch_bytes, shapes
        stages, self._step_ends = recording.stages, np.array(recording.step_ends, np.int64)
        words: list[int] = []
        starts: list[int] = []
        arrays: list[tuple[int, Array]] = []  # with the places of the words that point to them
        for piece in (piece for stage in stages for piece in stage):
            starts.append(len(words))
            for function, arguments in piece:
                words += (function.address, len(arguments))
                arrays += _arrays(arguments, len(words))
                words += map(word, arguments)
            words.append(0)
        self._words = np.array(words, np.int64)
        self._pieces = np.array(starts, np.int64) * _WORD_BYTES + address(self._words)
        counts = np.array([len(stage) for stage in stages], np.int64)
        firsts = (np.cumsum(counts) - counts) * _WORD_BYTES + address(self._pieces)
        self.stages = np.stack([counts, firsts], axis=1)
        self._place(arrays, buffers)

    def _place(self, arrays: list[tuple[int, Array]], buffers: Mapping[str, Array]) -> None:
        """Note which words are addresses in a buffer, and keep the arrays that are in none."""
        places, starts = (np.array(values, np.int64) for values in (
            [place for place, _ in arrays], [address(array) for _, array in arrays]
        ))
        inside = np.zeros(len(places), bool)
        self.buffer_bytes: dict[str, int] = {}
        self._addresses: dict[str, int] = {}
        self._places: dict[str, Array] = {}
        for name, memory in buffers.items():
            first = address(memory)
            here = (starts >= first) & (starts < first + memory.nbytes)
            if here.any():
                self.buffer_bytes[name] = memory.nbytes
                self._addresses[name], self._places[name] = first, places[here]
            inside |= here
        kept = (array for (_, array), moves in zip(arrays, inside, strict=True) if not moves)
        self._kept = {id(array): array for array in kept}

    def move(self, name: str, memory: Array) -> None:
        """Use other memory as a buffer."""
        if distance := address(memory) - self._addresses[name]:
            self._words[self._places[name]] += distance
            self._addresses[name] += distance

    def step_seconds(self, times: Array) -> list[float]:
        """Tell how long each step took, given when each stage began and the last ended, in nanoseconds."""
        seconds: list[float] = (np.diff(times[self._step_ends], prepend=times[0]) * 1e-9).tolist()
        return seconds


def _arrays(arguments: Sequence[Argument], first: int) -> Iterator[tuple[int, Array]]:
    for place, argument in enumerate(arguments, first):
        if isinstance(argument, Place):
            yield place, argument.array
        elif isinstance(argument, np.ndarray):
            yield place, argument
