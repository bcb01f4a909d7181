"""From bytes to pictures of the right size, in batches.

`sources` gives the names to read, `supply` the bytes, and `reading` the pictures of both, in order.  `kinds`
recognises a picture by its first bytes.  PNM is parsed as it comes (`pnm`, with `cursor`, `pnm_header` and `pnm_text`).
Other kinds are cut out of a stream (`stream`, `boundaries`) or an archive (`tar`), decoded (`decoders`, `tiff`,
`extras`) without their `metadata`, and turned upright (`orientation`); `samples` scales what they hold to 0..255.
`fitting` scales and cuts pictures to a network's size, and `batches` gathers those that have arrived.
"""

from overfeat_tools.pictures.batches import Batches, prepared
from overfeat_tools.pictures.decoders import colour
from overfeat_tools.pictures.fitting import centre_square, fit
from overfeat_tools.pictures.picture import Wanted
from overfeat_tools.pictures.pnm_header import MAX_PIXELS
from overfeat_tools.pictures.reading import Item, read_items
from overfeat_tools.pictures.sources import find_sources

__all__ = [
    "MAX_PIXELS", "Batches", "Item", "Wanted", "centre_square", "colour", "find_sources", "fit", "prepared",
    "read_items",
]  # fmt: skip
