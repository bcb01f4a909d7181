"""The demonstration network: its layers, and its weight file."""

from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.classes import CLASSES

# Channels between the convolutions, from the picture to the classes.
CHANNELS: Final = (3, 32, 48, 48, 64, 64, 96, 96, len(CLASSES))
# Kernel, stride and padding of each convolution, and whether a pool follows it.
_GEOMETRY: Final = (
    (11, 4, 0, True),
    (5, 1, 0, True),
    (3, 1, 1, False),
    (3, 1, 1, False),
    (3, 1, 1, True),
    (6, 1, 0, False),
    (1, 1, 0, False),
    (1, 1, 0, False),
)
MEAN: Final = 118.380948
DEVIATION: Final = 61.896913


def build(*, trainable: bool) -> nn.Sequential:
    """Build the network from the normalised picture to the class scores.

    Parameters
    ----------
    trainable : bool
        Whether batch normalisation stands in place of the biases. It speeds
        training up and is folded away before the weights are written.
    """
    layers: list[nn.Module] = []
    last = len(_GEOMETRY) - 1
    for i, (few, many) in enumerate(pairwise(CHANNELS)):
        kernel, stride, padding, pooled = _GEOMETRY[i]
        plain = not trainable or i == last
        layers.append(nn.Conv2d(few, many, kernel, stride, padding, bias=plain))
        if not plain:
            layers.append(nn.BatchNorm2d(many))
        if i < last:
            layers.append(nn.ReLU())
        if pooled:
            layers.append(nn.MaxPool2d(2))
    network = nn.Sequential(*layers, nn.Flatten())
    for parameter in network.parameters():
        if parameter.dim() == 4:
            # Channels last is the order in which processors convolve fastest.
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def to_input(pictures: NDArray[np.uint8], room: Tensor) -> Tensor:
    """Shift and scale pictures as the network's first layer does.

    Parameters
    ----------
    pictures : numpy.ndarray
        Bytes, count by height by width by 3.
    room : torch.Tensor
        Floats of the same shape, or of more pictures, to overwrite.
    """
    part = room[: len(pictures)]
    part.copy_(torch.from_numpy(pictures))
    part.sub_(MEAN).div_(DEVIATION)
    return part.permute(0, 3, 1, 2)


def fold(network: nn.Sequential) -> list[tuple[Tensor, Tensor]]:
    """Return kernels and biases with the normalisations folded into them."""
    folded: list[tuple[Tensor, Tensor]] = []
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            bias = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias
            folded.append((layer.weight.detach().double(), bias.detach().double()))
        elif isinstance(layer, nn.BatchNorm2d):
            kernel, bias = folded.pop()
            mean, variance = layer.running_mean, layer.running_var
            if mean is None or variance is None:
                message = "a normalisation without running statistics cannot be folded"
                raise ValueError(message)
            gain = layer.weight.detach().double() / (variance.double() + layer.eps).sqrt()
            shift = layer.bias.detach().double() - gain * mean.double()
            folded.append((kernel * gain[:, None, None, None], bias * gain + shift))
    return folded


def save_weights(network: nn.Sequential, path: Path) -> None:
    """Write kernels and biases as little-endian floats, one after another."""
    parts = [part for pair in fold(network) for part in pair]
    flat = np.concatenate([part.contiguous().numpy().ravel() for part in parts])
    path.write_bytes(flat.astype("<f4").tobytes())


def load_weights(path: Path) -> nn.Sequential:
    """Read a weight file into a network without normalisations."""
    flat = torch.from_numpy(np.fromfile(path, "<f4").astype(np.float32))
    network = build(trainable=False)
    start = 0
    for layer in network:
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            for target in (layer.weight, layer.bias):
                piece = flat[start : start + target.numel()]
                target.data = piece.reshape(target.shape).clone()
                start += target.numel()
    if start != flat.numel():
        message = f"{path}: {flat.numel()} numbers, expected {start}"
        raise ValueError(message)
    return network.eval()
