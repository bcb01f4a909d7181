"""The original's binding for Torch, on the tensors of PyTorch: `overfeat_tools.compat` with pictures from 0 to 1.

The network is the same one.  Numbers of layers and classes begin with 0, as they do in Python.  Tensors may be on any
device; results are new, and on the processor.
"""

from typing import Any

from overfeat_tools import compat
from overfeat_tools.compat import free, get_class_name, get_n_layers, init
from overfeat_tools.errors import OverfeatError, UsageError

try:
    import torch
except ImportError as error:
    raise OverfeatError("overfeat_tools.compat.torch needs PyTorch: pip install torch") from error

__all__ = [
    "fprop", "free", "get_class_name", "get_n_layers", "get_output", "get_top_classes", "init", "soft_max",
]  # fmt: skip


def fprop(image: Any) -> Any:  # noqa: ANN401 -- torch is not there when types are checked
    """Run the network on a picture, a tensor (3, H, W) of floating point from 0 to 1; give scores (classes, H', W').

    Raises
    ------
    UsageError
        There is no network, or this is no picture.
    ImageError
        The picture is too small, or has values that are not finite numbers.
    """
    if not (isinstance(image, torch.Tensor) and image.is_floating_point()):
        kind = image.dtype if isinstance(image, torch.Tensor) else type(image).__name__
        raise UsageError(f"a tensor of floating point from 0 to 1 expected, {kind} came")
    return torch.from_numpy(compat.fprop(_array(image) * 255))


def get_output(i: int) -> Any:  # noqa: ANN401
    """Give the output (C, H', W') of a layer for the picture that `fprop` had last."""
    return torch.from_numpy(compat.get_output(i))


def soft_max(scores: Any) -> Any:  # noqa: ANN401
    """Turn scores (classes, H', W') into probabilities, at each place."""
    return torch.from_numpy(compat.soft_max(_array(scores)))


def get_top_classes(probabilities: Any, n: int) -> list[tuple[str, float]]:  # noqa: ANN401
    """Name the `n` most probable classes of one place, best first."""
    return compat.get_top_classes(_array(probabilities), n)


def _array(tensor: Any) -> Any:  # noqa: ANN401
    return tensor.detach().to("cpu", torch.float32).numpy() if isinstance(tensor, torch.Tensor) else tensor
