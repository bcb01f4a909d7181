"""From bytes to pictures of the right size, in batches.

`sources` gives the names to read, `supply` the bytes, and `reading` the pictures of both, in order.  `kinds`
recognises a picture by its first bytes.  PNM is parsed as it comes (`pnm`, with `cursor`, `pnm_header` and `pnm_text`).
Other kinds are cut out of a stream (`stream`, `boundaries`) or an archive (`tar`), decoded (`decoders`, `tiff`,
`extras`) without their `metadata`, and turned upright (`orientation`); `samples` scales what they hold to 0..255.
`fitting` scales and cuts pictures to a network's size.  What is decoded and fitted by itself, several threads do at a
time (`pool`); `batches` gathers what has arrived, each an `item` in the order of reading.
"""

from overfeat_tools.pictures.batches import Batches, Prepare, fitted, prepared, shapes_of, tasks
from overfeat_tools.pictures.decoders import colour, read_image
from overfeat_tools.pictures.fitting import centre_square, fit, part, scaled_size
from overfeat_tools.pictures.item import Item, Undecoded, core_seconds, seconds_of_threads
from overfeat_tools.pictures.picture import Wanted
from overfeat_tools.pictures.pnm_header import MAX_PIXELS
from overfeat_tools.pictures.pool import Task, pixels_of
from overfeat_tools.pictures.reading import read_items, read_undecoded
from overfeat_tools.pictures.sources import find_sources

__all__ = [
    "MAX_PIXELS", "Batches", "Item", "Prepare", "Task", "Undecoded", "Wanted", "centre_square", "colour",
    "core_seconds", "find_sources", "fit", "fitted", "part", "pixels_of", "prepared", "read_image", "read_items",
    "read_undecoded", "scaled_size", "seconds_of_threads", "shapes_of", "tasks",
]  # fmt: skip
