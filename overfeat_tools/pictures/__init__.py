"""From bytes to pictures: one door for whatever comes.

Bytes are told by their first marks (`kinds`); PNM streams are parsed as they come (`pnm`), other
kinds decoded (`decoders`, `tiff`) from what `metadata` leaves of them, turned upright
(`orientation`), their samples brought to 0..255 (`samples`).  `reading` gives the pictures of files
and standard input in order, `fitting` brings them to a network's size, `batches` stacks them up.
"""

from overfeat_tools.pictures.batches import Batches, prepared
from overfeat_tools.pictures.fitting import centre_square, fit
from overfeat_tools.pictures.reading import Item, read_items

__all__ = ["Batches", "Item", "centre_square", "fit", "prepared", "read_items"]
