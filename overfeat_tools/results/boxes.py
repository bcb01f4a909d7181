"""Classes and where they are in a picture, as text, tsv and JSON; and pictures as PNM."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from overfeat_tools.backend import Array
from overfeat_tools.networks.classes import Class
from overfeat_tools.networks.localize import Found, Windows
from overfeat_tools.results.ranking import class_records
from overfeat_tools.results.records import failure_record, json_record, tsv_record

TSV_HEADING = b"picture\tfile\tindex\twnid\tname\tprobability\tx0\ty0\tx1\ty1\n"

Edges = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels; the latter two are outside."""


@dataclass(frozen=True)
class Located:
    """A class, its probability, and where it is."""

    what: Class
    probability: float
    edges: Edges


def locate(
    windows: Windows, classes: Sequence[Class], count: int, threshold: float, wanted: Sequence[Class] = ()
) -> list[Located]:
    """Find the boxes of the classes that are wanted, by default of the most probable ones; the most probable first."""
    return [
        Located(classes[each.index], each.probability, _whole_pixels(each, windows.height, windows.width))
        for each in windows.find(count, [each.index for each in wanted])
        if not each.probability < threshold
    ]


def _whole_pixels(found: Found, height: int, width: int) -> Edges:
    """Give the pixels that a box touches, at least one."""
    left, top, right, bottom = found.box
    x0, y0 = min(math.floor(left), width - 1), min(math.floor(top), height - 1)
    return x0, y0, min(max(math.ceil(right), x0 + 1), width), min(max(math.ceil(bottom), y0 + 1), height)


def boxes_text(boxes: Sequence[Located]) -> bytes:
    """Write `name probability x0 y0 x1 y1` lines."""
    lines = (f"{box.what.name} {box.probability:g} {' '.join(map(str, box.edges))}\n" for box in boxes)
    return "".join(lines).encode()


def boxes_tsv(boxes: Sequence[Located], number: int, file: str | None) -> bytes:
    """Write a line a box, or an empty one."""
    return b"".join(
        tsv_record(
            number, file, b"%d" % box.what.index, box.what.wnid.encode(), box.what.name.encode(),
            b"%g" % box.probability, *(b"%d" % edge for edge in box.edges),
        )
        for box in boxes
    ) or failure_record("tsv", number, file, TSV_HEADING)  # fmt: skip


def boxes_json(boxes: Sequence[Located], number: int, file: str | None, **more: object) -> bytes:
    """Write one JSON object and a newline: the boxes, and what more there is to tell."""
    records = class_records([(box.what, box.probability) for box in boxes])
    told = [record | {"box": box.edges} for record, box in zip(records, boxes, strict=True)]
    return json_record(number, file, **more, boxes=told)


def pnm(pixels: Array) -> bytes:
    """Write a picture (H, W, 3) of bytes as PPM, or a map (H, W) as PGM."""
    height, width = pixels.shape[:2]
    return b"P%d\n%d %d\n255\n" % (6 if pixels.ndim == 3 else 5, width, height) + pixels.tobytes()  # noqa: PLR2004
