"""Train the demonstration network on freshly drawn pictures.

Run as a program::

    python -m training.train --out weights --seed 1
"""

import argparse
import logging
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.augment import vary
from training.classes import CLASSES, SIDE, TRAINING_SEED, VALIDATION_SEED
from training.degrade import Picture
from training.draw import draw
from training.network import build, load_weights, save_weights, to_input

LOG: Final = logging.getLogger("training")

# Seeds of runs are this far apart, so that their pictures differ.
_RUN_STRIDE: Final = 1_000_000
_BATCH: Final = 128

# Classes that are easily taken for each other are drawn twice as often.
_HARD: Final = frozenset({"checkerboard", "grid", "polka dots", "concentric rings", "spiral", "star"})
_COUNTS: Final = tuple(2 if name in _HARD else 1 for name in CLASSES)


@dataclass(frozen=True)
class Plan:
    """How long to train, and on what.

    Attributes
    ----------
    rounds : int
        How often to draw new pictures.
    per_class : int
        How many pictures of each class to draw in a round.
    epochs : int
        How often to go through the pictures of a round.
    rate : float
        Highest learning rate.
    bfloat16 : bool
        Whether to multiply in the shorter floats that some processors have.
    """

    rounds: int
    per_class: int
    epochs: int
    rate: float
    bfloat16: bool


def draw_pair(pair: tuple[int, int]) -> Picture:
    """Draw the picture of a class and a seed, in a worker."""
    return draw(*pair)


def draw_set(
    pool: Pool, start: int, per_class: int, counts: Sequence[int] = (1,) * len(CLASSES)
) -> tuple[Picture, NDArray[np.int64]]:
    """Draw pictures of every class, of consecutive seeds from a start."""
    pairs = [(c, start + k) for c, many in enumerate(counts) for k in range(many * per_class)]
    pictures = np.empty((len(pairs), SIDE, SIDE, 3), np.uint8)
    for i, picture in enumerate(pool.imap(draw_pair, pairs, chunksize=16)):
        pictures[i] = picture
    return pictures, np.array([c for c, _ in pairs])


def _batches(
    rng: np.random.Generator, pictures: Picture, labels: NDArray[np.int64]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Go through the pictures once, in random order, each varied anew.

    Every batch lies in the same memory: fetching fresh pages from the system
    for each would take as long as the training itself.
    """
    order = rng.permutation(len(labels))
    batch = np.empty((_BATCH, SIDE, SIDE, 3), np.uint8)
    room = torch.empty((_BATCH, SIDE, SIDE, 3))
    for start in range(0, len(order) - _BATCH + 1, _BATCH):
        chosen = order[start : start + _BATCH]
        targets = np.empty(_BATCH, np.int64)
        for i, k in enumerate(chosen):
            batch[i], targets[i] = vary(rng, pictures[k], int(labels[k]))
        yield to_input(batch, room), torch.from_numpy(targets)


@torch.no_grad()
def accuracy(network: nn.Module, pictures: Picture, labels: NDArray[np.int64]) -> float:
    """Return the share of pictures whose class comes out on top."""
    network.eval()
    right = 0
    room = torch.empty((_BATCH, SIDE, SIDE, 3))
    for start in range(0, len(labels), _BATCH):
        scores = network(to_input(pictures[start : start + _BATCH], room))
        right += int((scores.argmax(1).numpy() == labels[start : start + _BATCH]).sum())
    network.train()
    return right / len(labels)


class Trainer:
    """A network in training, with the state of its optimiser."""

    def __init__(self, plan: Plan, seed: int, begin: Path | None) -> None:
        """Start from random weights, or from those of a file.

        Weights of a file hold no normalisations any more, and are trained on
        without them: they want a low rate.
        """
        torch.manual_seed(seed)
        self.plan = plan
        self.rng = np.random.default_rng(seed)
        self.network = build(trainable=True) if begin is None else load_weights(begin).train()
        self.optimiser = torch.optim.AdamW(self.network.parameters(), plan.rate, weight_decay=0.02)
        steps = plan.rounds * plan.epochs * (plan.per_class * sum(_COUNTS) // _BATCH)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, plan.rate, total_steps=steps, pct_start=0.1)
        self.loss = nn.CrossEntropyLoss(label_smoothing=0.02)

    def go_through(self, pictures: Picture, labels: NDArray[np.int64]) -> float:
        """Train once on every picture, and return the mean loss."""
        losses = []
        for batch, targets in _batches(self.rng, pictures, labels):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.plan.bfloat16):
                scores = self.network(batch)
            loss = self.loss(scores.float(), targets)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
            losses.append(loss.item())
        return float(np.mean(losses))


def train(plan: Plan, seed: int, out: Path, begin: Path | None, workers: int) -> None:
    """Train a network and write its weights, after every round anew."""
    begun = time.monotonic()
    trainer = Trainer(plan, seed, begin)
    # Workers that start afresh, because the network's threads do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        check = draw_set(pool, VALIDATION_SEED, 40)
        for i in range(plan.rounds):
            start = TRAINING_SEED + seed * _RUN_STRIDE + i * plan.per_class * max(_COUNTS)
            pictures, labels = draw_set(pool, start, plan.per_class, _COUNTS)
            for _ in range(plan.epochs):
                loss = trainer.go_through(pictures, labels)
            save_weights(trainer.network, out)
            share = accuracy(trainer.network, *check)
            spent = time.monotonic() - begun
            LOG.info("round %d: loss %.4f, validation %.4f, %.0f s", i + 1, loss, share, spent)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Train the demonstration network.")
    parser.add_argument("--out", type=Path, required=True, help="weight file to write")
    parser.add_argument("--begin", type=Path, help="weight file to train on from")
    parser.add_argument("--seed", type=int, choices=range(10), default=1, help="of the run")
    parser.add_argument("--rounds", type=int, default=24, help="times to draw new pictures")
    parser.add_argument("--per-class", type=int, default=500, help="pictures a round and class")
    parser.add_argument("--epochs", type=int, default=2, help="passes over each picture")
    parser.add_argument("--rate", type=float, default=0.003, help="highest learning rate")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    parser.add_argument("--threads", type=int, default=2, help="threads that train")
    parser.add_argument("--bfloat16", action="store_true", help="multiply in bfloat16, if the processor can")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    plan = Plan(args.rounds, args.per_class, args.epochs, args.rate, args.bfloat16)
    train(plan, args.seed, args.out, args.begin, args.workers)


if __name__ == "__main__":
    main()
