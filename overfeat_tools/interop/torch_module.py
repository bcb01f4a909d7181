"""A network as a module of PyTorch, made of its own layers."""

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import nn

from overfeat_tools.backend import FloatArray
from overfeat_tools.interop.check import check
from overfeat_tools.networks.layers import Convolve, Layer, MaxPool, Normalise, Pad, Rectify, Softmax
from overfeat_tools.networks.network import Network as Engine
from overfeat_tools.networks.topology import Topology

Parameters = Iterator[tuple[FloatArray, FloatArray]]


class TorchNetwork(nn.Sequential):
    """A network whose children are its layers, under their numbers: `module[19]`, `module.features`, `module[:20]`.

    It takes red, green and blue from 0 to 255, (N, 3, H, W), and gives the last layer, (N, C, H', W').

    Parameters
    ----------
    layers : OrderedDict of str and Module
    feature_layer : int, optional
    """

    def __init__(self, layers: "OrderedDict[str, nn.Module]", feature_layer: int | None = None) -> None:
        super().__init__(layers)
        self.feature_layer = feature_layer

    @property
    def features(self) -> nn.Module:
        """The layer of the features, before its rectifier."""
        return self.get_submodule(str(self.feature_layer))


class Centre(nn.Module):
    """Centre and scale pixel values: (x - mean) / deviation."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, mean: float | tuple[float, ...], deviation: float | tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).reshape(-1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer."""
        return (x - self.mean) / self.deviation


def checked_module(engine: Engine) -> TorchNetwork:
    """Make a network's module, and compare its features, scores and probabilities, which all layers go into."""
    topology = engine.topology
    module = module_of(topology, iter((each.weight, each.bias) for each in engine.convolutions.values()))

    def run(pictures: FloatArray) -> list[FloatArray]:
        features = module[: topology.feature_layer + 1](torch.from_numpy(pictures))
        scores = module[topology.feature_layer + 1 : -1](features)
        return [x.numpy() for x in (features, scores, module[-1](scores))]

    with torch.no_grad():
        check(engine, (topology.feature_layer, topology.last_layer - 1, topology.last_layer), run, "PyTorch")
    return module


def module_of(topology: Topology, parameters: Parameters) -> TorchNetwork:
    """Make the module of a table of layers, and of the weights and biases of its convolutions."""
    channels = [3, *(shape[0] for shape in topology.shapes(topology.input_size, topology.input_size))]
    layers = [_module(layer, inputs, parameters) for inputs, layer in zip(channels, topology.layers, strict=False)]
    return TorchNetwork(OrderedDict((str(n), layer) for n, layer in enumerate(layers)), topology.feature_layer)


def _module(layer: Layer, channels: int, parameters: Parameters) -> nn.Module:
    match layer:
        case Normalise():
            return Centre(layer.mean, layer.deviation)
        case Convolve():
            # What is made on `meta` has no numbers yet: random ones would take long to draw.
            convolution = nn.Conv2d(channels, layer.channels, layer.size, layer.stride, device="meta")
            weight, bias = (nn.Parameter(torch.tensor(array)) for array in next(parameters))
            convolution.weight, convolution.bias = weight, bias
            return convolution
        case Rectify():
            return nn.Threshold(layer.threshold, 0.0)  # x > threshold ? x : 0
        case MaxPool():
            return nn.MaxPool2d(layer.size)
        case Pad():
            return nn.ZeroPad2d(layer.width)
        case Softmax():
            return nn.Softmax(dim=1)
    raise TypeError(layer)
