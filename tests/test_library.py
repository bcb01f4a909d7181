"""The library: pictures of any kind give the numbers of the programs, in arrays of their own."""

import doctest
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import overfeat_tools
from overfeat_tools import Network, errors
from overfeat_tools.library import locating, opened
from overfeat_tools.library import network as library
from overfeat_tools.networks.views import open_views
from tests import picture_files, processes, reference
from tests.library_pictures import FEATURES, SIDE, Pixels, drawn, near, open_tiny, png
from tests.processes import SAMPLES, environment


@pytest.fixture(scope="module")
def net() -> Network:
    """Give a network."""
    return open_tiny()


class OnlyArray:
    """What numpy can make an array of, and nothing else."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels

    def __array__(self, dtype: object = None, copy: object = None) -> Pixels:
        return self._pixels


class OnlyDlpack:
    """What can be exchanged, and nothing else."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels

    def __dlpack__(self, **options: object) -> object:
        return self._pixels.__dlpack__(**options)  # type: ignore[arg-type]

    def __dlpack_device__(self) -> object:
        return self._pixels.__dlpack_device__()


# What is taken.


KINDS: dict[str, Callable[[Pixels, Path], object]] = {
    "name": lambda _, path: str(path),
    "path": lambda _, path: path,
    "bytes": lambda _, path: path.read_bytes(),
    "bytearray": lambda _, path: bytearray(path.read_bytes()),
    "memoryview": lambda _, path: memoryview(path.read_bytes()),
    "image": lambda pixels, _: Image.fromarray(pixels),
    "opened image": lambda _, path: Image.open(path),
    "array": lambda pixels, _: pixels,
    "columns first": lambda pixels, _: np.asfortranarray(pixels),
    "read-only": lambda pixels, _: np.frombuffer(pixels.tobytes(), np.uint8).reshape(pixels.shape),
    "__array__": lambda pixels, _: OnlyArray(pixels),
    "__dlpack__": lambda pixels, _: OnlyDlpack(pixels),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_pictures(kind: str, net: Network, tmp_path: Path) -> None:
    """One, or several, of each kind: the same features."""
    pixels, path = drawn(2), tmp_path / "picture.png"
    path.write_bytes(png(pixels))
    picture = KINDS[kind](pixels, path)
    expected = net.engine.run(pixels[None], FEATURES)[0, 0, 0]
    one, several = net.features(picture), net.features(iter([picture, picture]))  # type: ignore[arg-type, list-item]
    assert one.shape == (96,)  # type: ignore[union-attr]
    assert near(one, expected)
    assert near(several, [expected, expected])


def test_many_pictures_at_once(net: Network, tmp_path: Path) -> None:
    """Arrays of pictures, arrays of names, and all kinds in one list: a row for each, in order."""
    pictures = np.stack([drawn(seed) for seed in range(4)])
    expected = net.features(pictures)
    names = []
    for number, pixels in enumerate(pictures):
        names.append(str(tmp_path / f"{number}.png"))
        Path(names[-1]).write_bytes(png(pixels))
    assert near(net.features(np.array(names)), expected)
    mixed = [names[0], pictures[1:3], Image.fromarray(pictures[3])]
    assert near(net.features(mixed), expected)  # type: ignore[arg-type]
    assert [row.shape for row in net.iter_features(mixed)] == [(96,)] * 4  # type: ignore[arg-type, union-attr]


def test_a_file_named_as_standard_input(net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").write_bytes(png(drawn(3)))
    assert near(net.features("-"), net.features(drawn(3)))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_images_are_upright_as_files_are(form: str, net: Network, tmp_path: Path) -> None:
    """One that has just been opened is turned; one that somebody has turned isn't turned again."""
    tags = Image.Exif()
    tags[0x0112] = 6
    path = tmp_path / "picture"
    Image.fromarray(picture_files.smooth(240, 300)).save(path, form, exif=tags)
    expected = net.features(str(path))
    assert expected.shape == (96, 3, 1)  # type: ignore[union-attr]
    opened = Image.open(path)
    assert reference.distance(np.asarray(net.features(opened)), np.asarray(expected)) <= 2e-2  # another decoder
    turned = ImageOps.exif_transpose(Image.open(path))
    assert near(net.features(turned), net.features(opened))
    assert near(net.features(turned.copy()), net.features(opened))


def test_modes_of_images(net: Network) -> None:
    """Gray is three equal colours, sixteen bits are scaled, alpha is dropped, numbers without a range are refused."""
    gray = drawn(4)[..., 0]
    expected = net.features(np.repeat(gray[..., None], 3, axis=2))
    assert near(net.features(Image.fromarray(gray)), expected)
    assert near(net.features(Image.fromarray(gray.astype(np.uint16) * 257)), expected)
    assert near(net.features(Image.merge("LA", [Image.fromarray(gray)] * 2)), expected)
    with pytest.raises(errors.ImageError, match="no stated black and white"):
        net.features(Image.fromarray(gray.astype(np.float32)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scale(dtype: type, net: Network) -> None:
    pixels = drawn(5) & 0xF0  # exact in each
    expected = net.features(pixels)
    assert near(net.features(pixels.astype(dtype), scale=255), expected)
    if dtype != np.float16:
        assert near(net.features(pixels.astype(dtype) / dtype(255), scale=1), expected)
    assert near(net.features([pixels, pixels.astype(dtype)], scale=255), [expected, expected])
    # What is above white is taken as it is, not for another scale.
    assert not near(net.features(pixels.astype(dtype) * dtype(1.5), scale=255), expected)


# What comes back.


def test_shapes(net: Network) -> None:
    """Without the axis of pictures for one, without those of places where there is one, a list where sizes differ."""
    small, large, wide = drawn(1), drawn(2, 263, 263), drawn(3, SIDE, 295)
    assert net.features(small).shape == (96,)  # type: ignore[union-attr]
    assert net.features([small]).shape == (1, 96)  # type: ignore[union-attr]
    assert net.features(small[None]).shape == (1, 96)  # type: ignore[union-attr]
    assert net.features(large).shape == (96, 2, 2)  # type: ignore[union-attr]
    assert net.features([large, large]).shape == (2, 96, 2, 2)  # type: ignore[union-attr]
    assert [one.shape for one in net.features([small, wide])] == [(96, 1, 1), (96, 1, 3)]
    assert net.features([small, wide], size="input").shape == (2, 96)  # type: ignore[union-attr]
    assert net.features(large, size="none").shape == (96, 2, 2)  # type: ignore[union-attr]
    assert net.features(small, size=263).shape == (96, 2, 2)  # type: ignore[union-attr]
    rows = net.iter_features([small, wide])
    assert [row.shape for row in rows] == [(96,), (96, 1, 3)]  # type: ignore[union-attr]
    assert [len(answers) for answers in net.classify([small, wide], n=3)] == [3, 3]
    assert len(net.classify(small)) == 5
    assert len(net.classify(small, n=1000)) == 26
    maps = net.layers([small, wide], [3, "scores"])
    assert [one.shape for one in maps[3]] == [(32, 28, 28), (32, 28, 36)]
    assert all(one.flags.c_contiguous and one.flags.writeable for one in [net.features(large), *maps["scores"]])  # type: ignore[union-attr]


def test_layers_by_number_and_name(net: Network) -> None:
    """From one pass, each what a pass for it alone gives."""
    picture = drawn(6, 240, 280)
    asked = [np.int64(0), 1, 7, 22, "features", FEATURES, "scores", "probabilities"]
    passes = []
    begin = net.engine.begin_layers
    net.engine.begin_layers = lambda *arguments: (passes.append(1), begin(*arguments))[1]  # type: ignore[method-assign]
    try:
        maps = net.layers(picture, asked)  # type: ignore[arg-type]
    finally:
        del net.engine.begin_layers
    assert list(maps) == asked
    assert len(passes) == 1
    for layer in asked:
        alone = net.engine.run(picture[None], net.layer_number(layer))[0].transpose(2, 0, 1)  # type: ignore[arg-type]
        assert near(maps[layer], alone), layer  # type: ignore[index]
    np.testing.assert_array_equal(maps["scores"], net.layers(picture, [21])[21])
    np.testing.assert_allclose(np.asarray(maps["probabilities"]).sum(axis=0), 1.0, rtol=1e-5)


def test_results_are_their_own(net: Network) -> None:
    """No result changes with the next, or is a part of another; no picture is changed."""
    pictures = np.stack([drawn(1), drawn(2)])
    before = pictures.copy()
    rows = list(net.iter_features(pictures))
    first = net.features(pictures)
    kept = np.array(first)
    second = net.features(pictures[::-1])
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(pictures, before)
    assert not np.shares_memory(first, second)  # type: ignore[arg-type]
    assert not np.shares_memory(rows[0], rows[1])  # type: ignore[arg-type]
    assert rows[0].base is None or rows[0].base.size == rows[0].size  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [None, "240"])
def test_numbers_are_those_of_the_programs(size: str | None, net: Network) -> None:
    """To the last bit, where pixels decide alone."""
    if not net.engine.convolutions[1].reproducible:
        pytest.skip("nothing is compiled for this processor")
    files = [str(SAMPLES / "star.png"), str(SAMPLES / "maze.png"), str(SAMPLES / "star.png")]
    options = ["--net", "tiny", "--reproducible", "--device", "cpu", *(["--size", size] if size else [])]

    def run(command: str, *more: str) -> bytes:
        return processes.run(command, *options, *more, *files).out

    ours: object = int(size) if size and size.isdigit() else size
    printed = io.BytesIO(run("features", "--format", "npy"))
    for row in net.iter_features(files, size=ours):  # type: ignore[arg-type]
        np.testing.assert_array_equal(np.load(printed).squeeze(), row)
    rankings = [json.loads(line)["classes"] for line in run("classify", "--format", "json").splitlines()]
    answers = net.classify(files, size="input" if size is None else ours)  # type: ignore[arg-type]
    for classes, answer in zip(rankings, answers, strict=True):
        assert [(one["wnid"], one["name"]) for one in classes] == [(wnid, name) for wnid, name, _ in answer]
        np.testing.assert_allclose([one["probability"] for one in classes], [one[2] for one in answer], rtol=1e-6)


VIEWS: list[dict[str, Any]] = [
    {"views": "ten"},
    {"views": "dense", "scales": (2, 1), "stride": "coarse"},
    {"views": "dense", "scales": [1]},
]


@pytest.mark.parametrize("how", VIEWS, ids=str)
def test_views_are_those_of_the_program(how: dict[str, Any], net: Network) -> None:
    """The same classes with the same probabilities, alone or with others."""
    files = [str(SAMPLES / "star.png"), str(SAMPLES / "maze.png")]
    words = {**how, "scales": ",".join(map(str, how["scales"]))} if "scales" in how else how
    options = [word for name, value in words.items() for word in (f"--{name}", value)]
    printed = processes.run("classify", "--net", "tiny", "--format", "json", *map(str, options), *files).out
    together: Any = net.classify(files, **how)
    for line, file, several in zip(printed.splitlines(), files, together, strict=True):
        alone: Any = net.classify(file, **how)
        for answer in (several, alone):
            theirs = json.loads(line)["classes"]
            assert [(one["wnid"], one["name"]) for one in theirs] == [(wnid, name) for wnid, name, _ in answer]
            np.testing.assert_allclose([one["probability"] for one in theirs], [one[2] for one in answer], atol=1e-5)


def test_views_are_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often they are asked for, and in whatever order their scales are named."""
    asked = []
    monkeypatch.setattr(
        opened, "open_views", lambda *key, fine: (asked.append((*key[1:], fine)), open_views(*key, fine=fine))[1]
    )
    net = Network("tiny", device="cpu", threads=2)
    for stride in "fine", "coarse", None:
        net.classify(drawn(1), views="dense", scales=iter([2, 1]), stride=stride)  # type: ignore[arg-type]
        net.classify(drawn(1), views="dense", scales=(1, 2), stride=stride)  # type: ignore[arg-type]
        net.classify(drawn(1), views="ten")
    assert asked == [("dense", (1, 2), True), ("ten", (1, 2, 4, 6), True), ("dense", (1, 2), False)]


# The module.


def test_import_is_light() -> None:
    """Nothing but the standard library, until `Network` is used; other names are refused as ever."""
    code = (
        "import sys, overfeat_tools; heavy = {name.partition('.')[0] for name in sys.modules} & "
        "{'numpy', 'PIL', 'typer', 'llvmlite', 'imageio', 'platformdirs'}; assert not heavy, heavy; "
        "assert not hasattr(overfeat_tools, 'nothing'); assert overfeat_tools.Network.__name__ == 'Network'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())
    assert overfeat_tools.__all__ == ["Network", "__version__"]


def test_examples() -> None:
    known = {"np": np, "net": Network("tiny"), "picture": drawn(1, 300, 400)}
    results = [doctest.testmod(module, extraglobs=known) for module in (library, locating)]
    assert [(failures, tried > 4) for failures, tried in results] == [(0, True)] * 2
