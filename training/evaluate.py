"""Measure the demonstration network on freshly drawn pictures.

Run as a program::

    python -m training.evaluate --weights overfeat_tools/networks/data/net_weight_tiny

It counts how many pictures come out right as drawn, scaled to another size
and back by way of JPEG, mirrored, and with red and blue exchanged, and shows
which classes are taken for which. With `--files` it classifies pictures
whose file names begin with their class instead, such as `spiral-2.png`.
"""

import argparse
import multiprocessing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from training.classes import CLASSES, TEST_SEED
from training.degrade import Picture, central_square, jpeg
from training.network import load_weights, to_input
from training.train import draw_set

if TYPE_CHECKING:
    from collections.abc import Callable

_BATCH: Final = 64
_QUALITY: Final = 60


@torch.no_grad()
def scores_of(network: nn.Module, pictures: Picture) -> NDArray[np.float32]:
    """Return the probabilities of the classes for every picture."""
    room = torch.empty((_BATCH, *pictures.shape[1:]))
    parts = [
        torch.softmax(network(to_input(pictures[start : start + _BATCH], room)), dim=1)
        for start in range(0, len(pictures), _BATCH)
    ]
    return torch.cat(parts).numpy()


def rescaled(pictures: Picture, seed: int = 0) -> Picture:
    """Scale pictures to 160 to 600 pixels, through JPEG, and back."""
    rng = np.random.default_rng(seed)
    done = np.empty_like(pictures)
    for i, picture in enumerate(pictures):
        side = int(rng.integers(160, 601))
        image = Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS)
        done[i] = np.asarray(central_square(jpeg(image, _QUALITY)))
    return done


def confusion(truth: NDArray[np.int64], found: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count how often each class (rows) was taken for each (columns)."""
    counts = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    np.add.at(counts, (truth, found), 1)
    return counts


def table(counts: NDArray[np.int64]) -> str:
    """Lay out a confusion matrix in Markdown, with a dot for none."""
    head = "| | " + " | ".join(str(i) for i in range(len(CLASSES))) + " |"
    rule = "|---" * (len(CLASSES) + 1) + "|"
    rows = [
        f"| {i} {name} | " + " | ".join(str(n) if n else "·" for n in row) + " |"
        for i, (name, row) in enumerate(zip(CLASSES, counts.tolist(), strict=True))
    ]
    return "\n".join([head, rule, *rows])


def measure(network: nn.Module, per_class: int, workers: int) -> None:
    """Print the accuracies and the confusion matrices."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pictures, truth = draw_set(pool, TEST_SEED, per_class)
    views: dict[str, Callable[[Picture], Picture]] = {
        "plain": lambda p: p,
        "rescaled": rescaled,
        "mirrored": lambda p: np.ascontiguousarray(p[:, :, ::-1]),
        "transposed": lambda p: np.ascontiguousarray(p.transpose(0, 2, 1, 3)),
        "red and blue exchanged": lambda p: np.ascontiguousarray(p[..., ::-1]),
    }
    for name, view in views.items():
        found = scores_of(network, view(pictures)).argmax(1)
        right = int((found == truth).sum())
        print(f"{name}: {right} of {len(truth)} right, {100 * right / len(truth):.2f} %")
        if name in {"plain", "rescaled"}:
            print(f"\n{table(confusion(truth, found))}\n")


def classify_files(network: nn.Module, files: list[Path]) -> None:
    """Print what each file shows, and how many come out as they are named."""
    right = 0
    for path in files:
        picture = np.array(central_square(Image.open(path).convert("RGB")))
        scores = scores_of(network, picture[None])[0]
        best = np.argsort(-scores)[:2]
        named = path.stem.replace("_", " ").split("-")[0]
        good = named == CLASSES[best[0]]
        right += good
        guesses = ", ".join(f"{CLASSES[k]} {scores[k]:.3f}" for k in best)
        print(f"{'ok   ' if good else 'WRONG'} {path.name}: {guesses}")
    print(f"{right} of {len(files)} right")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description="Measure the demonstration network.")
    parser.add_argument("--weights", type=Path, required=True, help="weight file to read")
    parser.add_argument("--per-class", type=int, default=100, help="pictures of each class")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    parser.add_argument("--files", type=Path, nargs="+", help="classify these files instead")
    args = parser.parse_args()
    torch.set_num_threads(args.workers)
    network = load_weights(args.weights)
    if args.files:
        classify_files(network, args.files)
    else:
        measure(network, args.per_class, args.workers)


if __name__ == "__main__":
    main()
