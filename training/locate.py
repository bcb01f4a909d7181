"""Measure of-locate on drawn scenes, beside two plain ways to give boxes.

    python -m training.locate
    python -m training.locate --several
    python -m training.locate --first 20000

`--several` draws two or three shapes that don't overlap in each picture, 5 to 20 % of its area each.  A box is right if
its class is and it shares half of the union with the shape's; of several boxes on one shape, the first counts.

Scenes are numbered.  That every second window is enough was found on those from 100,000 on; what is reported must be
measured on others.  A second table tells what limits the boxes, by the size of the shapes: the area of the best box of
a shape's class in areas of the shape's, by the median, and how many such boxes are right.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from overfeat_tools.networks.classes import read_classes
from overfeat_tools.networks.localize import Found, Localizer, Windows
from overfeat_tools.networks.opening import open_network
from training.canvas import Canvas, Field, chance
from training.classes import SCENES_SEED, index_of
from training.degrade import Picture, spoil
from training.draw import painted_on
from training.scenes import HEIGHT, OUTLINED, WIDTH, Box, box_around, outlined_scene

Truth = list[tuple[str, Box]]
_ASPECT = WIDTH / HEIGHT

# Of a box around a shape, in areas of the picture.
_SIZES = (0.0, 0.05, 0.08, 0.15, 0.25, 1.0)


def several(number: int) -> tuple[Picture, Truth]:
    """Draw two or three shapes that don't overlap, each in a colour that stands apart from the ground."""
    rng = np.random.default_rng([99, SCENES_SEED + number])
    crisp = chance(rng, 0.3)
    whole: Field | None = None
    truth: Truth = []
    for radius, middle in _placed(rng, int(rng.integers(2, 4))):
        while True:
            name = str(rng.choice(OUTLINED))
            canvas = Canvas(rng, WIDTH, HEIGHT, crisp=crisp, shape_radius=radius, shape_middle=middle)
            painted = np.asarray(painted_on(canvas, index_of(name)), np.float32)
            cover = np.broadcast_to(canvas.outlines[0], (HEIGHT, WIDTH))
            if whole is None:
                whole = painted
                break
            if np.abs(painted[cover > 0.5].mean(axis=0) - whole[cover > 0.5].mean(axis=0)).max() > 60:
                whole = whole + cover[..., None] * (painted - whole)
                break
        truth.append((name, box_around(cover)))
    assert whole is not None  # noqa: S101 -- for the type checker: there are two shapes at least
    return spoil(rng, whole, gentle=chance(rng, 0.6 if crisp else 0.12), whole=True), truth


def _placed(rng: np.random.Generator, count: int) -> list[tuple[float, tuple[float, float]]]:
    """Draw sizes and middles of squares that don't overlap."""
    placed: list[tuple[float, tuple[float, float]]] = []
    while len(placed) < count:
        if chance(rng, 0.02):
            placed.clear()  # there may be no room left
        radius = float(np.sqrt(rng.uniform(0.05, 0.2) * _ASPECT)) / 2
        x, y = rng.uniform(-1, 1, 2) * (_ASPECT / 2 - radius, 0.5 - radius)
        if all(max(abs(x - a), abs(y - b)) > radius + other + 0.03 for other, (a, b) in placed):
            placed.append((radius, (float(x), float(y))))
    return placed


def whole_picture(windows: Windows) -> list[Found]:
    """Give the most probable classes, each with the whole picture as its box."""
    probabilities = windows.classes()
    best = np.argsort(-probabilities)[:10]
    return [Found(int(i), float(probabilities[i]), (0.0, 0.0, float(WIDTH), float(HEIGHT))) for i in best]


def plain_windows(windows: Windows) -> list[Found]:
    """Give for the most probable classes the windows that show them best, as far as they don't share a half."""
    found: list[Found] = []
    limits = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])
    for index in np.argsort(-windows.classes())[:5]:
        own: list[Found] = []
        for each in np.argsort(-windows.probabilities[:, index])[:200]:
            left, top, right, bottom = np.clip(windows.edges[each], 0, limits).tolist()
            box = (left, top, right, bottom)
            if len(own) < 4 and all(shared(box, other.box) < 0.5 for other in own):
                own.append(Found(int(index), float(windows.probabilities[each, index]), box))
        found += own
    return sorted(found, key=lambda each: -each.probability)[:10]


def shared(one: Box, other: Box) -> float:
    """Give the intersection over the union."""
    sides = [max(0.0, min(one[i + 2], other[i + 2]) - max(one[i], other[i])) for i in (0, 1)]
    both = area(one) + area(other)
    return sides[0] * sides[1] / (both - sides[0] * sides[1])


def judged(found: Sequence[Found], truth: Sequence[tuple[int, Box]]) -> list[bool]:
    """Tell which boxes are right; each shape is found once."""
    left, right = list(truth), []
    for each in found:
        hit = next((one for one in left if one[0] == each.index and shared(one[1], each.box) >= 0.5), None)
        right.append(hit is not None)
        if hit:
            left.remove(hit)
    return right


def mean_average_precision(found: list[list[Found]], truths: list[list[tuple[int, Box]]]) -> float:
    """Give the mean over classes of the area below the curve of precision over recall."""
    rows = [
        (each.probability, each.index, hit)
        for boxes, truth in zip(found, truths, strict=True)
        for each, hit in zip(boxes, judged(boxes, truth), strict=True)
    ]
    areas = []
    for index in {index for truth in truths for index, _ in truth}:
        hits = np.array([hit for _, i, hit in sorted(rows, key=lambda row: -row[0]) if i == index], float)
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        highest = np.maximum.accumulate(precision[::-1])[::-1]
        areas.append(float((highest * hits).sum()) / sum(i == index for truth in truths for i, _ in truth))
    return float(np.mean(areas))


def drawn(first: int, count: int, *, of_several: bool) -> Iterator[tuple[Picture, Truth]]:
    """Draw the scenes."""
    if of_several:
        yield from (several(first + number) for number in range(count))
        return
    for number, name in itertools.product(range(count // len(OUTLINED)), OUTLINED):
        picture, box = outlined_scene(name, first + number)
        yield picture, [(name, box)]


def print_by_size(found: list[list[Found]], truths: list[list[tuple[int, Box]]]) -> None:
    """Print what boxes are like on shapes of several sizes."""
    rows = []
    for boxes, truth in zip(found, truths, strict=True):
        for index, box in truth:
            own = [each.box for each in boxes if each.index == index]
            best = max(own, key=lambda each: shared(each, box), default=None)
            ratio = area(best) / area(box) if best else np.nan
            rows.append((area(box) / (WIDTH * HEIGHT), ratio, best is not None and shared(best, box) >= 0.5))
    values = np.array(rows, float)
    print("\nshape          shapes  with a box of their class  area of the box  right")
    for low, high in itertools.pairwise(_SIZES):
        here = values[(values[:, 0] >= low) & (values[:, 0] < high)]
        if len(here):
            ratio, boxed = np.nanmedian(here[:, 1]), np.isfinite(here[:, 1]).mean()
            print(f"{low:4.0%} to {high:4.0%}   {len(here):6}  {boxed:25.3f}  {ratio:15.2f}  {here[:, 2].mean():.3f}")


def area(box: Box) -> float:
    """Give the area of a box."""
    return (box[2] - box[0]) * (box[3] - box[1])


def main() -> None:
    """Print tables."""
    parser = argparse.ArgumentParser(description="Measure of-locate on drawn scenes.")
    parser.add_argument("--count", type=int, default=400, help="scenes")
    parser.add_argument("--several", action="store_true", help="two or three shapes in each")
    parser.add_argument("--first", type=int, default=0, help="number of the first scene")
    args = parser.parse_args()
    network = open_network("tiny")
    localizer = Localizer(network)
    indices = {each.name: each.index for each in read_classes(network.topology)}
    ways = {"of-locate": lambda seen: seen.find(10), "plain windows": plain_windows, "whole picture": whole_picture}
    found: dict[str, list[list[Found]]] = {way: [] for way in ways}
    truths = []
    for picture, truth in drawn(args.first, args.count, of_several=args.several):
        truths.append([(indices[name], box) for name, box in truth])
        seen = localizer.look(picture)
        for way, boxes in ways.items():
            found[way].append(boxes(seen))
    print("boxes          first  of five  mAP    shapes found by ten boxes")
    for way, boxes in found.items():
        hits = [judged(each, truth) for each, truth in zip(boxes, truths, strict=True)]
        first, five = (np.mean([any(each[:most]) for each in hits]) for most in (1, 5))
        recall = sum(map(sum, hits)) / sum(map(len, truths))
        print(f"{way:14} {first:.3f}  {five:.3f}    {mean_average_precision(boxes, truths):.3f}  {recall:.3f}")
    print_by_size(found["of-locate"], truths)


if __name__ == "__main__":
    main()
