"""The networks as estimators of scikit-learn: features for a classifier of one's own, and names of classes.

X are pictures, as `overfeat_tools.Network` takes them, always several: a list of file names, an array (N, H, W, 3), a
column of a table.  The estimators learn nothing, so they need not be fitted.  They hold the name of a network and not
its weights: copies of an estimator share one open network, and a pickled one opens its own where it arrives.
"""

import os
from functools import lru_cache
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import Tags
except ModuleNotFoundError as missing:
    raise ImportError("scikit-learn is not installed: pip install 'overfeat_tools[sklearn]'") from missing

from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.errors import UsageError
from overfeat_tools.library import Network
from overfeat_tools.library.arguments import Layer, check_count, check_opening, check_word, side_of
from overfeat_tools.library.inputs import Scale, given
from overfeat_tools.networks.preparation import check_map, check_one_answer

_NETWORKS_KEPT = 2  # each may take 2 GB


@lru_cache(_NETWORKS_KEPT)
def _opened(name: str, weights: str | None, device: str, threads: int | None, precision: str) -> Network:
    return Network(name, weights=weights, device=device, threads=threads, precision=precision)


class _OfPictures:
    """What takes pictures to one of their layers, and learns nothing; a mixin that goes before scikit-learn's."""

    net: str | Network
    size: int | Literal["input"]
    scale: Scale
    weights: str | os.PathLike[str] | None
    device: str
    threads: int | None
    precision: str

    def fit(self, X: object, y: object = None) -> Self:  # noqa: ARG002, N803 -- scikit-learn's names
        """Check the parameters; there is nothing to learn.

        Parameters
        ----------
        X : pictures
            Not looked at.
        y : ignored
        """
        self._check()
        return self

    def _check(self) -> None:
        raise NotImplementedError

    def _network(self) -> Network:
        if isinstance(self.net, Network):
            return self.net
        # The cache would refuse a list and its like with a TypeError of its own.
        check_opening(self.net, self.weights, self.device, self.threads, "auto", self.precision)
        folder = None if self.weights is None else os.fspath(self.weights)
        return _opened(self.net, folder, self.device, self.threads, self.precision)

    def _side(self) -> int:
        side = side_of(self._network().engine.topology, self.size)
        if side is None:
            raise UsageError(f'size {self.size!r}: a number or "input" expected, as all rows must be equally long')
        return side

    def _rows(self, X: Any, layer: Layer) -> FloatArray:  # noqa: ANN401, N803 -- whatever holds pictures
        """Give a layer of each picture as a row."""
        if getattr(X, "shape", ())[1:] == (1,):  # rows of a table with one column
            X = np.asarray(X)[:, 0]  # noqa: N806
        if given(X, self.scale).one:
            raise UsageError("several pictures expected, in a list; one came")
        maps = self._network().layers(X, [layer], size=self._side(), scale=self.scale)[layer]
        return np.reshape(maps, (len(maps), -1))

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.requires_fit = False
        tags.target_tags.required = False
        if tags.transformer_tags:
            tags.transformer_tags.preserves_dtype = []  # float32, whatever comes
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = tags.input_tags.string = True
        return tags


class OverfeatTransformer(_OfPictures, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn each picture into a row: the values of a layer.

    Parameters
    ----------
    net : str or Network
        The name of a network, or one that is open.
    layer : int or str
        The number of a layer, "features", "scores" or "probabilities".
    size : int or "input"
        What the shorter side is scaled to before the centre square is cut.  With a larger one than the network's input,
        a row has the values of a map, channel after channel.
    scale : {1, 255}, optional
        What white is in floating-point pictures.
    weights, device, threads, precision
        Where the network's weights are, and where and how to compute; see `Network`.

    Examples
    --------
    >>> import numpy as np
    >>> from overfeat_tools.sklearn import OverfeatTransformer
    >>> OverfeatTransformer("tiny").transform(np.zeros((3, 240, 320, 3), np.uint8)).shape
    (3, 96)
    """

    def __init__(
        self,
        net: str | Network = "fast",
        layer: Layer = "features",
        *,
        size: int | Literal["input"] = "input",
        scale: Scale = None,
        weights: str | os.PathLike[str] | None = None,
        device: str = "auto",
        threads: int | None = None,
        precision: str = "float32",
    ) -> None:
        self.net = net
        self.layer = layer
        self.size = size
        self.scale = scale
        self.weights = weights
        self.device = device
        self.threads = threads
        self.precision = precision

    def _check(self) -> None:
        net = self._network()
        check_map(net.engine.topology, self._side(), net.layer_number(self.layer), "size")

    def transform(self, X: object) -> FloatArray:  # noqa: N803
        """Compute a layer of each picture.

        Parameters
        ----------
        X : pictures

        Returns
        -------
        array (N, values of the layer) float32
        """
        return self._rows(X, self.layer)

    @property
    def _n_features_out(self) -> int:
        """The length of a row, for get_feature_names_out."""
        net, side = self._network(), self._side()
        return int(np.prod(net.engine.topology.shapes(side, side)[net.layer_number(self.layer)]))


class OverfeatClassifier(_OfPictures, ClassifierMixin, BaseEstimator):
    """Name the classes of pictures that the network knows, ImageNet's 1000; it does not learn others.

    Parameters
    ----------
    net : str or Network
        The name of a network, or one that is open.
    top_n : int
        How many classes to name for each picture.
    labels : {"name", "wnid", "index"}
        What to call a class: its name, its WordNet id, or its place in the network's output.  Two classes have the
        name crane.
    size, scale, weights, device, threads, precision
        See `OverfeatTransformer`.  The size must give one answer.

    Attributes
    ----------
    classes_ : array
        The labels, in the order of the columns of `predict_proba`.
    """

    def __init__(
        self,
        net: str | Network = "fast",
        top_n: int = 1,
        *,
        labels: Literal["name", "wnid", "index"] = "name",
        size: int | Literal["input"] = "input",
        scale: Scale = None,
        weights: str | os.PathLike[str] | None = None,
        device: str = "auto",
        threads: int | None = None,
        precision: str = "float32",
    ) -> None:
        self.net = net
        self.top_n = top_n
        self.labels = labels
        self.size = size
        self.scale = scale
        self.weights = weights
        self.device = device
        self.threads = threads
        self.precision = precision

    def _check(self) -> None:
        check_count("top_n", self.top_n)
        check_word("labels", self.labels, ("name", "wnid", "index"))
        check_one_answer(self._network().engine.topology, self._side(), "size")

    @property
    def classes_(self) -> Array:
        """The labels, in the order of the columns of `predict_proba`."""
        return np.array([getattr(each, self.labels) for each in self._network().classes])

    def predict_proba(self, X: object) -> FloatArray:  # noqa: N803
        """Compute the probability of each class.

        Parameters
        ----------
        X : pictures

        Returns
        -------
        array (N, classes) float32
        """
        self._check()
        return self._rows(X, "probabilities")

    def predict(self, X: object) -> Array:  # noqa: N803
        """Name the most probable classes.

        Parameters
        ----------
        X : pictures

        Returns
        -------
        array (N,), or (N, top_n) where `top_n` is more than 1, the most probable first
        """
        best = np.argsort(-self.predict_proba(X), axis=1, kind="stable")[:, : self.top_n]
        named: Array = self.classes_[best]
        return named[:, 0] if self.top_n == 1 else named

    def score(self, X: object, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:  # noqa: N803
        """Give the share of pictures whose class is among the `top_n`.

        Parameters
        ----------
        X : pictures
        y : array-like (N,)
            The labels that are right.
        sample_weight : array-like (N,), optional
            How much each picture counts.
        """
        right = np.asarray(y)[:, None]
        found = (np.reshape(self.predict(X), (len(right), -1)) == right).any(axis=1)
        return float(np.average(found, weights=None if sample_weight is None else np.asarray(sample_weight)))
