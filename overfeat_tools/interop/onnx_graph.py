"""A network as a graph of ONNX."""

import json
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from overfeat_tools import __version__
from overfeat_tools.backend import Array
from overfeat_tools.networks.classes import read_classes
from overfeat_tools.networks.layers import Convolve, MaxPool, Normalise, Pad, Rectify, Softmax
from overfeat_tools.networks.network import Network as Engine
from overfeat_tools.networks.topology import CHANNELS

OPSET, IR_VERSION = 17, 8
"""Old enough for the runtimes of these years."""

Places = dict[int, tuple[int, int]]
"""The bytes at which the kernels and the biases of a convolution begin, by the number of its layer."""


def model_of(engine: Engine, last: int, places: Places | None = None) -> ModelProto:
    """Make the model of a network up to a layer; the result of layer 7 is called `layer7`.

    Parameters
    ----------
    engine : Network
    last : int
        The layer.
    places : dict of int to (int, int), optional
        Where the weight file, which then stays a file of its own, has the numbers of each convolution.
    """
    topology = engine.topology
    chain = _Chain(engine, last, places)
    for number in range(last + 1):
        chain.add_layer(number)
    channels = topology.shapes(topology.input_size, topology.input_size)[last][0]
    shape: list[str | int | None] = ["N", channels, "H_out", "W_out"]
    chain.graph.input.append(helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["N", CHANNELS, "H", "W"]))
    chain.graph.output.append(helper.make_tensor_value_info(f"layer{last}", TensorProto.FLOAT, shape))
    least = topology.least_side(last)
    helper.set_model_props(chain.model, {
        "network": topology.name, "layer": str(last), "input": f"RGB, 0 to 255, at least {least}x{least}",
        "classes": json.dumps([(each.wnid, each.name) for each in read_classes(topology)]),
    })  # fmt: skip
    return chain.model


class _Chain:
    """Operations one after another in a model under construction, in which they are made, as copies would be large."""

    def __init__(self, engine: Engine, last: int, places: Places | None) -> None:
        self._engine, self._last, self._places = engine, last, places
        self._value = "pictures"
        self.model = ModelProto(ir_version=IR_VERSION, producer_name="overfeat_tools", producer_version=__version__)
        self.model.opset_import.append(helper.make_opsetid("", OPSET))
        self.graph = self.model.graph
        self.graph.name = engine.topology.name

    def add_layer(self, number: int) -> None:
        """Apply a layer to the last value."""
        layers = self._engine.topology.layers
        match layers[number]:
            case Normalise() as layer:
                for kind, numbers in (("Sub", layer.mean), ("Div", layer.deviation)):
                    self._add(number, kind, self._constant(kind.lower(), np.array(numbers, "<f4").reshape(-1, 1, 1)))
            case Pad() as layer:
                if number == self._last:  # else the convolution pads
                    around = np.array([0, 0, layer.width, layer.width] * 2, "<i8")
                    self._add(number, "Pad", self._constant("pads", around))
            case Convolve() as layer:
                before = layers[number - 1]
                pads = [before.width if isinstance(before, Pad) else 0] * 4
                self._add(number, "Conv", *self._parameters(number), strides=[layer.stride] * 2, pads=pads)
            case Rectify() as layer:
                # x > alpha ? x : 0.  Runtimes join Relu to the convolution before, but it was no faster.
                self._add(number, "ThresholdedRelu", alpha=layer.threshold)
            case MaxPool() as layer:
                self._add(number, "MaxPool", kernel_shape=[layer.size] * 2, strides=[layer.size] * 2)
            case Softmax():
                self._add(number, "Softmax", axis=1)

    def _add(self, number: int, kind: str, *inputs: str, **attributes: Any) -> None:  # noqa: ANN401 -- whatever onnx takes
        value = "centred" if kind == "Sub" else f"layer{number}"
        self.graph.node.append(helper.make_node(kind, [self._value, *inputs], [value], f"{kind}{number}", **attributes))
        self._value = value

    def _constant(self, name: str, array: Array) -> str:
        """Add a tensor of little-endian numbers; give its name."""
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        self.graph.initializer.add(name=name, dims=array.shape, data_type=kind, raw_data=array.tobytes())
        return name

    def _parameters(self, number: int) -> list[str]:
        """Add a convolution's kernels and biases; give their names."""
        convolution = self._engine.convolutions[number]
        names = [f"weight{number}", f"bias{number}"]
        arrays = [convolution.weight, convolution.bias]
        if self._places is None:
            return list(map(self._constant, names, arrays))
        for name, array, offset in zip(names, arrays, self._places[number], strict=True):
            tensor = self.graph.initializer.add(name=name, dims=array.shape, data_type=TensorProto.FLOAT)
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": self._engine.weight_file.name, "offset": offset, "length": array.nbytes}
            for key, entry in place.items():
                tensor.external_data.add(key=key, value=str(entry))
        return names
