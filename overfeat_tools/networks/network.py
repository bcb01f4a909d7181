"""The networks as tables of layers, and the fold that runs them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray
from overfeat_tools.errors import UsageError
from overfeat_tools.networks.layers import (
    Budget,
    Convolution,
    Convolve,
    Layer,
    MaxPool,
    Normalise,
    Pad,
    Rates,
    Rectify,
    Softmax,
)
from overfeat_tools.networks.weights import PACKAGED, KernelShape, map_weights, weights_folder

CHANNELS = 3
SPECTRA_LIMIT_BYTES = 1536 << 20
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Topology:
    """A network without its weights.

    `input_size` is the side of the smallest picture, which gives one place in the last map;
    `feature_layer` the layer that `of-features` prints.  A `packaged` network's weights come with
    the package.
    """

    name: str
    input_size: int
    feature_layer: int
    weight_file: str
    class_file: str
    layers: tuple[Layer, ...]
    packaged: bool = False

    def shapes(self, height: int, width: int) -> list[Shape]:
        """Give the output shape (C, H, W) of every layer for one picture size."""
        shape, shapes = (CHANNELS, height, width), []
        for layer in self.layers:
            shape = layer.output_shape(shape)
            shapes.append(shape)
        return shapes

    @property
    def kernel_shapes(self) -> list[KernelShape]:
        """Give the kernels' shape (K, C, kh, kw) of every convolution."""
        inputs = [(CHANNELS, 0, 0), *self.shapes(self.input_size, self.input_size)]
        return [
            layer.weight_shape(shape)
            for layer, shape in zip(self.layers, inputs, strict=False)
            if isinstance(layer, Convolve)
        ]

    def least_side(self, last: int) -> int:
        """Give the side of the smallest square picture for which a layer has an output."""
        side = 1
        while any(min(shape[1:]) < 1 for shape in self.shapes(side, side)[: last + 1]):
            side += 1
        return side

    @property
    def last_layer(self) -> int:
        """Number of the last layer, the softmax."""
        return len(self.layers) - 1


_NORMALISE = Normalise(mean=118.380948, deviation=61.896913)


def _convolve(channels: int, size: int, stride: int = 1, *, pad: int = 0) -> tuple[Layer, ...]:
    return (*((Pad(pad),) if pad else ()), Convolve(channels, size, stride), Rectify())


FAST = Topology(
    "fast", input_size=231, feature_layer=19, weight_file="net_weight_0", class_file="classes.tsv",
    layers=(
        _NORMALISE,
        *_convolve(96, 11, 4), MaxPool(2),
        *_convolve(256, 5), MaxPool(2),
        *_convolve(512, 3, pad=1),
        *_convolve(1024, 3, pad=1),
        *_convolve(1024, 3, pad=1), MaxPool(2),
        *_convolve(3072, 6),
        *_convolve(4096, 1),
        Convolve(1000, 1), Softmax(),
    ),
)  # fmt: skip

ACCURATE = Topology(
    "accurate", input_size=221, feature_layer=22, weight_file="net_weight_1", class_file="classes.tsv",
    layers=(
        _NORMALISE,
        *_convolve(96, 7, 2), MaxPool(3),
        *_convolve(256, 7), MaxPool(2),
        *_convolve(512, 3, pad=1),
        *_convolve(512, 3, pad=1),
        *_convolve(1024, 3, pad=1),
        *_convolve(1024, 3, pad=1), MaxPool(3),
        *_convolve(4096, 5),
        *_convolve(4096, 1),
        Convolve(1000, 1), Softmax(),
    ),
)  # fmt: skip

TINY = Topology(
    "tiny", input_size=231, feature_layer=19, weight_file="net_weight_tiny", class_file="classes_tiny.tsv",
    layers=(
        _NORMALISE,
        *_convolve(32, 11, 4), MaxPool(2),
        *_convolve(48, 5), MaxPool(2),
        *_convolve(48, 3, pad=1),
        *_convolve(64, 3, pad=1),
        *_convolve(64, 3, pad=1), MaxPool(2),
        *_convolve(96, 6),
        *_convolve(96, 1),
        Convolve(26, 1), Softmax(),
    ),
    packaged=True,
)  # fmt: skip

TOPOLOGIES = {topology.name: topology for topology in (TINY, FAST, ACCURATE)}


class Network:
    """A network with its weights, ready to run.

    Parameters
    ----------
    topology : Topology
        Which network.
    folder : Path, optional
        Where its weight file lies; by default where `weights_folder` says.
    backend : Backend
        Where to compute.
    method : str
        How to convolve; see `convolution.Convolution`.
    spectra_limit_bytes : int, optional
        The most memory for kernels' spectra.
    rates : Rates, optional
        What the machine does in a second; see `convolution.Convolution`.

    Raises
    ------
    WeightsError
        The weight file is missing or has the wrong size.
    """

    def __init__(
        self,
        topology: Topology,
        folder: Path | None,
        backend: Backend,
        method: str = "auto",
        spectra_limit_bytes: float = SPECTRA_LIMIT_BYTES,
        rates: Rates | None = None,
    ) -> None:
        self.topology = topology
        self.backend = backend
        where = PACKAGED if topology.packaged else weights_folder(folder)
        parameters = iter(map_weights(where / topology.weight_file, topology.kernel_shapes, topology.name))
        self.seconds: dict[int, float] = dict.fromkeys(range(len(topology.layers)), 0.0)
        budget = Budget(spectra_limit_bytes)
        self.convolutions: dict[int, Convolution] = {}
        for number, layer in enumerate(topology.layers):
            if isinstance(layer, Convolve):
                weight, bias = next(parameters)
                before = topology.layers[number - 1]
                self.convolutions[number] = Convolution(
                    weight, bias, backend=backend, stride=layer.stride, method=method, budget=budget, rates=rates,
                    padding=before.width if isinstance(before, Pad) else 0,
                )  # fmt: skip

    def run(self, pictures: Array, last: int | None = None) -> FloatArray:
        """Run a batch of pictures of one size up to a layer.

        Parameters
        ----------
        pictures : array (N, 3, H, W), uint8 or float32
            Red, green, blue, 0..255; H and W at least the network's input size.
        last : int, optional
            The layer whose output is wanted; by default the last.

        Returns
        -------
        array (N, C, H', W') float32
            A new array, in any memory order.
        """
        return self.begin(pictures, last)()

    def begin(self, pictures: Array, last: int | None = None) -> Callable[[], FloatArray]:
        """Begin what `run` does; give a function that waits for the result and gives it.

        A processor is done before this returns.  On a device that computes by itself the next batch can be
        begun in the meantime, and `seconds` holds the time it took to queue each layer.
        """
        with self.backend.computing():
            x = self.backend.upload(pictures)
            last = self.topology.last_layer if last is None else last
            for number, step in enumerate(steps(self.topology, last)):
                start = perf_counter()
                x = self._step(step, x, None if step[-1] == last else f"map {number % 2}")
                self.seconds[step[-1]] += perf_counter() - start
            return self.backend.download(x)

    def _step(self, step: tuple[int, ...], x: Array, use: str | None) -> Array:
        """Run layers that are computed in one go; `use` names the memory for what only the next step will see."""
        room = None if use is None else partial(self.backend.scratch, use, dtype=np.float32)
        first = next((number for number in step if number in self.convolutions), None)
        if first is None:
            (number,) = step
            layer = self.topology.layers[number]
            if isinstance(layer, Normalise):
                return layer(x, self.backend, room)
            assert not isinstance(layer, Convolve)  # noqa: S101 -- for the type checker: those are in `convolutions`
            return layer(x, self.backend)
        return self.convolutions[first](x, *ending(self.topology, step), room)


# Layers that are computed together with the one before them, if that is of the kind named.
_JOINED_BY: dict[type[Layer], type[Layer]] = {Convolve: Pad, Rectify: Convolve, MaxPool: Rectify}


@lru_cache
def steps(topology: Topology, last: int) -> tuple[tuple[int, ...], ...]:
    """Group the layers up to `last` into steps that are computed in one go.

    Padding is done by the convolution that follows, and so are the rectifier and the pool after it:
    none needs a pass over memory of its own.
    """

    def grow() -> Iterator[tuple[int, ...]]:
        step: tuple[int, ...] = ()
        for number in range(last + 1):
            layer = topology.layers[number]
            before = topology.layers[step[-1]] if step else None
            joins = isinstance(before, _JOINED_BY.get(type(layer), ()))
            if step and not joins:
                yield step
                step = ()
            step = (*step, number)
        yield step

    return tuple(grow())


def ending(topology: Topology, step: tuple[int, ...]) -> tuple[float | None, int]:
    """Give the threshold of a step's rectifier, None without one, and the squares of its pool, 1 without one."""
    threshold, squares = None, 1
    for number in step:
        match topology.layers[number]:
            case Rectify() as after:
                threshold = after.threshold
            case MaxPool() as after:
                squares = after.size
    return threshold, squares


def describe(topology: Topology, height: int, width: int) -> list[tuple[object, ...]]:
    """Make the table of layers for one picture size: heading, then a row a layer.

    Raises
    ------
    UsageError
        The picture is too small for the network.
    """
    shapes = topology.shapes(height, width)
    least = topology.input_size
    if min(height, width) < least:
        message = f"--input {height}x{width}: smaller than {least}x{least}"
        raise UsageError(message)
    kernels = iter(topology.kernel_shapes)
    rows: list[tuple[object, ...]] = [("layer", "kind", "channels", "height", "width", "parameters", "what")]
    for number, (layer, shape) in enumerate(zip(topology.layers, shapes, strict=True)):
        kernel = next(kernels) if isinstance(layer, Convolve) else None
        parameters = math.prod(kernel) + kernel[0] if kernel else 0
        rows.append((number, type(layer).__name__.lower(), *shape, parameters, _what(layer)))
    return rows


def _what(layer: Layer) -> str:
    match layer:
        case Normalise():
            return f"(x - {layer.mean}) / {layer.deviation}"
        case Convolve():
            return f"{layer.size}x{layer.size}, stride {layer.stride}"
        case Rectify():
            return f"0 unless above {layer.threshold:g}"
        case MaxPool():
            return f"{layer.size}x{layer.size}"
        case Pad():
            return f"{layer.width} on each side"
        case Softmax():
            return "over the channels"


def describe_plans(network: Network) -> list[tuple[object, ...]]:
    """Make the table of what was computed: heading, then a row a step with its time and methods."""
    total = sum(network.seconds.values()) or 1.0
    rows: list[tuple[object, ...]] = [("layer", "kind", "seconds", "share", "how (batches)")]
    for step in steps(network.topology, network.topology.last_layer):
        # A run that stops early ends its last step early.
        for count in range(1, len(step) + 1):
            seconds = network.seconds[step[count - 1]]
            if seconds:
                layers = step[:count]
                used = [network.convolutions[number].used for number in layers if number in network.convolutions]
                how = ", ".join(f"{way} ({times})" for ways in used for way, times in ways.items())
                kinds = [type(network.topology.layers[number]).__name__.lower() for number in layers]
                rows.append((layers[-1], "+".join(kinds), f"{seconds:.3f}", f"{seconds / total:.1%}", how))
    return rows
