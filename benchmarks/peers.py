"""ONNX Runtime and OpenVINO as peers: the same networks with the same weights as ONNX models.

A model is a small file beside a copy of the weight file, which it refers to as external data: ONNX
Runtime then maps the weights instead of parsing half a gigabyte, and models of several layers share
them.  Models take any number and size of pictures.
"""

import hashlib
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from overfeat_tools.networks.layers import Convolve, FragmentPool, MaxPool, Normalise, Pad, Rectify, Softmax
from overfeat_tools.networks.topology import Topology
from overfeat_tools.networks.weights import find_parameters

Array = npt.NDArray[Any]

BFLOAT16 = "OpenVINO, bf16"

_SAMPLE_BYTES = 1 << 20
# Old enough for every ONNX Runtime of these years.
_OPSET, _IR_VERSION = 17, 8


class OnnxPeer:
    """A network in ONNX Runtime, up to one layer.

    Calling it with pictures (N, 3, H, W) float32 gives that layer.
    """

    batches = (1, 8)  # that may suit it better than many pictures at a time

    def __init__(self, topology: Topology, weights: Path, cache: Path, threads: int, last: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Its threads may spin while it works, but not into the other side's turn.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        model = ensure_model(topology, weights, cache, last)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, pictures: Array) -> Array:
        """Run a batch."""
        result: Array = self._session.run(None, {"pictures": pictures})[0]
        return result


class OpenVinoPeer:
    """A network in OpenVINO, up to one layer, in float32 or, for information, in bfloat16.

    Calling it is as calling the other peer.  Each size of a batch has a model of its own, compiled when it first comes.
    """

    batches = ()  # the larger, the faster

    def __init__(
        self, topology: Topology, weights: Path, cache: Path, threads: int, last: int | None = None,
        precision: str = "f32",
    ) -> None:  # fmt: skip
        import openvino

        self._core = openvino.Core()
        self._core.set_property(
            "CPU",
            {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"},
        )
        self._model = self._core.read_model(ensure_model(topology, weights, cache, last))
        self._requests: dict[tuple[int, ...], Any] = {}

    def __call__(self, pictures: Array) -> Array:
        """Run a batch."""
        request = self._requests.get(pictures.shape)
        if request is None:
            model = self._model.clone()
            model.reshape(list(pictures.shape))
            request = self._requests[pictures.shape] = self._core.compile_model(model, "CPU").create_infer_request()
        result: Array = request.infer({0: pictures})[0]
        return result

    @staticmethod
    def has_bfloat16() -> bool:
        """Tell whether the processor computes in bfloat16; else OpenVINO would compute in float32."""
        import openvino

        return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def in_batches(peer: "Peer", pictures: Array, batch: int) -> list[Array]:
    """Run pictures in batches of a size."""
    return [peer(pictures[start : start + batch]) for start in range(0, len(pictures), batch)]


Peer = OnnxPeer | OpenVinoPeer


def ensure_model(topology: Topology, weights: Path, cache: Path, last: int | None = None) -> Path:
    """Make the model of a network up to a layer unless it is there; give its path."""
    folder = cache / "onnx" / f"{topology.name}-{_fingerprint(weights)}"
    dense = "-dense" if isinstance(topology.layers[topology.last_pool], FragmentPool) else ""
    model = folder / f"{topology.name}{dense}{'' if last is None else f'-layer{last}'}.onnx"
    copy = folder / weights.name
    if not copy.exists() or copy.stat().st_size != weights.stat().st_size:
        folder.mkdir(parents=True, exist_ok=True)
        part = copy.with_suffix(".part")
        part.unlink(missing_ok=True)
        try:
            os.link(weights.resolve(), part)
        except OSError:  # another file system
            shutil.copyfile(weights, part)
        part.replace(copy)
    if not model.exists():
        part = model.with_suffix(".part")
        part.write_bytes(_model(topology, weights, topology.last_layer if last is None else last))
        part.replace(model)
    return model


def _fingerprint(weights: Path) -> str:
    """Tell weight files apart by size, start and end: reading it all would take a second each time."""
    size = weights.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with weights.open("rb") as file:
        digest.update(file.read(_SAMPLE_BYTES))
        file.seek(-_SAMPLE_BYTES, os.SEEK_END)
        digest.update(file.read())
    return digest.hexdigest()[:12]


def _model(topology: Topology, weights: Path, last: int) -> bytes:
    graph = _Graph(weights.name)
    with weights.open("rb") as file:
        places = find_parameters(file, topology.kernel_shapes, topology.parameter_names)
    kernels = zip(topology.kernel_shapes, places, strict=True)
    pad, dilation = 0, 1
    for number, layer in enumerate(topology.layers[: last + 1]):
        match layer:
            case Normalise():
                graph.add("Sub", graph.constant("mean", layer.mean))
                graph.add("Div", graph.constant("deviation", layer.deviation))
            case Pad():
                pad = layer.width
            case Convolve():
                shape, (weight, bias) = next(kernels)
                kernels_name = graph.mapped(f"weight{number}", shape, weight)
                bias_name = graph.mapped(f"bias{number}", shape[:1], bias)
                dilations = [dilation if layer.size > 1 else 1] * 2
                strides = [layer.stride] * 2
                graph.add("Conv", kernels_name, bias_name, strides=strides, pads=[pad] * 4, dilations=dilations)
                pad = 0
            case Rectify():
                graph.add("Relu")
            case MaxPool():
                graph.add("MaxPool", kernel_shape=[layer.size] * 2, strides=[layer.size] * 2)
            case FragmentPool():
                # Not in fragments but, as others would do it, at every place, for a classifier with gaps.
                graph.add("MaxPool", kernel_shape=[layer.size] * 2, strides=[1, 1])
                dilation = layer.size
            case Softmax():
                graph.add("Softmax", axis=1)
    return graph.model(topology.name)


class _Graph:
    """A chain of operations under construction; `value` is the name of the last one's result."""

    def __init__(self, weight_file: str) -> None:
        self.value = "pictures"
        self._weight_file = weight_file
        self._nodes: list[Any] = []
        self._tensors: list[Any] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> None:  # noqa: ANN401 -- whatever onnx takes
        """Apply an operation to the last value."""
        from onnx import helper

        value = f"value{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, [self.value, *inputs], [value], **attributes))
        self.value = value

    def constant(self, name: str, number: float | tuple[float, ...]) -> str:
        """Add a number, or one for each channel; give its name."""
        from onnx import numpy_helper

        self._tensors.append(numpy_helper.from_array(np.array(number, np.float32).reshape(-1, 1, 1), name))
        return name

    def mapped(self, name: str, shape: tuple[int, ...], offset: int) -> str:
        """Add the tensor of the weight file that begins at a byte; give its name."""
        from onnx import TensorProto

        tensor = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
        length = 4 * math.prod(shape)
        for key, entry in (("location", self._weight_file), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(entry))
        self._tensors.append(tensor)
        return name

    def model(self, name: str) -> bytes:
        """Give the finished file."""
        from onnx import TensorProto, helper

        pictures = helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["n", 3, "h", "w"])
        result = helper.make_tensor_value_info(self.value, TensorProto.FLOAT, None)
        graph = helper.make_graph(self._nodes, name, [pictures], [result], self._tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
        return bytes(model.SerializeToString())
