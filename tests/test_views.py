"""Views: what of-classify makes of several looks at a picture."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overfeat_tools.backend import CpuBackend
from overfeat_tools.commands.classify import Options
from overfeat_tools.commands.sizes import chosen_views
from overfeat_tools.errors import UsageError
from overfeat_tools.networks.classes import read_classes
from overfeat_tools.networks.dense import Dense
from overfeat_tools.networks.layers import softmax
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.topology import TINY
from overfeat_tools.networks.views import DenseViews, Ten, Views
from overfeat_tools.pictures import fit
from tests.processes import Result, run
from training.scenes import scene

RISING, FALLING = 2, 3
NAMES = [each.name for each in read_classes(TINY)]


@pytest.fixture(scope="module")
def network() -> Network:
    """Give `tiny` on two threads."""
    return Network(TINY, None, CpuBackend(2))


@pytest.fixture(params=[Ten, partial(DenseViews, scales=(1, 2))], ids=["ten", "dense"])
def views(request: pytest.FixtureRequest, network: Network) -> Views:
    """Give each kind of views in turn."""
    opened: Views = request.param(network)
    return opened


def stripes(height: int, width: int) -> np.ndarray:  # type: ignore[type-arg]
    """Draw stripes that rise from left to right, (H, W, 3) uint8."""
    rows, columns = np.mgrid[:height, :width]
    return np.where(((rows + columns) // 24 % 2 == 0)[..., None], (230, 220, 200), (20, 30, 80)).astype(np.uint8)


def test_a_file_is_not_decoded_smaller_than_its_largest_view(views: Views) -> None:
    """What may be decoded to a shorter side holds for large pictures."""
    made = views.prepare(np.zeros((1200, 1600, 3), np.uint8))
    assert max(min(view.shape[:2]) for view in made) <= views.side
    assert views.pixels == sum(view.shape[0] * view.shape[1] for view in made)


def test_ten_is_the_mean_of_its_crops(network: Network) -> None:
    """A picture that need not be scaled: each crop by itself."""
    pixels = np.random.default_rng(1).integers(0, 256, (256, 300, 3), np.uint8)
    places = (0, 0), (0, 69), (25, 0), (25, 69), (12, 34)
    corners = [pixels[top : top + 231, left : left + 231] for top, left in places]
    alone = np.stack([network.run(np.ascontiguousarray(part[None]))[0, 0, 0] for part in corners])
    mirrored = np.stack([network.run(np.ascontiguousarray(part[None, :, ::-1]))[0, 0, 0] for part in corners])
    mirrored[:, [RISING, FALLING]] = mirrored[:, [FALLING, RISING]]
    looks = Ten(network).look(pixels)
    np.testing.assert_allclose(looks.mean, (alone.sum(0) + mirrored.sum(0)) / 10, atol=1e-5)
    assert looks.told[4] == {"mirror": False, "place": "centre"}


def test_dense_is_the_mean_of_maxima(network: Network) -> None:
    pixels = scene("star", 0)
    expected = []
    for one in Dense(network).maps(pixels):
        probabilities = softmax(one.scores, np, axis=2).max(axis=(0, 1))
        if one.mirrored:
            probabilities[[RISING, FALLING]] = probabilities[[FALLING, RISING]]
        expected.append(probabilities)
    looks = DenseViews(network).look(pixels)
    np.testing.assert_allclose(looks.mean, np.mean(expected, axis=0), atol=1e-5)
    assert {look["scale"] for look in looks.told} == {1, 2, 4, 6}
    assert len(looks.told) == 8


def test_pictures_of_a_batch_have_their_own_answers(views: Views) -> None:
    """Alone or together, bytes or floats."""
    pictures = [scene(name, 1) for name in ("star", "red disc")]
    alone = [views.look(pixels).mean for pixels in pictures]
    prepared = [views.prepare(pixels) for pixels in pictures]
    together = [looks.mean for looks in views.begin(prepared)()]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    np.testing.assert_allclose(views.look(pictures[0].astype(np.float32)).mean, alone[0], atol=0.05)


def test_a_mirror_image_counts_as_what_the_picture_shows(views: Views) -> None:
    """Stripes that rise fall in the mirror: without telling, the two would share the probability."""
    assert NAMES[RISING] == "rising stripes"
    mean = views.look(stripes(300, 400)).mean
    assert mean.argmax() == RISING
    assert mean[RISING] > 0.8
    assert views.look(stripes(300, 400)[:, ::-1]).mean.argmax() == FALLING


def test_the_place_that_won_holds_the_shape(network: Network) -> None:
    """A small disc in a corner: its window there, in the picture's own coordinates, mirrored or not."""
    pixels = np.full((375, 500, 3), 225, np.uint8)
    rows, columns = np.mgrid[:375, :500]
    pixels[np.hypot(rows - 75, columns - 420) < 45] = (210, 20, 25)
    looks = DenseViews(network, (4, 6)).look(pixels)
    assert NAMES[looks.mean.argmax()] == "red disc"
    for look in range(len(looks.told)):
        left, top, right, bottom = looks.windows[look, looks.mean.argmax()]  # type: ignore[index]
        assert left < 420 / 500 < right
        assert top < 75 / 375 < bottom


def test_what_only_a_part_shows_is_seen(network: Network) -> None:
    """A shape at the edge: the centre does not see it, the others do."""
    pixels = np.full((300, 500, 3), 225, np.uint8)
    rows, columns = np.mgrid[:300, :500]
    pixels[np.hypot(rows - 150, columns - 445) < 50] = (20, 40, 210)
    assert network.run(fit(pixels, 231)[None])[0, 0, 0, NAMES.index("blue disc")] < 0.1
    for views in (Ten(network), DenseViews(network)):
        assert views.look(pixels).mean[NAMES.index("blue disc")] > 0.3


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (700, 20)])
def test_pictures_of_any_shape(views: Views, shape: tuple[int, int]) -> None:
    assert np.isfinite(views.look(np.full((*shape, 3), 7, np.uint8)).mean).all()


# The program.


def classify(*arguments: object, stdin: bytes = b"") -> Result:
    """Run of-classify with `tiny`."""
    return run("classify", "--net", "tiny", *map(str, arguments), data=stdin)


def test_records_of_a_stream() -> None:
    """Pictures of several sizes, one without pixels to use: each its record, in order."""
    pictures = [scene("star", 0), stripes(300, 200), scene("cross", 3)]
    ppm = b"".join(b"P6\n%d %d\n255\n" % (p.shape[1], p.shape[0]) + p.tobytes() for p in pictures)
    done = classify("--views", "dense", "--scales", "1,2", "--stride", "coarse", "--format", "json", "-n", 2, stdin=ppm)
    assert done.status == 0, done.err
    records = [json.loads(line) for line in done.out.splitlines()]
    assert [record["classes"][0]["name"] for record in records] == ["star", "rising stripes", "cross"]
    for record in records:
        for each in record["classes"]:
            assert each["scale"] in {1, 2}
            assert each["mirror"] in {False, True}
            assert 0 <= each["place"]["left"] < each["place"]["right"] <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": "ten", "size": "240"}, "--size goes with --views centre"),
        ({"views": "ten", "scales": "1"}, "--scales and --stride go with --views dense"),
        ({"stride": "fine"}, "--scales and --stride go with --views dense"),
        ({"views": "dense", "self_test": True}, "--self-test"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Options(**options).check()


@pytest.mark.parametrize("scales", ["1,7", "2,2", "", "1,,2", "one"])
def test_scales_that_are_none(scales: str) -> None:
    with pytest.raises(UsageError, match=f"--scales {scales}: different numbers from 1 to 6"):
        chosen_views("dense", scales, None)


def test_accuracy_of_views(tmp_path: Path) -> None:
    """--truth counts what the views say; a record tells which of the ten was the best."""
    from PIL import Image

    lines = []
    for name in ("star", "cross"):
        Image.fromarray(scene(name, 5)).save(tmp_path / f"{name}.png")
        lines.append(f"{name}.png\t{name}\n")
    (tmp_path / "truth.tsv").write_text("".join(lines))
    files = [tmp_path / "star.png", tmp_path / "cross.png"]
    done = classify("--views", "ten", "--format", "json", "-n", 1, "--truth", tmp_path / "truth.tsv", *files)
    *records, counted = map(json.loads, done.out.splitlines())
    assert [set(record["classes"][0]) for record in records] == [
        {"index", "wnid", "name", "probability", "mirror", "place"}
    ] * 2
    assert counted["top1"]["right"] == 2
