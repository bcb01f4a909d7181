"""A network as people call it."""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Literal, Self, TypeAlias

from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.backend.machine import processors
from overfeat_tools.errors import ImageError, UsageError
from overfeat_tools.library import arguments
from overfeat_tools.library.answering import answers, every, raised
from overfeat_tools.library.arguments import Layer, Size
from overfeat_tools.library.inputs import Given, Picture, Scale, given, items
from overfeat_tools.library.outputs import row, together
from overfeat_tools.networks.classes import Class, read_classes
from overfeat_tools.networks.network import Network as Engine
from overfeat_tools.networks.opening import open_network
from overfeat_tools.networks.parts import Maps
from overfeat_tools.networks.preparation import check_map, check_one_answer, to_a_map, to_one_answer
from overfeat_tools.networks.topology import TOPOLOGIES
from overfeat_tools.results.ranking import rank

Answer: TypeAlias = list[tuple[str, str, float]]
"""WordNet id, name and probability of classes."""


class Network:
    """OverFeat, or another network of the suite, with its weights.

    Parameters
    ----------
    name : {"fast", "accurate", "tiny", "vgg11", "vgg16", "vgg19"}
        Which network.  The weights of `tiny` come with the package.
    weights : str or path, optional
        The folder with the weights; by default `$OVERFEAT_DATA`, or else the user's data folder.
    device : {"auto", "cpu", "cuda"}
        Where to compute; `auto` takes a graphics card where one works.
    threads : int, optional
        Threads of the processor; by default as many as this process may use.
    method : {"auto", "gemm", "fft", "cook-toom"}
        How to convolve.
    reproducible : bool
        Whether equal pixels must give equal bytes, whatever the batch and the number of threads.

    Raises
    ------
    UsageError
        An argument is wrong.
    WeightsError
        The weights are missing, or not what they should be.
    BackendError
        The device is missing.

    Notes
    -----
    A picture is the name of a file or its bytes, an image of Pillow's, or an array (H, W, 3), red, green, blue:
    uint8, or floating point with `scale`.  Several are an array (N, H, W, 3), or an iterable of any of these.  One
    picture gives a result without the axis of pictures.

    Threads may share a network, and a process may have several.  It is pickled without its weights, and opened again
    where it arrives; a child of `fork` may go on with its parent's.

    All methods raise `UsageError` where an argument is wrong, or something is no picture at all, and `ImageError`
    where a picture can't be used; see `overfeat_tools.errors`.

    Examples
    --------
    >>> import numpy as np
    >>> from overfeat_tools import Network
    >>> net = Network("tiny")
    >>> picture = np.zeros((300, 400, 3), np.uint8)
    >>> picture[::16] = picture[1::16] = picture[2::16] = picture[3::16] = 255
    >>> [(name, round(probability, 1)) for _, name, probability in net.classify(picture, n=1)]
    [('horizontal stripes', 1.0)]
    """

    def __init__(
        self,
        name: str = "fast",
        *,
        weights: str | os.PathLike[str] | None = None,
        device: str = "auto",
        threads: int | None = None,
        method: str = "auto",
        reproducible: bool = False,
    ) -> None:
        arguments.check_opening(name, weights, device, threads, method)
        self.name, self._decoders = name, threads or processors()
        folder = None if weights is None else Path(weights)
        self._open = partial(
            type(self), name, weights=folder, device=device, threads=threads, method=method, reproducible=reproducible
        )
        self._topology, self._least_side = TOPOLOGIES[name], cache(TOPOLOGIES[name].least_side)
        self._engine: Engine | None = open_network(name, folder, device, threads, method, reproducible=reproducible)

    def classify(
        self, pictures: Picture | Iterable[Picture], n: int = 5, *, size: Size = "input", scale: Scale = None
    ) -> Answer | list[Answer]:
        """Name the most probable classes of each picture, best first.

        Parameters
        ----------
        pictures
            One picture or several; see above.
        n : int
        size : int, "input" or "none"
            What the shorter side is scaled to, by default the network's input size; then the centre square is cut.
            With "none", it is only cut.
        scale : {1, 255}, optional
            What white is in floating-point pictures.

        Returns
        -------
        list of (str, str, float)
            WordNet id, name and probability of each class; a list of such lists for several pictures.
        """
        arguments.check_count("n", n)
        last, classes = self._topology.last_layer, self.classes
        side = arguments.side_of(self._topology, "input" if size is None else size)
        if side is not None:
            check_one_answer(self._topology, side, "size")
        prepare = partial(to_one_answer, topology=self._topology, side=side)
        these = given(pictures, scale)
        rankings = [
            [(each.wnid, each.name, probability) for each, probability in rank(maps[last][0, 0], classes, n)]
            for maps in every(self._answers(these, (last,), prepare, side))
        ]
        return rankings[0] if these.one else rankings

    def features(
        self, pictures: Picture | Iterable[Picture], *, size: Size = None, scale: Scale = None
    ) -> FloatArray | list[FloatArray]:
        """Compute the features of each picture: the output before the last rectifier, as of-features prints it.

        Parameters
        ----------
        pictures
            One picture or several; see above.
        size : int, "input" or "none", optional
            What the shorter side is scaled to before the centre square is cut; with "none", it is only cut.
            By default pictures are taken as they are: larger ones give maps of several places.
        scale : {1, 255}, optional
            What white is in floating-point pictures.

        Returns
        -------
        array float32
            (N, C), 4096 values for each picture of OverFeat's, where every picture gives one place; else
            (N, C, H', W'), or a list of (C, H', W') where these differ.  A new array.

        Examples
        --------
        >>> net.features(np.zeros((2, 231, 231, 3), np.uint8)).shape
        (2, 96)
        >>> net.features(np.zeros((231, 263, 3), np.float32), scale=1).shape
        (96, 1, 2)
        """
        last, these = self._topology.feature_layer, given(pictures, scale)
        rows = every(self._answers(these, (last,), *self._to_maps(last, size)))
        maps = together([maps[last] for maps in rows])
        if not isinstance(maps, list) and maps.shape[2:] == (1, 1):
            maps = maps[:, :, 0, 0]
        return maps[0] if these.one else maps

    def layers(
        self,
        pictures: Picture | Iterable[Picture],
        layers: Iterable[Layer],
        *,
        size: Size = None,
        scale: Scale = None,
    ) -> dict[Layer, FloatArray | list[FloatArray]]:
        """Compute the outputs of several layers in one pass; they may be rounded otherwise than each by itself.

        Parameters
        ----------
        pictures, size, scale
            See `features`.
        layers : iterable of int or str
            Numbers of layers, as `of-layer --list` has them, or "features", "scores" (before the softmax) and
            "probabilities".

        Returns
        -------
        dict
            For each layer, by what it was called: (C, H', W') float32 for one picture; else (N, C, H', W'), or a list
            of (C, H', W') where these differ.  New arrays.

        Examples
        --------
        >>> maps = net.layers(np.zeros((231, 231, 3), np.uint8), [3, "features"])
        >>> {layer: values.shape for layer, values in maps.items()}
        {3: (32, 28, 28), 'features': (96, 1, 1)}
        """
        numbers = {layer: self.layer_number(layer) for layer in layers}
        if not numbers:
            raise UsageError("no layers are asked for")
        these, wanted = given(pictures, scale), tuple(dict.fromkeys(numbers.values()))
        rows = every(self._answers(these, wanted, *self._to_maps(max(wanted), size)))
        maps = {layer: together([maps[number] for maps in rows]) for layer, number in numbers.items()}
        return {layer: values[0] for layer, values in maps.items()} if these.one else maps

    def iter_features(
        self,
        pictures: Iterable[Picture],
        *,
        size: Size = None,
        scale: Scale = None,
        errors: Literal["raise", "return"] = "raise",
    ) -> Iterator[FloatArray | ImageError]:
        """Compute the features of any number of pictures in constant memory, in order; a thread reads ahead.

        Parameters
        ----------
        pictures, size, scale
            See `features`.
        errors : {"raise", "return"}
            What becomes of a picture that can't be used: an exception, or a row that is an `ImageError`.

        Yields
        ------
        array float32
            (C,) where the picture gives one place, else (C, H', W').

        Examples
        --------
        >>> for row in net.iter_features(["missing.jpg"], errors="return"):
        ...     print(row)
        missing.jpg: no such file or directory
        """
        arguments.check_word("errors", errors, ("raise", "return"))
        last = self._topology.feature_layer
        found = self._answers(given(pictures, scale), (last,), *self._to_maps(last, size))

        # No generator itself, so that arguments are checked here and not before the first row.
        answered = raised(found) if errors == "raise" else found
        return (maps if isinstance(maps, ImageError) else row(maps[last]) for maps in answered)

    def layer_number(self, layer: Layer) -> int:
        """Give the number of a layer."""
        return arguments.layer_number(self._topology, layer)

    def _to_maps(self, last: int, size: Size) -> tuple[Callable[[Array], Array], int | None]:
        """Give what brings a picture to a size that gives a map, and the side that it scales to."""
        side = arguments.side_of(self._topology, size)
        if side is not None:
            check_map(self._topology, side, last, "size")
        return partial(to_a_map, least_side=self._least_side(last), side=side, cut=size is not None), side

    def _answers(
        self, these: Given, layers: tuple[int, ...], prepare: Callable[[Array], Array], side: int | None
    ) -> Iterator[Maps | ImageError]:
        return answers(self.engine, items(these, side), prepare, layers, one=these.one, decoders=self._decoders)

    @property
    def input_size(self) -> int:
        """The side of the smallest picture."""
        return self._topology.input_size

    @property
    def classes(self) -> tuple[Class, ...]:
        """The classes in the order of the scores: `index`, `wnid` and `name` of each."""
        return read_classes(self._topology)

    @property
    def engine(self) -> Engine:
        """What computes: batches to arrays with the channels last.  It may change in any version."""
        if self._engine is None:
            raise UsageError(f"the network {self.name} is closed")
        return self._engine

    def close(self) -> None:
        """Let the weights and all memory go; the network can't be used any more."""
        if self._engine:
            self._engine.ledger.close()
        self._engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = "closed" if self._engine is None else str(self._engine.backend)
        return f"<Network {self.name}: {where}>"

    def __deepcopy__(self, _: object) -> Self:
        """Give this network itself: it can't be changed, and a second one would take its memory again."""
        return self

    def __reduce__(self) -> tuple[Callable[[], "Network"], tuple[()]]:
        return self._open, ()
