"""How often each of of-classify's views is right, with `tiny`, on pictures drawn for it.

    python -m benchmarks.looks [--per-class N] [--only SET]

Every picture shows one thing, and was drawn from seeds of its own, apart from training's:

    scenes     one shape with an outline in a picture of 500x375, whole, 5 to 40 % of the area, anywhere
    cut        the same, where the shape's middle may lie anywhere, so that a part of it may be outside
    small      as scenes, 1 to 5 % of the area
    pasted     a test picture of any class, shrunk to 5 to 40 % of the area, anywhere in a gray picture of 500x375
    plain      test pictures as training's are drawn, 231x231
"""

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

from overfeat_tools.backend import Array, FloatArray
from overfeat_tools.networks.network import Network
from overfeat_tools.networks.opening import open_network
from overfeat_tools.networks.views import Looks, Views, open_views
from overfeat_tools.pictures import fit
from training.classes import CLASSES, SCENES_SEED, TEST_SEED, index_of
from training.degrade import Picture
from training.draw import draw
from training.scenes import AREAS, HEIGHT, OUTLINED, WIDTH, outlined_scene

_GRAY, _BATCH, _FIVE = 128, 8, 5
_SMALL_AREAS = (0.01, 0.05)


def pasted(name: str, number: int) -> Picture:
    """Draw a test picture and paste it, smaller, into a gray one; its area and its place are uniform."""
    index = index_of(name)
    rng = np.random.default_rng([index, SCENES_SEED + number])
    side = round(float(np.sqrt(rng.uniform(*AREAS) * WIDTH * HEIGHT)))
    left, top = int(rng.integers(WIDTH - side + 1)), int(rng.integers(HEIGHT - side + 1))
    shown = Image.fromarray(draw(index, TEST_SEED + number)).resize((side, side), Image.Resampling.LANCZOS)
    whole = np.full((HEIGHT, WIDTH, 3), _GRAY, np.uint8)
    whole[top : top + side, left : left + side] = np.asarray(shown)
    return whole


# Each: of which classes, and how one is drawn.
SETS: dict[str, tuple[Sequence[str], Callable[[str, int], Picture]]] = {
    "scenes": (OUTLINED, lambda name, number: outlined_scene(name, number)[0]),
    "cut": (OUTLINED, lambda name, number: outlined_scene(name, number, whole=False)[0]),
    "small": (OUTLINED, lambda name, number: outlined_scene(name, number, _SMALL_AREAS)[0]),
    "pasted": (CLASSES, pasted),
    "plain": (CLASSES, lambda name, number: draw(index_of(name), TEST_SEED + number)),
}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Measure views on drawn pictures.")
    parser.add_argument("--per-class", type=int, default=100, help="pictures of each class in each set")
    parser.add_argument("--only", choices=tuple(SETS), action="append", help="these sets; may be repeated")
    args = parser.parse_args()
    network = open_network("tiny", device="cpu")
    views = {"centre": None, **{kind: open_views(network, kind) for kind in ("ten", "dense")}}
    print("| pictures | of them | " + " | ".join(f"{kind}, top-1 | top-5" for kind in views) + " |")
    print("|---" * (2 + 2 * len(views)) + "|")
    for name in args.only or SETS:
        names, painter = SETS[name]
        right = np.concatenate([
            judged(network, views.values(), *some) for some in drawn(names, painter, args.per_class)
        ])  # fmt: skip
        shares = " | ".join(f"{100 * share:.2f} %" for share in right.mean(axis=0).ravel())
        print(f"| {name} | {len(right)} | {shares} |", flush=True)


def drawn(
    names: Sequence[str], painter: Callable[[str, int], Picture], count: int
) -> Iterator[tuple[list[Picture], Array]]:
    """Draw pictures, in batches with what they show."""
    wanted = itertools.product(range(count), names)
    while some := list(itertools.islice(wanted, _BATCH)):
        yield [painter(name, number) for number, name in some], np.array([index_of(name) for _, name in some])


def judged(network: Network, views: Iterator[Views[Looks] | None], pictures: list[Picture], truth: Array) -> Array:
    """Tell for each picture and each of the views whether the first class is right, and one of the first five."""
    right = []
    for each in views:
        best = np.argsort(-probabilities(network, each, pictures), axis=1)[:, :_FIVE] == truth[:, None]
        right.append(np.stack([best[:, 0], best.any(axis=1)], axis=1))
    return np.stack(right, axis=1)


def probabilities(network: Network, views: Views[Looks] | None, pictures: list[Picture]) -> FloatArray:
    """Classify pictures of one size by views, or by the centre."""
    if views is None:
        return network.run(np.stack([fit(picture, network.topology.input_size) for picture in pictures]))[:, 0, 0]
    seen = views.begin([views.prepare(picture) for picture in pictures])()
    return np.stack([looks.mean for looks in seen])


if __name__ == "__main__":
    main()
