"""The estimators do as scikit-learn's own do, in its pipelines, searches and checks."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from overfeat_tools import Network
from overfeat_tools.errors import ImageError, OverfeatError, UsageError
from tests.processes import SAMPLES

pytest.importorskip("sklearn")

from sklearn.base import clone, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_array

from overfeat_tools.sklearn import OverfeatClassifier, OverfeatTransformer

Array = npt.NDArray[Any]
Untyped: TypeAlias = Any

FILES = sorted(SAMPLES.glob("*.png"))
NAMES = [path.stem.replace("_", " ") for path in FILES]


@pytest.fixture(scope="module")
def net() -> Network:
    return Network("tiny", device="cpu", threads=2)


def stripes(count: int) -> tuple[Array, Array]:
    """Draw wide and narrow stripes, (N, 231, 231, 3) uint8, and which they are."""
    random = np.random.default_rng(5)
    wide = np.arange(count) % 2
    places = (np.arange(231) + random.integers(0, 60, (count, 1))) // np.where(wide, 23, 7)[:, None] % 2
    return np.broadcast_to(np.where(places, 220, 30)[:, :, None, None], (count, 231, 231, 3)).astype(np.uint8), wide


# Features.


@pytest.mark.parametrize("layer", ["features", 16, "probabilities"])
def test_rows_are_the_librarys(layer: Untyped, net: Network) -> None:
    rows = OverfeatTransformer(net, layer).fit_transform(FILES)
    expected = net.layers(FILES, [layer], size="input")[layer]
    assert isinstance(rows, np.ndarray)
    np.testing.assert_allclose(rows, np.reshape(expected, (len(FILES), -1)), rtol=0, atol=1e-5 * np.abs(rows).max())


def test_all_ways_to_give_pictures(net: Network) -> None:
    transformer = OverfeatTransformer(net)
    pandas = pytest.importorskip("pandas")
    x, _ = stripes(3)
    expected = transformer.transform(x)
    for given in (list(x), [x[:2], x[2]], np.asarray(x), iter(x)):
        np.testing.assert_allclose(transformer.transform(given), expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(OverfeatTransformer(net, scale=1).transform(x / 255), expected, rtol=0, atol=1e-4)
    names = [str(path) for path in FILES[:3]]
    expected = transformer.transform(names)
    table = pandas.DataFrame({"picture": names})
    for given in (FILES[:3], np.array(names), np.array(names, object), table["picture"], table):
        np.testing.assert_allclose(transformer.transform(given), expected, rtol=0, atol=1e-4)


def test_larger_pictures_give_longer_rows(net: Network) -> None:
    transformer = OverfeatTransformer(net, size=263)
    assert transformer.transform(FILES[:2]).shape == (2, 96 * 2 * 2)
    assert len(transformer.get_feature_names_out()) == 96 * 2 * 2


@pytest.mark.parametrize("method", ["transform", "fit_transform"])
def test_output_as_a_table(method: str, net: Network) -> None:
    pytest.importorskip("pandas")
    transformer = OverfeatTransformer(net).set_output(transform="pandas")
    table = getattr(transformer, method)(FILES[:2])
    assert list(table.columns) == [f"overfeattransformer{number}" for number in range(96)]
    assert list(table.columns) == list(transformer.get_feature_names_out())
    assert {str(kind) for kind in table.dtypes} == {"float32"}


@pytest.mark.parametrize(
    ("make", "x", "words"),
    [
        (lambda: OverfeatTransformer("none"), FILES, "name='none'"),
        (lambda: OverfeatTransformer("tiny", 99), FILES, "layer 99"),
        (lambda: OverfeatTransformer("tiny", size=20), FILES, "size 20"),
        (lambda: OverfeatTransformer("tiny", size=None), FILES, "size None: a number"),
        (lambda: OverfeatTransformer("tiny"), [], "no pictures"),
        (lambda: OverfeatTransformer("tiny"), str(FILES[0]), "several pictures expected"),
        (lambda: OverfeatTransformer("tiny"), np.zeros((231, 231, 3), np.uint8), "several pictures expected"),
        (lambda: OverfeatTransformer("tiny"), np.zeros((5, 96)), "expected"),
        (lambda: OverfeatTransformer("tiny"), np.zeros((2, 231, 231, 3)), "scale="),
        (lambda: OverfeatClassifier("tiny", 0), FILES, "top_n=0"),
        (lambda: OverfeatClassifier("tiny", labels="class"), FILES, "labels='class'"),
        (lambda: OverfeatClassifier("tiny", size=300), FILES, "size 300"),
        (lambda: OverfeatTransformer(["tiny"]), FILES, "name=.'tiny'.: "),  # type: ignore[arg-type]
        (lambda: OverfeatTransformer("tiny", threads=[2]), FILES, "threads="),  # type: ignore[arg-type]
    ],
)
def test_what_is_wrong_is_told(make: Callable[[], Any], x: Untyped, words: str) -> None:
    estimator = make()
    use = estimator.predict if is_classifier(estimator) else estimator.transform
    with pytest.raises(UsageError, match=words):
        use(x)


def test_parameters_are_checked_when_fitted() -> None:
    for estimator in (
        OverfeatTransformer("none"), OverfeatTransformer("tiny", 99), OverfeatTransformer("tiny", size=20),
        OverfeatClassifier("tiny", 0), OverfeatClassifier("tiny", size=300),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            estimator.fit(None)


def test_a_picture_that_cant_be_used(net: Network, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"bad\.png: "):
        OverfeatTransformer(net).transform([FILES[0], tmp_path / "bad.png"])


# Classes.


def test_names_classes(net: Network) -> None:
    classifier = OverfeatClassifier(net).fit(None)
    assert classifier.predict(FILES).tolist() == NAMES
    assert classifier.score(FILES, NAMES) == 1.0
    ranked = OverfeatClassifier(net, 3).predict(FILES)
    assert [[name for _, name, _ in row] for row in net.classify(FILES, n=3)] == ranked.tolist()
    probabilities = classifier.predict_proba(FILES)
    assert probabilities.shape == (len(FILES), 26)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert classifier.classes_[probabilities.argmax(axis=1)].tolist() == NAMES


def test_labels(net: Network) -> None:
    index = [each.name for each in net.classes].index(NAMES[0])
    assert OverfeatClassifier(net, labels="index").predict(FILES[:1]).tolist() == [index]
    assert OverfeatClassifier(net, labels="wnid").predict(FILES[:1]).tolist() == [net.classes[index].wnid]


def test_score_counts_the_best_n(net: Network) -> None:
    second = OverfeatClassifier(net, 2).predict(FILES)[:, 1]
    assert OverfeatClassifier(net, 1).score(FILES, second) == 0.0
    assert OverfeatClassifier(net, 2).score(FILES, second) == 1.0
    mixed = [*NAMES[:1], *second[1:]]
    assert OverfeatClassifier(net).score(FILES, mixed, sample_weight=[3, *[0] * (len(FILES) - 2), 1]) == 0.75


# In scikit-learn's hands.


@pytest.mark.parametrize("kind", [OverfeatTransformer, OverfeatClassifier])
def test_copies_are_without_weights(kind: Untyped, net: Network) -> None:
    for estimator in (kind("tiny"), kind(net)):
        answer = estimator.transform if kind is OverfeatTransformer else estimator.predict_proba
        expected = answer(FILES[:2])
        packed = pickle.dumps(estimator)
        assert len(packed) < 1000
        for copy in (pickle.loads(packed), clone(estimator)):  # noqa: S301 -- it is our own
            same = copy.transform if kind is OverfeatTransformer else copy.predict_proba
            np.testing.assert_allclose(same(FILES[:2]), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert clone(kind(net)).net is net
    assert clone(kind("tiny"))._network() is kind("tiny")._network()  # noqa: SLF001 -- the memory is what counts


def test_pipeline_and_searches(net: Network) -> None:
    x, wide = stripes(24)
    pipeline = make_pipeline(OverfeatTransformer(net), StandardScaler(), SVC(kernel="linear"))
    assert cross_val_score(pipeline, x, wide, cv=3).tolist() == [1.0] * 3
    grid = {"overfeattransformer__layer": [3, "features"], "svc__C": [1e-9, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(x, wide)
    assert search.score(x, wide) == 1.0
    assert (pickle.loads(pickle.dumps(pipeline.fit(x, wide))).predict(x) == wide).all()  # noqa: S301 -- it is our own
    assert cross_val_score(OverfeatClassifier(net), FILES, NAMES, cv=[(range(6), range(6, 12))]).tolist() == [1.0]
    search = GridSearchCV(OverfeatClassifier(net), {"top_n": [1, 5]}, cv=[(range(6), range(6, 12))]).fit(FILES, NAMES)
    assert search.cv_results_["mean_test_score"].tolist() == [1.0, 1.0]


def test_a_column_of_a_table(net: Network) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"picture": list(map(str, FILES[:3])), "weight": [1.0, 2.0, 3.0]})
    columns = ColumnTransformer([("picture", OverfeatTransformer(net), "picture"), ("rest", "passthrough", ["weight"])])
    assert columns.fit_transform(table).shape == (3, 97)
    names = columns.get_feature_names_out()
    assert (names[0], names[-1]) == ("picture__overfeattransformer0", "rest__weight")


# Its own checks.  Its generator yields none for estimators whose input is no matrix, so they are named.

WITHOUT_DATA = (
    "do_not_raise_errors_in_init_or_set_params", "estimator_cloneable", "estimator_repr", "estimator_tags_renamed",
    "get_params_invariance", "mixin_order", "no_attributes_set_in_init", "parameters_default_constructible",
    "set_params", "valid_tag_types",
)  # fmt: skip
OF_BOTH = (
    "dict_unchanged", "dont_overwrite_parameters", "estimators_dtypes", "estimators_fit_returns_self",
    "estimators_overwrite_params", "estimators_pickle", "f_contiguous_array_estimator", "fit2d_1sample",
    "fit_check_is_fitted", "fit_idempotent", "fit_score_takes_y", "methods_sample_order_invariance",
    "methods_subset_invariance", "pipeline_consistency", "readonly_memmap_input", "requires_y_none",
)  # fmt: skip
OF_TRANSFORMERS = (
    "set_output_transform", "set_output_transform_pandas", "transformer_data_not_an_array", "transformer_general",
    "transformer_preserve_dtypes", "transformers_unfitted_stateless",
)  # fmt: skip
OF_CLASSIFIERS = ("classifier_data_not_an_array",)


class OfRows:
    """Makes a picture of each row of the matrices that the checks come with."""

    def _rows(self, X: Untyped, layer: Untyped) -> Array:  # noqa: N803 -- scikit-learn's name
        values = np.clip(128 + 40 * check_array(X), 0, 255).astype(np.uint8)
        pictures = np.stack([np.resize(row, (21, 21, 3)) for row in values])
        rows: Array = super()._rows(pictures.repeat(11, 1).repeat(11, 2), layer)  # type: ignore[misc]
        return rows

    def __sklearn_tags__(self) -> Untyped:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        return tags


class Transformer(OfRows, OverfeatTransformer):
    """Features of rows."""


class Classifier(OfRows, OverfeatClassifier):
    """Classes of rows."""


@pytest.fixture(scope="module")
def steady() -> Network:
    """Open a network whose numbers don't depend on the batch: the checks compare more closely than we round."""
    try:
        return Network("tiny", device="cpu", threads=2, reproducible=True)
    except OverfeatError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("kind", [OverfeatTransformer, OverfeatClassifier])
@pytest.mark.parametrize("check", WITHOUT_DATA)
def test_check_without_data(check: str, kind: Untyped) -> None:
    getattr(estimator_checks, f"check_{check}")(kind.__name__, kind("tiny"))


@pytest.mark.parametrize("check", OF_BOTH + OF_TRANSFORMERS)
def test_check_of_transformers(check: str, steady: Network) -> None:
    if "pandas" in check:
        pytest.importorskip("pandas")
    getattr(estimator_checks, f"check_{check}")("Transformer", Transformer(steady))


@pytest.mark.parametrize("check", OF_BOTH + OF_CLASSIFIERS)
def test_check_of_classifiers(check: str, steady: Network) -> None:
    getattr(estimator_checks, f"check_{check}")("Classifier", Classifier(steady, labels="index"))
