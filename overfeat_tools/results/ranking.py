"""The most probable classes of a picture, as text, tsv and JSON."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from overfeat_tools.backend import FloatArray
from overfeat_tools.networks.classes import Class
from overfeat_tools.results.records import failure_record, json_record, shortest, tsv_record

Ranking = Sequence[tuple[Class, float]]

TSV_HEADING = b"picture\tfile\tindex\twnid\tname\tprobability\n"


def rank(probabilities: FloatArray, classes: Sequence[Class], count: int, least: float = 0.0) -> Ranking:
    """Give the `count` most probable classes of a picture (classes,); see `rank_each`."""
    return next(rank_each(probabilities[None], classes, count, least))


def rank_each(
    probabilities: FloatArray, classes: Sequence[Class], count: int, least: float = 0.0
) -> Iterator[Ranking]:
    """Give the `count` most probable classes of each picture, best first; equals in the order of the classes.

    Parameters
    ----------
    probabilities : array (N, classes) float32
    classes : sequence of Class
    count : int
    least : float
        Classes less probable than this, as a float32, are left out.
    """
    falling, count = -probabilities, min(count, len(classes))
    last = np.partition(falling, count - 1, axis=1)[:, count - 1 : count]
    pictures, places = np.nonzero(~(falling > last))  # those up to the last, and its equals
    order = np.lexsort((falling[pictures, places], pictures))
    firsts = np.searchsorted(pictures, np.arange(len(falling)))
    best = places[order[firsts[:, None] + np.arange(count)]]
    values, bound = np.take_along_axis(probabilities, best, axis=1), np.float32(least)
    for row in zip(best.tolist(), values.tolist(), (values < bound).tolist(), strict=True):
        yield [(classes[index], value) for index, value, is_less in zip(*row, strict=True) if not is_less]


def ranking_text(ranking: Ranking) -> bytes:
    """Write `name probability` lines, as the original does."""
    return "".join(f"{item.name} {probability:g}\n" for item, probability in ranking).encode()


def ranking_tsv(ranking: Ranking, number: int, file: str | None) -> bytes:
    """Write a line a class, or an empty one: picture number, file, index, WordNet id, name, probability."""
    return b"".join(
        tsv_record(number, file, b"%d" % item.index, item.wnid.encode(), item.name.encode(), b"%g" % probability)
        for item, probability in ranking
    ) or failure_record("tsv", number, file, TSV_HEADING)


def ranking_json(
    ranking: Ranking, number: int, file: str | None, found: Callable[[int], dict[str, object]] | None = None,
    **more: object,
) -> bytes:
    """Write one JSON object and a newline: the classes, where each was `found`, and what more there is to tell."""
    classes = [
        record | (found(item.index) if found else {})
        for record, (item, _) in zip(class_records(ranking), ranking, strict=True)
    ]
    return json_record(number, file, classes=classes, **more)


def class_records(ranking: Ranking) -> list[dict[str, object]]:
    """Give what is told of each class."""
    return [
        {"index": item.index, "wnid": item.wnid, "name": item.name, "probability": shortest(probability)}
        for item, probability in ranking
    ]
