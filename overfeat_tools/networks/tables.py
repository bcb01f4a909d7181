"""Tables for people: a network's layers, and what was computed how."""

import math

from overfeat_tools.errors import UsageError
from overfeat_tools.networks.layers import Convolve, Layer, MaxPool, Normalise, Pad, Rectify, Softmax
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.steps import steps
from overfeat_tools.networks.topology import Topology


def describe(topology: Topology, height: int, width: int) -> list[tuple[object, ...]]:
    """Make the table of layers for one picture size: heading, then a row a layer.

    Raises
    ------
    UsageError
        The picture is too small for the network.
    """
    shapes = topology.shapes(height, width)
    if min(height, width) < topology.input_size:
        raise UsageError(f"--input {height}x{width}: smaller than {topology.input_size}x{topology.input_size}")
    sizes = iter([math.prod(kernel) + kernel[0] for kernel in topology.kernel_shapes])
    rows: list[tuple[object, ...]] = [("layer", "kind", "channels", "height", "width", "parameters", "what")]
    for number, (layer, shape) in enumerate(zip(topology.layers, shapes, strict=True)):
        parameters = next(sizes) if isinstance(layer, Convolve) else 0
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
                how = ", ".join(f"{name} ({times})" for counter in used for name, times in counter.items())
                kinds = [type(network.topology.layers[number]).__name__.lower() for number in layers]
                rows.append((layers[-1], "+".join(kinds), f"{seconds:.3f}", f"{seconds / total:.1%}", how))
    return rows
