"""A network as an ONNX file, which appears when it has been checked."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from overfeat_tools.backend import FloatArray
from overfeat_tools.errors import OverfeatError, UsageError, reason
from overfeat_tools.interop.check import check
from overfeat_tools.interop.onnx_graph import Places, model_of
from overfeat_tools.networks.network import Network as Engine
from overfeat_tools.networks.weights import find_parameters

_ERRORS_ONLY = 3


def write_checked(engine: Engine, path: Path, last: int, *, external_data: bool = False) -> None:
    """Write the file of a network up to a layer; see `to_onnx`."""
    name = engine.weight_file.name
    try:
        path = path.resolve()  # a link stays one
        if path.exists() and not path.is_file():
            raise OverfeatError(f"{path}: not a file")
        if path.name == name:
            raise UsageError(f"{path}: the network's weights have this name")
        # Beside it, as nothing moves in a single step from another disk.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            part = Path(folder, path.name)
            if external_data:
                _put_file(engine.weight_file, Path(folder, name))
            part.write_bytes(model_of(engine, last, _places(engine) if external_data else None).SerializeToString())
            check(engine, [last], lambda pictures: [_run(part, pictures)], "ONNX Runtime")
            if external_data:
                Path(folder, name).replace(path.with_name(name))
            part.replace(path)
    except OSError as error:
        raise OverfeatError(f"{path}: {reason(error)}") from error


def _put_file(source: Path, target: Path) -> None:
    """Give a file another name, or copy it where it can't have one."""
    try:
        target.hardlink_to(source.resolve())
    except OSError:  # it lies on another disk, or belongs to somebody else
        shutil.copyfile(source, target)


def _places(engine: Engine) -> Places:
    topology = engine.topology
    with engine.weight_file.open("rb") as file:
        places = find_parameters(file, topology.kernel_shapes, topology.parameter_names)
    return dict(zip(engine.convolutions, places, strict=True))


def _run(model: Path, pictures: FloatArray) -> FloatArray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    session = onnxruntime.InferenceSession(os.fspath(model), options, providers=["CPUExecutionProvider"])
    result: FloatArray = np.asarray(session.run(None, {"pictures": pictures})[0])
    return result
