"""of-locate: boxes on what is there, in the picture's own pixels, and what it prints of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from overfeat_tools import Network
from overfeat_tools.backend import CpuBackend
from overfeat_tools.commands.locate import Options, locate
from overfeat_tools.errors import UsageError
from overfeat_tools.networks.classes import read_classes
from overfeat_tools.networks.localize import Box, Found, Localizer, match_score, merge
from overfeat_tools.networks.network import Network as Engine
from overfeat_tools.networks.topology import TOPOLOGIES
from tests import processes

CLASSES = {each.name: each.index for each in read_classes(TOPOLOGIES["tiny"])}
SIDES = st.integers(1, 200).map(float)
BOXES = st.tuples(SIDES, SIDES, SIDES, SIDES).map(lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3]))


def overlap(one: Box, other: Box) -> float:
    """Give the intersection over the union."""
    shared = [max(0.0, min(one[i + 2], other[i + 2]) - max(one[i], other[i])) for i in (0, 1)]
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared[0] * shared[1] / (both - shared[0] * shared[1])


def scene(size: tuple[int, int], *discs: tuple[str, Box]) -> Image.Image:
    """Draw discs on gray."""
    image = Image.new("RGB", size, (225, 225, 225))
    for colour, box in discs:
        ImageDraw.Draw(image).ellipse(box, fill=colour)
    return image


@pytest.fixture(scope="module")
def localizer(backend: CpuBackend) -> Localizer:
    return Localizer(Engine(TOPOLOGIES["tiny"], None, backend))


@pytest.fixture(scope="module")
def net() -> Network:
    return Network("tiny", device="cpu", threads=2)


@pytest.mark.parametrize("factor", [1, 3])
@pytest.mark.parametrize("turned", [False, True])
def test_a_disc_is_found_where_it_is(localizer: Localizer, factor: int, *, turned: bool) -> None:
    """In the pixels of the picture, whatever its size, lying or standing, and at its edge, too."""
    for box in ((150.0, 60.0, 270.0, 180.0), (280.0, 180.0, 400.0, 300.0)):
        scaled = tuple(edge * factor for edge in box)
        image = scene((400 * factor, 300 * factor), ("blue", scaled))
        expected = (scaled[1], scaled[0], scaled[3], scaled[2]) if turned else scaled
        pixels = np.asarray(image.transpose(Image.Transpose.TRANSPOSE) if turned else image)
        first = localizer.look(pixels).find(1)[0]
        assert first.index == CLASSES["blue disc"]
        assert overlap(first.box, expected) > 0.4  # at an edge, boxes are pushed inwards


def test_two_discs_of_a_class_and_floats(localizer: Localizer) -> None:
    boxes = (20.0, 40.0, 150.0, 170.0), (260.0, 120.0, 380.0, 240.0)
    image = np.asarray(scene((400, 300), ("red", boxes[0]), ("red", boxes[1])))
    windows = localizer.look(image.astype(np.float32))
    found = windows.find(2, [CLASSES["red disc"]])
    assert {max((0, 1), key=lambda i: overlap(one.box, boxes[i])) for one in found} == {0, 1}
    assert all(max(overlap(one.box, box) for box in boxes) > 0.4 for one in found)
    support = windows.support_map(CLASSES["red disc"])
    assert (support.min() >= 0, support.max()) == (True, 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (231, 231)])
def test_any_size(localizer: Localizer, size: tuple[int, int]) -> None:
    """Boxes lie in the picture and have an area."""
    height, width = size
    for each in localizer.look(np.zeros((height, width, 3), np.uint8)).find(5):
        left, top, right, bottom = each.box
        assert (0 <= left < right <= width, 0 <= top < bottom <= height, 0 <= each.probability <= 1) == (True,) * 3


@given(st.lists(st.tuples(BOXES, st.floats(0, 1)), max_size=6), st.sampled_from([-1.0, 0.0, 0.5]))
def test_merge(boxes: list[tuple[Box, float]], most: float) -> None:
    """No pair that is left has a lower score, and the best probability stays."""
    merged = merge([Found(3, probability, box) for box, probability in boxes], most)
    assert all(match_score(a.box, b.box) >= most for i, a in enumerate(merged) for b in merged[:i])
    assert max((one.probability for one in merged), default=0) == max((each for _, each in boxes), default=0)


@given(BOXES, st.integers(1, 50))
def test_match_score(box: Box, factor: int) -> None:
    """A box matches itself best, and units don't count: the overlap is on the side of the match."""
    moved = (box[0] + 3, box[1], box[2] + 3, box[3])
    score = match_score(box, moved)
    assert match_score(box, box) == pytest.approx(-1)
    assert score > -1
    scaled = [tuple(edge * factor for edge in each) for each in (box, moved)]
    assert match_score(*scaled) == pytest.approx(score)


def run(*arguments: object, status: int = 0) -> bytes:
    """Run of-locate with tiny."""
    done = processes.run("locate", "--net", "tiny", *map(str, arguments))
    assert done.status == status
    return done.out


def test_formats_and_the_library_agree(net: Network, tmp_path: Path) -> None:
    """And a picture that can't be used has its line."""
    scene((400, 300), ("blue", (150, 60, 270, 180))).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nothing")
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    told = net.locate(files[0], 3)
    text = [" ".join([name, f"{probability:g}", *map(str, box)]) for _, name, probability, box in told]
    rows = [line.split("\t") for line in run("-n", 3, "--format", "tsv", *files, status=3).decode().splitlines()]
    good, bad = map(json.loads, run("-n", 3, "--format", "json", *files, status=3).splitlines())
    assert [" ".join(row[4:]) for row in rows[:3]] == text
    assert (rows[3][0], rows[3][2:]) == ("2", [""] * 8)
    assert [list(map(str, box["box"])) for box in good["boxes"]] == [row[6:] for row in rows[:3]]
    assert (good["width"], good["height"], "not a picture" in bad["error"]) == (400, 300, True)
    page = run("--format", "html", "-n", 3, *files, status=3).decode()
    assert (page.count("<article"), page.count("<rect class"), "answered: 1; failed: 1" in page) == (2, 3, True)


def test_pictures(net: Network, tmp_path: Path) -> None:
    """Drawn pictures and maps have the pictures' sizes; a map is brightest on what it is a map of."""
    image = scene((400, 300), ("blue", (20, 20, 150, 150)), ("red", (260, 120, 380, 240)))
    image.save(tmp_path / "a.png")
    drawn = run("--draw", "-n", 2, tmp_path / "a.png")
    assert drawn.startswith(b"P6\n400 300\n255\n")
    assert len(drawn) == 15 + 400 * 300 * 3
    changed = np.frombuffer(drawn[15:], np.uint8).reshape(300, 400, 3) != np.asarray(image)
    assert 0.005 < changed.any(axis=2).mean() < 0.25
    for name, left in (("blue disc", True), ("red disc", False)):
        support: Any = net.class_map(image, name)
        assert support.shape == (300, 400)
        assert (np.unravel_index(support.argmax(), support.shape)[1] < 200) == left
    written = run("--map", "--class", name, tmp_path / "a.png")
    assert written.startswith(b"P5\n400 300\n255\n")
    printed = np.frombuffer(written[15:], np.uint8).reshape(300, 400)
    assert np.abs(printed - 255 * support).max() < 2


def test_the_library_locates_in_several_and_of_some_classes(net: Network) -> None:
    """Each picture has its own boxes, whatever is asked for; a file is not decoded smaller."""
    images = [scene((400, 300), (colour, (150, 60, 270, 180))) for colour in ("blue", "red")]
    several: Any = net.locate(images, 1)
    assert [boxes[0][1] for boxes in several] == ["blue disc", "red disc"]
    assert [boxes[0][3] for boxes in several] == [net.locate(image, 1)[0][3] for image in images]
    only: Any = net.locate(images[0], classes=["red disc", "star", "red disc"])
    assert {name for _, name, _, _ in only} == {"red disc", "star"}
    assert net.locate(images[0], classes="red disc", threshold=1) == []
    assert [support.shape for support in net.class_map(images)] == [(300, 400)] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wanted": "unicorn"}, "no class"),
        ({"draw": True, "map": True}, "--draw can't go"),
        ({"draw": True, "form": "json"}, "prints pictures"),
        ({"header": True}, "header"),
    ],
)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        locate(Options(net="tiny", files=["x.png"], **options))
