"""The networks as tables of layers."""

import math
from dataclasses import dataclass, replace
from itertools import accumulate

from overfeat_tools.networks.layers import (
    Convolve,
    FragmentPool,
    Layer,
    MaxPool,
    Normalise,
    Pad,
    Rectify,
    Shape,
    Softmax,
)
from overfeat_tools.networks.weights import KernelShape, file_name

CHANNELS = 3


@dataclass(frozen=True)
class Topology:
    """A network without its weights.

    `input_size` is the side of the smallest picture, which gives one position in the last map;
    `feature_layer` the layer that `of-features` prints.  `parameter_names` are what a safetensors file
    calls the convolutions; NYU's format has no names.  A `packaged` network's weights come with the package.
    `has_sorted_classes` tells that the last layer has its classes in the order of their WordNet ids, whatever
    their order in the `class_file`.  `mirrored_classes` are pairs of classes that are each other's mirror images.
    """

    name: str
    input_size: int
    feature_layer: int
    weight_file: str
    class_file: str
    layers: tuple[Layer, ...]
    packaged: bool = False
    parameter_names: tuple[str, ...] = ()
    has_sorted_classes: bool = False
    mirrored_classes: tuple[tuple[int, int], ...] = ()

    def shapes(self, height: int, width: int) -> list[Shape]:
        """Give the output shape (C, H, W) of every layer for one picture size."""
        given = (CHANNELS, height, width)
        _, *shapes = accumulate(self.layers, lambda shape, layer: layer.output_shape(shape), initial=given)
        return shapes

    @property
    def kernel_shapes(self) -> list[KernelShape]:
        """Give the kernels' shape (K, C, kh, kw) of every convolution."""
        inputs = [(CHANNELS, 0, 0), *self.shapes(self.input_size, self.input_size)]
        return [
            (layer.channels, shape[0], layer.size, layer.size)
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

    @property
    def last_pool(self) -> int:
        """Number of the last pool, which the classifier follows."""
        return max(number for number, layer in enumerate(self.layers) if isinstance(layer, MaxPool | FragmentPool))

    @property
    def stride_before_last_pool(self) -> int:
        """Pixels of the picture from one place of the map that the last pool reads to the next."""
        steps = (getattr(layer, "stride", getattr(layer, "size", 1)) for layer in self.layers[: self.last_pool]
                 if isinstance(layer, Convolve | MaxPool))
        return math.prod(steps)

    def in_fragments(self, *, diagonal: bool = False) -> "Topology":
        """Give the same network with its last pool taken at all offsets, or those on the diagonal."""
        number = self.last_pool
        pool = self.layers[number]
        assert isinstance(pool, MaxPool)  # noqa: S101 -- for the type checker
        fragments = FragmentPool(pool.size, diagonal)
        return replace(self, layers=(*self.layers[:number], fragments, *self.layers[number + 1 :]))


_NORMALISE = Normalise(mean=118.380948, deviation=61.896913)


def _convolve(
    channels: int, size: int, stride: int = 1, *, pad: int = 0, threshold: float = 1e-6
) -> tuple[Layer, ...]:
    return (*((Pad(pad),) if pad else ()), Convolve(channels, size, stride), Rectify(threshold))


FAST = Topology(
    "fast", input_size=231, feature_layer=19, weight_file=file_name("fast"), class_file="classes.tsv",
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
    "accurate", input_size=221, feature_layer=22, weight_file=file_name("accurate"), class_file="classes.tsv",
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
    "tiny", input_size=231, feature_layer=19, weight_file=file_name("tiny"), class_file="classes_tiny.tsv",
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
    mirrored_classes=((2, 3),),  # stripes that rise and that fall
)  # fmt: skip

# The mean and deviation of ImageNet's pixels, by channel; the networks take them as parts of 255.
_NORMALISE_CHANNELS = Normalise(mean=(123.675, 116.28, 103.53), deviation=(58.395, 57.12, 57.375))


def vgg(name: str, table: str, units: int = 4096, classes: int = 1000) -> Topology:
    """Make a network of Simonyan and Zisserman, arXiv:1409.1556.

    Parameters
    ----------
    name : str
    table : str
        The channels of each 3x3 convolution, and an M for each pool of 2x2.
    units, classes : int
        Channels of the two layers of the classifier, and of the last one.
    """
    layers: list[Layer] = [_NORMALISE_CHANNELS]
    names, place = [], 0  # the file counts convolutions, rectifiers and pools
    for word in table.split():
        if word == "M":
            layers.append(MaxPool(2))
            place += 1
        else:
            layers += _convolve(int(word), 3, pad=1, threshold=0.0)
            names.append(f"features.{place}")
            place += 2
    layers += [*_convolve(units, 7, threshold=0.0), *_convolve(units, 1, threshold=0.0)]
    layers += [Convolve(classes, 1), Softmax()]
    return Topology(
        name, input_size=7 << table.count("M"), feature_layer=len(layers) - 4, layers=tuple(layers),
        weight_file=file_name(name), parameter_names=(*names, "pre_logits.fc1", "pre_logits.fc2", "head.fc"),
        class_file="classes.tsv", has_sorted_classes=True,
    )  # fmt: skip


VGG11 = vgg("vgg11", "64 M 128 M 256 256 M 512 512 M 512 512 M")
VGG16 = vgg("vgg16", "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M")
VGG19 = vgg("vgg19", "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M")

TOPOLOGIES = {topology.name: topology for topology in (TINY, FAST, ACCURATE, VGG11, VGG16, VGG19)}
