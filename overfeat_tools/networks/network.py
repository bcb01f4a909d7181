"""A network with its weights: a fold over its layers."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray, Recorded, Recording
from overfeat_tools.convolution import Algorithm, Convolution, Ledger, fills_vectors, finish, rates_of
from overfeat_tools.errors import MemoryShortageError
from overfeat_tools.networks.layers import Convolve, FragmentPool, MaxPool, Normalise, Pad, Rectify, Softmax
from overfeat_tools.networks.steps import ENDS, bound_bytes, epilogue_of, find_geometries, kept_layers, steps
from overfeat_tools.networks.topology import Topology
from overfeat_tools.networks.weights import PACKAGED, map_weights, weights_folder

PACKED_LIMIT_BYTES = 1792 << 20

# Programs that are kept, each for batches of one shape; and picture sizes whose geometries are.
_PROGRAMS_KEPT = 16
_SIZES_KEPT = 16

# Maps that take more than this are no quicker.
_BATCH_BYTES = 1280 << 20

# Asking the system what is free takes tenths of a millisecond: small batches like one before do without.
_SMALL_BYTES = 256 << 20

Algorithms = dict[int, Algorithm]
"""The algorithm of each convolution, by the number of its layer."""

class Network:
    """A network with its weights, ready to run.

    Parameters
    ----------
    topology : Topology
        Which network.
    folder : str or Path, optional
        Where its weight file lies; by default where `weights_folder` says.
    backend : Backend
        Where to compute.
    method : str
        How to convolve; see `convolution.Convolution`.
    packed_limit_bytes : float
        The most memory for packed weights.
    reproducible : bool
        Whether equal pixels must give equal bytes, whatever the batch, the threads and the run.

    Raises
    ------
    WeightsError
        The weight file is missing or has the wrong size.
    """

    def __init__(
        self,
        topology: Topology,
        folder: str | Path | None,
        backend: Backend,
        method: str = "auto",
        packed_limit_bytes: float = PACKED_LIMIT_BYTES,
        *,
        reproducible: bool = False,
    ) -> None:
        self.topology, self.backend = topology, backend
        self.ledger = Ledger(rates_of(backend), packed_limit_bytes, backend.compiler)
        where = PACKAGED if topology.packaged else weights_folder(folder)
        self.weight_file, names = where / topology.weight_file, topology.parameter_names
        parameters = iter(map_weights(self.weight_file, topology.kernel_shapes, topology.name, names))
        self.seconds: dict[int, float] = dict.fromkeys(range(len(topology.layers)), 0.0)
        self.convolutions: dict[int, Convolution] = {}
        self._fitted_bytes = 0  # the most that there has been room for
        self._programs: dict[tuple[object, ...], Recorded] = {}
        for number, layer in enumerate(topology.layers):
            if isinstance(layer, Convolve):
                weight, bias = next(parameters)
                before = topology.layers[number - 1]
                self.convolutions[number] = Convolution(
                    weight, bias, backend=backend, stride=layer.stride, method=method, ledger=self.ledger,
                    padding=before.width if isinstance(before, Pad) else 0, on_repacking=self._programs.clear,
                    reproducible=reproducible,
                )  # fmt: skip
        self._remember()

    def _remember(self) -> None:
        """Make the caches of what depends on the topology and a picture's size."""
        # Caches that knew `self` would keep it alive.
        topology, convolutions = self.topology, self.convolutions
        self._geometries = lru_cache(_SIZES_KEPT)(
            lambda height, width, kept: find_geometries(topology, convolutions, height, width, kept)
        )
        # Asked before every batch.  The compiler counts, as algorithms go with it.
        self._needed_bytes = lru_cache(_SIZES_KEPT)(
            lambda pictures, height, width, layers, _compiler: bound_bytes(
                topology, convolutions, pictures, height, width, layers
            )
        )

    def in_fragments(self, *, diagonal: bool = False) -> "Network":
        """Give this network with its last pool taken at all offsets, each picture's fragments one after the other.

        It shares weights, programs and times with this one; see `layers.FragmentPool`.
        """
        twin = copy.copy(self)
        twin.topology = self.topology.in_fragments(diagonal=diagonal)
        twin._remember()  # noqa: SLF001 -- of its own class
        return twin

    def run(self, pictures: Array, last: int | None = None) -> FloatArray:
        """Run a batch of pictures of one size up to a layer.

        Parameters
        ----------
        pictures : array (N, H, W, 3), uint8 or float32
            Red, green, blue, 0..255; H and W at least the network's input size.
        last : int, optional
            The layer whose output is wanted; by default the last.

        Returns
        -------
        array (N, H', W', C) float32
            A new array.
        """
        return self.begin(pictures, last)()

    def begin(self, pictures: Array, last: int | None = None) -> Callable[[], FloatArray]:
        """Begin what `run` does; return a function that waits for the result and returns it.

        A processor is done before this returns.  On a device that computes by itself the next batch can be
        begun in the meantime, and `seconds` holds the time it took to queue each layer.
        """
        last = self.topology.last_layer if last is None else last
        wait = self.begin_layers(pictures, (last,))
        return lambda: wait()[last]

    def begin_layers(
        self, pictures: Array | Sequence[Array], layers: Iterable[int]
    ) -> Callable[[], dict[int, FloatArray]]:
        """Begin to run a batch, or pictures of one shape, once for the outputs of several layers; see `begin`."""
        layers = tuple(layers)
        kept = kept_layers(self.topology, layers)
        with self.backend.computing():
            x = self.backend.upload(pictures)
            algorithms = self._choose(x, kept)
            maps = (self._replay if self._is_recorded(algorithms, x, kept) else self._fold)(algorithms, x, kept)
            for number in layers:
                layer = self.topology.layers[number]
                if isinstance(layer, Pad | Softmax):
                    start = perf_counter()
                    maps[number] = layer(maps[number - 1], self.backend)
                    self.seconds[number] += perf_counter() - start
            waiting = {number: self.backend.download(maps[number]) for number in layers}
        return lambda: {number: wait() for number, wait in waiting.items()}

    def _choose(self, x: Array, kept: tuple[int, ...]) -> Algorithms:
        """Choose an algorithm for each convolution up to the last of the layers that are kept."""
        pictures, height, width, _ = x.shape
        geometries = self._geometries(height, width, kept)
        return {
            number: self.convolutions[number].choose(pictures * copies, *wanted)
            for number, copies, wanted in geometries
        }

    def _is_recorded(self, algorithms: Algorithms, x: Array, kept: tuple[int, ...]) -> bool:
        """Tell whether the pass becomes a program: on a processor, where compiled kernels compute every step."""
        compiler = self.backend.compiler
        if compiler is None or not algorithms:
            return bool(algorithms) and self.backend.records(x)
        if not all(one.is_compiled for one in algorithms.values()):
            return False
        # The end of a convolution that is computed by itself.
        ends = [step for step in steps(self.topology, *kept) if isinstance(self.topology.layers[step[0]], ENDS)]
        before = [max(number for number in algorithms if number < step[0]) for step in ends]
        return all(fills_vectors(len(self.convolutions[number].bias), compiler) for number in before)

    def _fold(self, algorithms: Algorithms, x: Array, kept: tuple[int, ...]) -> dict[int, FloatArray]:
        """Run step after step."""
        maps, start = {}, perf_counter()
        for number, y in self._maps(algorithms, x, kept):
            now = perf_counter()
            self.seconds[number] += now - start
            start = now
            if number in kept:
                maps[number] = y
        return maps

    def _maps(
        self, algorithms: Algorithms, x: Array, kept: tuple[int, ...], *, is_recorded: bool = False
    ) -> Iterator[tuple[int, FloatArray]]:
        """Give the number of the last layer of each step, and its map, in memory of its own if it is kept."""
        for number, step in enumerate(steps(self.topology, *kept)):
            name = None if step[-1] in kept else f"map {number % 2}"
            x = self._run_step(step, algorithms, x, name, is_recorded=is_recorded)
            yield step[-1], x

    def _replay(self, algorithms: Algorithms, x: Array, kept: tuple[int, ...]) -> dict[int, FloatArray]:
        """Run all steps as one program, recorded the first time."""
        x = self.backend.xp.ascontiguousarray(x, np.uint8 if x.dtype == np.uint8 else np.float32)
        # Packing weights drops the programs that point to those packed before; so it comes first.
        for number, algorithm in algorithms.items():
            self.convolutions[number].pack(algorithm)
        last_pool = self.topology.layers[self.topology.last_pool]  # all that twins differ in
        key = x.shape, x.dtype, kept, last_pool, *map(str, algorithms.values())
        program = self._programs.pop(key, None) or self._record(algorithms, x, kept)
        self._programs[key] = program  # the last one, as it was used last
        if len(self._programs) > _PROGRAMS_KEPT:
            del self._programs[next(iter(self._programs))]
        maps, times = self.backend.replay(program, x)
        for step, seconds in zip(steps(self.topology, *kept), program.step_seconds(times), strict=True):
            self.seconds[step[-1]] += seconds
        return dict(zip(kept, maps, strict=True))

    def _record(self, algorithms: Algorithms, x: Array, kept: tuple[int, ...]) -> Recorded:
        def compute(recording: Recording, x: Array) -> list[FloatArray]:
            maps = []
            for number, y in self._maps(algorithms, x, kept, is_recorded=True):
                recording.end_step()
                if number in kept:
                    maps.append(y)
            return maps

        return self.backend.record(compute, x)

    def check_reproducible(self) -> None:
        """Raise BackendError where results can't be reproducible, before any picture is read."""
        side = self.topology.input_size
        for number, copies, wanted in self._geometries(side, side, (self.topology.last_layer,)):
            self.convolutions[number].choose(copies, *wanted)

    def needed_bytes(self, pictures: int, height: int, width: int, *layers: int) -> int:
        """Bound the memory that a batch takes: its maps and workspaces, beside the weights; by default to the end."""
        return self._needed_bytes(
            pictures, height, width, layers or (self.topology.last_layer,), self.backend.compiler
        )

    def check_memory(self, pictures: int, height: int, width: int, *layers: int) -> None:
        """Refuse a batch whose maps don't fit in the memory that is free, before they are begun.

        Raises
        ------
        MemoryShortageError
            They don't.
        """
        needed = self.needed_bytes(pictures, height, width, *layers)
        if needed <= min(self._fitted_bytes, _SMALL_BYTES):
            return
        free = self.backend.free_bytes()
        if free is not None and needed > free:
            raise MemoryShortageError(
                f"{width}x{height} needs {needed / 1e9:.2f} GB of memory, {free / 1e9:.2f} GB are free"
            )
        self._fitted_bytes = max(self._fitted_bytes, needed)

    def usual_batch(self, height: int | None = None, width: int | None = None) -> int:
        """Give the usual number of pictures in a batch: the device's, halved until their maps fit."""
        count, side = self.backend.usual_batch, self.topology.input_size
        while count > 1 and self.needed_bytes(count, height or side, width or side) > _BATCH_BYTES:
            count //= 2
        return count

    def _run_step(
        self, step: tuple[int, ...], algorithms: Algorithms, x: Array, name: str | None, *, is_recorded: bool = False
    ) -> Array:
        """Run layers that are computed in one go; the result goes into the workspace of this name, if there is one."""
        allocate = None if name is None else partial(self.backend.workspace, name)
        for number in step:
            if number in algorithms:
                epilogue = epilogue_of(self.topology, step)
                return self.convolutions[number].run(algorithms[number], x, *epilogue, allocate)
        match self.topology.layers[step[0]]:
            case Normalise() | FragmentPool() as layer:
                return layer(x, self.backend, allocate, self.backend.compiler if is_recorded else None)
            case Rectify() | MaxPool():
                compiler, wanted = self.backend.compiler if is_recorded else None, epilogue_of(self.topology, step)
                return finish(x, *wanted, allocate or self.backend.empty, self.backend, compiler)
            case layer:
                raise NotImplementedError(f"{layer} in the middle of a network")
