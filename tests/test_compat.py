"""The original's functions: its record, a script as people wrote them, and what it got wrong."""

import doctest
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from overfeat_tools import compat, errors
from tests import reference
from tests.conftest import REFERENCE_DATA, recorded_picture
from tests.processes import environment
from tests.test_network import check_layer

Array = npt.NDArray[np.float32]

NETWORKS = {"fast": (0, "net_weight_0", 22), "accurate": (1, "net_weight_1", 25)}


@pytest.fixture(autouse=True)
def _freed() -> Iterator[None]:
    yield
    compat.free()


def picture(seed: int, height: int = 231, width: int = 231) -> Array:
    """Give a picture as the original takes it."""
    return np.random.default_rng(seed).integers(0, 256, (3, height, width)).astype(np.float32)


# As people wrote them: Python 2's parentheses aside, only the first line is other than it was.
SCRIPT = """
from overfeat_tools import compat as overfeat
import numpy, sys

path, index = sys.argv[1], int(sys.argv[2])
side = {0: 231, 1: 221}[index]
image = numpy.load(sys.argv[3]).astype(numpy.float32)
h, w, c = image.shape
image = image.reshape(w * h, c).transpose().reshape(c, h, w)

overfeat.init(path, index)
b = overfeat.fprop(image).flatten()
if overfeat.get_n_layers() == 22:
    assert index == 0
else:
    assert overfeat.get_n_layers() == 25
features = overfeat.get_output(overfeat.get_n_layers() - 3)
numpy.save(sys.argv[4], features)
top = sorted([(b[i], i) for i in range(len(b))])
for i in range(5):
    print(overfeat.get_class_name(top[-(i + 1)][1]))
overfeat.free()
"""


@pytest.mark.full_size
@pytest.mark.parametrize("name", NETWORKS)
def test_the_record(
    name: str,
    weights: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every layer is the original's; the job of its sample gives the classes that it printed, and its features."""
    index, file, layers = NETWORKS[name]
    recorded = {"fast": "fast-231x231", "accurate": "accurate-221x221"}[name]
    pixels, record = recorded_picture(recorded), dict(np.load(REFERENCE_DATA / f"{recorded}.npz"))
    compat.init(weights(name) / file, index)
    assert compat.get_n_layers() == layers == len({int(key[6:]) for key in record if key.startswith("shape_")})
    for _ in range(2):  # the second time all layers come from one pass
        scores = compat.fprop(pixels.transpose(2, 0, 1).astype(np.float32))
        for layer in range(layers):
            check_layer(record, layer, compat.get_output(layer).transpose(1, 2, 0))
    np.testing.assert_array_equal(scores, compat.get_output(layers - 1))

    lines = [line.rpartition(" ") for line in (REFERENCE_DATA / f"{recorded}.top5.txt").read_text("utf-8").splitlines()]
    top = compat.get_top_classes(compat.soft_max(scores), 5)
    assert [one for one, _ in top] == [one for one, _, _ in lines]
    # The original's exponential is approximate.
    np.testing.assert_allclose([value for _, value in top], [float(value) for *_, value in lines], rtol=5e-3)
    compat.free()

    np.save(tmp_path / "image.npy", pixels)
    (tmp_path / "script.py").write_text(SCRIPT)
    arguments = [weights(name) / file, index, tmp_path / "image.npy", tmp_path / "features.npy"]
    monkeypatch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
    runpy.run_path(str(tmp_path / "script.py"))
    assert capsys.readouterr().out.splitlines() == [one for one, _, _ in lines]
    check_layer(record, layers - 3, np.load(tmp_path / "features.npy").transpose(1, 2, 0))


def test_results_are_their_own() -> None:
    """The original's were views of one buffer: each became the next."""
    compat.init(None, "tiny")
    image = picture(1)
    first, layer = compat.fprop(image), compat.get_output(3)
    kept, kept_layer, kept_image = first.copy(), layer.copy(), image.copy()
    second = compat.fprop(picture(2))
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(layer, kept_layer)
    np.testing.assert_array_equal(image, kept_image)
    assert not np.array_equal(first, second)
    again = compat.get_output(3)
    assert not np.array_equal(again, layer)
    again[...] = 0.0
    assert compat.get_output(3).any()
    first[...] = 0.0
    assert compat.fprop(image).any()


def test_a_picture_that_changes_afterwards() -> None:
    """Layers that are asked for later are those of the picture as it was."""
    compat.init(None, "tiny")
    image = picture(1)
    compat.fprop(image)
    expected = compat.get_output(6)
    compat.init(None, "tiny")
    compat.fprop(image)
    image[...] = 0.0
    assert reference.distance(compat.get_output(6), expected) <= 2e-6


def test_layers_asked_for_before_come_from_the_same_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    compat.init(None, "tiny")
    passes = []
    run = compat._run  # noqa: SLF001 -- what is counted
    monkeypatch.setattr(compat, "_run", lambda *arguments: (passes.append(1), run(*arguments))[1])
    for seed in range(3):
        compat.fprop(picture(seed))
        assert compat.get_output(19).shape == (96, 1, 1)
        assert compat.get_output(19).shape == (96, 1, 1)
    assert len(passes) == 4


def test_maps_of_larger_pictures() -> None:
    compat.init(None, "tiny")
    assert compat.fprop(picture(1, 263, 300)).shape == (26, 2, 3)
    probabilities = compat.soft_max(compat.get_output(21))
    assert probabilities.shape == (26, 2, 3)
    expected = reference.softmax(compat.get_output(21)[None])[0]
    assert reference.distance(probabilities, expected) <= 1e-6
    with pytest.raises(errors.UsageError, match="at one place"):
        compat.get_top_classes(probabilities, 5)


BAD: dict[str, tuple[type[errors.OverfeatError], str, Callable[[], object]]] = {
    "another network": (errors.UsageError, "0 .fast. or 1", lambda: compat.init("x", 2)),
    "no network at all": (errors.UsageError, r"net_idx=\[\]", lambda: compat.init("x", [])),  # type: ignore[arg-type]
    "no path": (errors.UsageError, "weight_file_path=3", lambda: compat.init(3)),  # type: ignore[arg-type]
    "no weights": (errors.WeightsError, "no weights of fast", lambda: compat.init("/nonexistent/net_weight_0", 0)),
    "colours last": (errors.UsageError, r"\(3, H, W\)", lambda: compat.fprop(picture(1).transpose(1, 2, 0))),
    "a batch": (errors.UsageError, r"\(3, H, W\)", lambda: compat.fprop(picture(1)[None])),
    "whole numbers": (errors.UsageError, "int64", lambda: compat.fprop(picture(1).astype(np.int64))),
    "nothing": (errors.UsageError, "object", lambda: compat.fprop(None)),
    "too small": (errors.ImageError, "300x230 is smaller", lambda: compat.fprop(picture(1, 230, 300))),
    "nan": (errors.ImageError, "not finite", lambda: compat.fprop(picture(1) * np.float32(np.nan))),
    "the softmax": (errors.UsageError, "0 to 21", lambda: compat.get_output(22)),
    "a negative layer": (errors.UsageError, "0 to 21", lambda: compat.get_output(-1)),
    "half a layer": (errors.UsageError, "whole number", lambda: compat.get_output(1.5)),  # type: ignore[arg-type]
    "a class": (errors.UsageError, "0 to 25", lambda: compat.get_class_name(26)),
    "other scores": (errors.UsageError, "26 classes", lambda: compat.get_top_classes(np.ones(5), 1)),
    "no scores": (errors.UsageError, "scores", lambda: compat.soft_max(np.ones((0, 1, 1)))),
    "too many": (errors.UsageError, "0 to 26", lambda: compat.get_top_classes(np.ones(26), 27)),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_calls(case: str) -> None:
    compat.init(None, "tiny")
    compat.fprop(picture(1))
    kind, text, call = BAD[case]
    with pytest.raises(kind, match=text):
        call()


def test_order_of_calls() -> None:
    calls: list[tuple[Callable[..., object], list[object]]] = [
        (compat.fprop, [picture(1)]), (compat.get_n_layers, []), (compat.get_output, [1]), (compat.get_class_name, [1])
    ]  # fmt: skip
    for call, arguments in calls:
        with pytest.raises(errors.UsageError, match="call init first"):
            call(*arguments)
    compat.init(None, "tiny")
    with pytest.raises(errors.UsageError, match="before fprop"):
        compat.get_output(1)
    with pytest.raises(errors.ImageError):
        compat.fprop(picture(1, 10, 10))
    with pytest.raises(errors.UsageError, match="before fprop"):
        compat.get_output(1)
    compat.free()
    compat.free()


def test_weights_in_a_folder_or_under_another_name(tmp_path: Path) -> None:
    """What is missing is named as it was given."""
    with pytest.raises(errors.WeightsError, match="weights_of_mine"):
        compat.init(tmp_path / "weights_of_mine", 1)
    with pytest.raises(errors.WeightsError, match="net_weight_1"):
        compat.init(os.fsencode(tmp_path), 1)


def test_examples() -> None:
    failures, tried = doctest.testmod(compat, extraglobs={"np": np})
    assert (failures, tried > 5) == (0, True)


def test_without_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import overfeat_tools.compat.torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert done.stderr.splitlines()[-1].endswith("overfeat_tools.compat.torch needs PyTorch: pip install torch")


def test_tensors() -> None:
    """The same numbers from 0..1, as tensors that are their own."""
    torch = pytest.importorskip("torch")
    from overfeat_tools.compat import torch as binding

    compat.init(None, "tiny")
    image = picture(1)
    expected = compat.fprop(image)
    layer = compat.get_output(19)
    tensor = torch.from_numpy(image / 255).requires_grad_()
    for dtype in (torch.float32, torch.float64):
        scores = binding.fprop(tensor.to(dtype))
        assert scores.dtype == torch.float32
        assert reference.distance(scores.numpy(), expected) <= 2e-6
        assert reference.distance(binding.get_output(19).numpy(), layer) <= 2e-6
    top = binding.get_top_classes(binding.soft_max(scores), 3)
    assert [name for name, _ in top] == [name for name, _ in compat.get_top_classes(compat.soft_max(expected), 3)]
    assert binding.get_n_layers() == 22
    for bad in (image, tensor.to(torch.int32), None):
        with pytest.raises(errors.UsageError, match="tensor of floating point"):
            binding.fprop(bad)
    with pytest.raises(errors.UsageError, match=r"\(3, H, W\)"):
        binding.fprop(tensor[None])
