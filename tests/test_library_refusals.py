"""Bad calls of the library: one clear exception each."""

import gc
import io
import weakref
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from overfeat_tools import Network, errors
from tests.library_pictures import SIDE, drawn, open_tiny
from tests.processes import SAMPLES


@pytest.fixture(scope="module")
def net() -> Network:
    """Give a network."""
    return open_tiny()


def floats(value: float) -> npt.NDArray[np.float32]:
    """Give a picture of one value."""
    return np.full((SIDE, SIDE, 3), value, np.float32)


BAD: dict[str, tuple[type[errors.OverfeatError], str, Callable[[Network], object]]] = {
    "no pictures": (errors.UsageError, "there are no pictures", lambda net: net.features([])),
    "no pictures to name": (errors.UsageError, "there are no pictures", lambda net: net.classify(iter([]))),
    "an empty array": (errors.UsageError, "there are no pictures", lambda net: net.features(drawn(1)[None][:0])),
    "None": (errors.UsageError, "NoneType came", lambda net: net.features(None)),  # type: ignore[arg-type]
    "a number": (errors.UsageError, "int came", lambda net: net.features([7])),  # type: ignore[list-item]
    "lists of lists": (errors.UsageError, "list came", lambda net: net.features([[drawn(1)]])),  # type: ignore[list-item]
    "an open file": (errors.UsageError, "BytesIO came", lambda net: net.features(io.BytesIO(b"P6"))),
    "an empty name": (errors.UsageError, "is empty", lambda net: net.features("")),
    "whole numbers": (errors.UsageError, "int64 came", lambda net: net.features(drawn(1).astype(np.int64))),
    "booleans": (errors.UsageError, "bool came", lambda net: net.features(drawn(1) > 7)),
    "complex numbers": (errors.UsageError, "complex64", lambda net: net.features(drawn(1).astype(np.complex64))),
    "floats without a scale": (errors.UsageError, "scale=255 or scale=1", lambda net: net.features(floats(0.5))),
    "another scale": (errors.UsageError, "scale=2", lambda net: net.features(floats(1), scale=2)),  # type: ignore[arg-type]
    "channels first": (
        errors.UsageError, r"transpose\(1, 2, 0\)", lambda net: net.features(drawn(1).transpose(2, 0, 1))
    ),
    "channels first of many": (
        errors.UsageError, r"transpose\(0, 2, 3, 1\)", lambda net: net.features(drawn(1)[None].transpose(0, 3, 1, 2))
    ),
    "two ways": (errors.UsageError, "first or last", lambda net: net.features(np.zeros((3, 300, 3), np.uint8))),
    "two ways of many": (
        errors.UsageError, "first or last", lambda net: net.features(np.zeros((9, 3, 9, 3), np.uint8))
    ),
    "gray": (errors.UsageError, r"\(231, 231\) came", lambda net: net.features(drawn(1)[..., 0])),
    "alpha": (errors.UsageError, r"\(231, 231, 4\)", lambda net: net.features(np.zeros((231, 231, 4), np.uint8))),
    "five axes": (errors.UsageError, "expected", lambda net: net.features(drawn(1)[None, None])),
    "nan": (errors.ImageError, "not finite", lambda net: net.features(floats(np.nan), scale=1)),
    "infinity": (errors.ImageError, "not finite", lambda net: net.classify([floats(np.inf)], scale=255)),
    "too large for float32": (
        errors.ImageError, "not finite", lambda net: net.features(np.full((231, 231, 3), 1e300), scale=1)
    ),
    "too small": (errors.ImageError, "20x10 is smaller", lambda net: net.features(drawn(1, 10, 20))),
    "no pixels": (errors.ImageError, "no pixels|smaller", lambda net: net.classify(drawn(1)[:0])),
    "no file": (errors.ImageError, "none.png: no such file", lambda net: net.features("none.png")),
    "no picture": (errors.ImageError, "not a picture", lambda net: net.features(b"certainly not")),
    "several in a file": (errors.ImageError, "several", lambda net: net.features(str(SAMPLES / "stream.ppm"))),
    "a folder": (errors.ImageError, "is a directory; the files in it", lambda net: net.features(SAMPLES)),
    "no such layer": (errors.UsageError, r"0\.\.22", lambda net: net.layers(drawn(1), [23])),
    "a negative layer": (errors.UsageError, r"0\.\.22", lambda net: net.layers(drawn(1), [-1])),
    "no such name": (errors.UsageError, "features, scores or", lambda net: net.layers(drawn(1), ["last"])),  # type: ignore[list-item]
    "a broken number": (errors.UsageError, "whole number", lambda net: net.layers(drawn(1), [1.5])),  # type: ignore[list-item]
    "no layers": (errors.UsageError, "no layers", lambda net: net.layers(drawn(1), [])),
    "one layer": (errors.UsageError, "layers=12: a list", lambda net: net.layers(drawn(1), 12)),  # type: ignore[arg-type]
    "one layer by name": (errors.UsageError, "layers='features': a list", lambda net: net.layers(drawn(1), "features")),  # type: ignore[arg-type]
    "no classes": (errors.UsageError, "at least 1", lambda net: net.classify(drawn(1), n=0)),
    "a size too small": (errors.UsageError, "size 100", lambda net: net.features(drawn(1), size=100)),
    "a size of many answers": (errors.UsageError, "231 to 262", lambda net: net.classify(drawn(1), size=500)),
    "a size by name": (errors.UsageError, "input or none", lambda net: net.features(drawn(1), size="all")),  # type: ignore[arg-type]
    "another view": (errors.UsageError, "centre, ten or dense", lambda net: net.classify(drawn(1), views="all")),  # type: ignore[arg-type]
    "views with a size": (
        errors.UsageError, "views='ten' has sizes of its own", lambda net: net.classify(drawn(1), views="ten", size=240)
    ),
    "scales of ten": (
        errors.UsageError, "go with views='dense'", lambda net: net.classify(drawn(1), views="ten", scales=(1,))
    ),
    "a stride of the centre": (
        errors.UsageError, "go with views='dense'", lambda net: net.classify(drawn(1), stride="fine")
    ),
    "another stride": (
        errors.UsageError, "fine or coarse", lambda net: net.classify(drawn(1), views="dense", stride="both")  # type: ignore[arg-type]
    ),
    "no such scale": (
        errors.UsageError, "from 1 to 6", lambda net: net.classify(drawn(1), views="dense", scales=(1, 7))
    ),
    "a scale twice": (errors.UsageError, r"\[2, 2\]", lambda net: net.classify(drawn(1), views="dense", scales=[2, 2])),
    "no scales": (errors.UsageError, r"\(\): different", lambda net: net.classify(drawn(1), views="dense", scales=())),
    "scales by name": (errors.UsageError, "'1,2'", lambda net: net.classify(drawn(1), views="dense", scales="1,2")),  # type: ignore[arg-type]
    "one scale": (errors.UsageError, "scales=2: ", lambda net: net.classify(drawn(1), views="dense", scales=2)),  # type: ignore[arg-type]
    "no pixels to look at": (errors.ImageError, "no pixels", lambda net: net.classify(drawn(1)[:0], views="ten")),
    "a class that isn't there": (
        errors.UsageError, 'classes: "unicorn" is no class', lambda net: net.locate(drawn(1), classes=["unicorn"])
    ),
    "a class by number": (errors.UsageError, "classes=3: a WordNet id", lambda net: net.locate(drawn(1), classes=3)),  # type: ignore[arg-type]
    "none of the classes": (errors.UsageError, "no class is named", lambda net: net.locate(drawn(1), classes=())),
    "no boxes": (errors.UsageError, "at least 1", lambda net: net.locate(drawn(1), n=0)),
    "a threshold in percent": (errors.UsageError, "from 0 to 1", lambda net: net.locate(drawn(1), threshold=50)),
    "no threshold": (errors.UsageError, "from 0 to 1", lambda net: net.locate(drawn(1), threshold=float("nan"))),
    "a threshold for each": (
        errors.UsageError, "from 0 to 1", lambda net: net.locate(drawn(1), threshold=np.ones(2))  # type: ignore[arg-type]
    ),
    "a map of no class": (errors.UsageError, 'label: "unicorn"', lambda net: net.class_map(drawn(1), "unicorn")),
    "nothing to locate in": (errors.ImageError, "no pixels", lambda net: net.locate(drawn(1)[:0])),
    "errors": (errors.UsageError, "raise or return", lambda net: net.iter_features([], errors="ignore")),  # type: ignore[arg-type]
    "a network": (errors.UsageError, "tiny, fast", lambda _: Network("overfeat")),
    "a device": (errors.UsageError, "auto, cpu or cuda", lambda _: Network("tiny", device="tpu")),
    "a method": (errors.UsageError, "gemm", lambda _: Network("tiny", method="direct")),
    "a precision": (errors.UsageError, "tf32 or half", lambda _: Network("tiny", precision="double")),
    "a card's precision": (
        errors.BackendError, "a processor has", lambda _: Network("tiny", device="cpu", precision="half")
    ),
    "threads": (errors.UsageError, "at least 1", lambda _: Network("tiny", threads=0)),
    "half a thread": (errors.UsageError, "whole number", lambda _: Network("tiny", threads=0.5)),  # type: ignore[arg-type]
    "no folder": (errors.UsageError, "name of a folder", lambda _: Network("fast", weights="")),
    "no name of a folder": (errors.UsageError, "weights=3: ", lambda _: Network("fast", weights=3)),  # type: ignore[arg-type]
    "no weights": (errors.WeightsError, "no weights of fast", lambda _: Network("fast", weights="/nonexistent")),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_calls(case: str, net: Network) -> None:
    """One clear line each, and the network goes on."""
    kind, text, call = BAD[case]
    with pytest.raises(kind, match=text) as raised:
        call(net)
    assert type(raised.value) is kind
    assert "\n" not in str(raised.value)
    assert net.features(drawn(1)).shape == (96,)  # type: ignore[union-attr]


def test_closed() -> None:
    with Network("tiny") as net:
        engine = weakref.ref(net.engine)
        rows = net.iter_features([drawn(1)])
        next(rows)
    for call in (net.features, net.classify, net.locate, lambda picture: net.layers(picture, [1]), net.iter_features):
        with pytest.raises(errors.UsageError, match="the network tiny is closed"):
            call(drawn(1))
    assert repr(net) == "<Network tiny: closed>"
    del rows
    gc.collect()
    assert engine() is None
    net.close()
