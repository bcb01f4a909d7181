"""The networks in other programs' hands: as a module of PyTorch, or as a file for ONNX's runtimes.

Both are made from the table of layers and the weights, and checked against this package's own engine when they are
made.  They take red, green and blue as float32 from 0 to 255, (N, 3, H, W), of any size that the layer allows; the
normalisation is their first layer.  The libraries are optional, and imported late.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from overfeat_tools.errors import OverfeatError, UsageError
from overfeat_tools.library import Network
from overfeat_tools.library.arguments import Layer, check_path

if TYPE_CHECKING:
    from overfeat_tools.interop.torch_module import TorchNetwork
    from overfeat_tools.networks.network import Network as Engine

__all__ = ["to_onnx", "to_torch"]


def to_torch(net: Network) -> "TorchNetwork":
    """Make a module of PyTorch of a network.

    Parameters
    ----------
    net : Network

    Returns
    -------
    TorchNetwork
        On the processor, in float32, with a copy of the weights.

    Raises
    ------
    UsageError
        This is no network.
    OverfeatError
        PyTorch is not installed, or its numbers are not ours.
    """
    engine = _engine_of(net)
    try:
        from overfeat_tools.interop.torch_module import checked_module
    except ModuleNotFoundError as error:
        raise _not_installed("torch") from error
    return checked_module(engine)


def to_onnx(net: Network, path: str | Path, layer: Layer = "probabilities", *, external_data: bool = False) -> None:
    """Write a network, up to a layer, as an ONNX file, which appears whole and checked or not at all.

    Parameters
    ----------
    net : Network
    path : str or Path
        What is there is replaced.
    layer : int or str
        The layer that the model gives: its number, "features", "scores" or "probabilities", which are the last.
    external_data : bool
        Leave the weights in a file of their own beside the model, which models of several layers share.  It is the
        network's weight file: a link to it, or a copy where it lies on another disk.

    Raises
    ------
    UsageError
        There is no such layer, or this is no network.
    OverfeatError
        onnx or ONNX Runtime is not installed, the file can't be written, or ONNX Runtime's numbers are not ours.

    Notes
    -----
    The operators are those of ONNX 1.12 (opset 17).  The input is `pictures`, the output `layer` and its number.
    `metadata_props` hold `network`, `layer`, `input`, and `classes`, a list of WordNet ids and names in JSON.
    """
    engine = _engine_of(net)
    check_path("path", path, "a file")
    try:
        from overfeat_tools.interop.onnx_file import write_checked
    except ModuleNotFoundError as error:
        raise _not_installed("onnx") from error
    write_checked(engine, Path(path), net.layer_number(layer), external_data=external_data)


def _engine_of(net: Network) -> "Engine":
    if not isinstance(net, Network):
        raise UsageError(f"a Network expected; {type(net).__name__} came")
    return net.engine


def _not_installed(extra: str) -> OverfeatError:
    return OverfeatError(f"this needs packages that are not installed: pip install 'overfeat_tools[{extra}]'")
