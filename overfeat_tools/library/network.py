"""A network as people call it."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Literal, TypeAlias

import numpy as np

from overfeat_tools.backend import FloatArray
from overfeat_tools.errors import ImageError
from overfeat_tools.library import arguments
from overfeat_tools.library.answering import Work, every, maps_of, raised, seen_by
from overfeat_tools.library.arguments import Layer, Looking, Size, Stride
from overfeat_tools.library.inputs import Given, Picture, Scale, given
from overfeat_tools.library.locating import Locating
from overfeat_tools.library.outputs import first, row, together
from overfeat_tools.networks.parts import Maps
from overfeat_tools.networks.preparation import check_map, check_one_answer, to_a_map, to_one_answer
from overfeat_tools.results.ranking import rank_each

Answer: TypeAlias = list[tuple[str, str, float]]
"""WordNet id, name and probability of classes."""


class Network(Locating):
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
    precision : {"float32", "tf32", "half"}
        To what a graphics card rounds the numbers that it multiplies in convolutions: fewer bits are faster.  A
        processor has only the first.

    Raises
    ------
    UsageError
        An argument is wrong.
    WeightsError
        The weights are missing, or not what they should be.
    BackendError
        The device is missing, or has not this precision.

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

    def classify(
        self,
        pictures: Picture | Iterable[Picture],
        n: int = 5,
        *,
        size: Size = None,
        scale: Scale = None,
        views: Looking = "centre",
        scales: Iterable[int] | None = None,
        stride: Stride = None,
    ) -> Answer | list[Answer]:
        """Name the most probable classes of each picture, best first.

        Parameters
        ----------
        pictures
            One picture or several; see above.
        n : int
        size : int, "input" or "none", optional
            What the shorter side is scaled to, by default the network's input size; then the centre square is cut.
            With "none", it is only cut.
        scale : {1, 255}, optional
            What white is in floating-point pictures.
        views : {"centre", "ten", "dense"}
            What to look at: the centre square, ten parts, or everywhere at several scales; see of-classify(1).
        scales : iterable of int, optional
            Different numbers from 1 to 6: the scales of "dense", by default 1, 2, 4 and 6.
        stride : {"fine", "coarse"}, optional
            How near to each other the places of "dense" lie, by default "fine".

        Returns
        -------
        list of (str, str, float)
            WordNet id, name and probability of each class; a list of such lists for several pictures.

        Examples
        --------
        >>> picture = np.full((300, 500, 3), 225, np.uint8)
        >>> picture[100:200, 400:490] = 20, 40, 210  # outside the centre
        >>> for views in "centre", "dense":
        ...     [(_, name, probability)] = net.classify(picture, n=1, views=views)
        ...     print(name, round(probability, 1))
        linear gradient 0.9
        rectangle 1.0
        """
        arguments.check_count("n", n)
        arguments.check_views(views, size, scales, stride)
        these, classes = given(pictures, scale), self.classes
        looking = self._opened_views(views, arguments.scales_of(scales), fine=stride != "coarse")
        if looking:
            found = every(self._answers(these, seen_by(looking, lambda looks: looks.mean)))
        else:
            last = self._topology.last_layer
            found = [maps[last][0, 0] for maps in every(self._answers(these, self._to_one_answer(size)))]
        best = rank_each(np.array(found), classes, n)
        rankings = [[(each.wnid, each.name, value) for each, value in ranking] for ranking in best]
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
        rows = every(self._maps(these, (last,), size))
        if these.one:
            return row(rows[0][last])
        maps = together([maps[last] for maps in rows])
        return maps[:, :, 0, 0] if not isinstance(maps, list) and maps.shape[2:] == (1, 1) else maps

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
        numbers = {layer: self.layer_number(layer) for layer in arguments.several_layers(layers)}
        these, wanted = given(pictures, scale), tuple(dict.fromkeys(numbers.values()))
        rows = every(self._maps(these, wanted, size))
        if these.one:
            return {layer: first(rows[0][number]) for layer, number in numbers.items()}
        return {layer: together([maps[number] for maps in rows]) for layer, number in numbers.items()}

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
        found = self._maps(given(pictures, scale), (last,), size)

        # No generator itself, so that arguments are checked here and not before the first row.
        answered = raised(found) if errors == "raise" else found
        return (maps if isinstance(maps, ImageError) else row(maps[last]) for maps in answered)

    def _to_one_answer(self, size: Size) -> Work[Maps]:
        side = arguments.side_of(self._topology, "input" if size is None else size)
        if side is not None:
            check_one_answer(self._topology, side, "size")
        prepare = partial(to_one_answer, topology=self._topology, side=side)
        return maps_of(self.engine, (self._topology.last_layer,), prepare, side)

    def _maps(self, these: Given, layers: tuple[int, ...], size: Size) -> Iterator[Maps | ImageError]:
        """Compute layers of pictures as they are, or of a size that gives maps."""
        last, side = max(layers), arguments.side_of(self._topology, size)
        if side is not None:
            check_map(self._topology, side, last, "size")
        prepare = partial(to_a_map, least_side=self._least_side(last), side=side, cut=size is not None)
        return self._answers(these, maps_of(self.engine, layers, prepare, side))
