"""ONNX Runtime and OpenVINO as peers: the same networks with the same weights as ONNX models.

A model is a small file beside the weights, its external data: ONNX Runtime then maps them instead of parsing half a
gigabyte, and models of several layers share them.  Models take any number and size of pictures.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy.typing as npt

from overfeat_tools import Network
from overfeat_tools.interop import to_onnx
from overfeat_tools.networks.layers import FragmentPool
from overfeat_tools.networks.topology import Topology

Array = npt.NDArray[Any]

BFLOAT16 = "OpenVINO, bf16"

_SAMPLE_BYTES = 1 << 20


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
    pool = topology.layers[topology.last_pool]
    dense = "-dense" if isinstance(pool, FragmentPool) else ""
    model = folder / f"{topology.name}{dense}{'' if last is None else f'-layer{last}'}.onnx"
    if not model.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with Network(topology.name, weights=weights.parent, device="cpu") as net:
            to_onnx(net, model, topology.last_layer if last is None else last, external_data=True)
        if isinstance(pool, FragmentPool):
            _slide(model, pool.size)
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


def _slide(model: Path, size: int) -> None:
    """Take a model's last pool at every place, as others would do it, for a classifier with gaps."""
    import onnx

    made = onnx.load(model, load_external_data=False)
    pool = max(number for number, node in enumerate(made.graph.node) if node.op_type == "MaxPool")
    for node in made.graph.node[pool:]:
        if node.op_type == "Conv":
            node.attribute.append(onnx.helper.make_attribute("dilations", [size, size]))
    for attribute in made.graph.node[pool].attribute:
        if attribute.name == "strides":
            attribute.ints[:] = [1, 1]
    onnx.save(made, model)
