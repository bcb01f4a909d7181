"""From bytes to pictures of the right size, in batches.

`reading` gives the pictures of files and standard input, in order.  `kinds` recognises a file by its first bytes.  PNM
streams are parsed as they come (`pnm`, with `cursor`, `pnm_header` and `pnm_text`).  Other files are decoded
(`decoders`, `tiff`) without their `metadata`, and turned upright (`orientation`); `samples` scales what they hold to
0..255.  `fitting` scales and cuts pictures to a network's size, and `batches` gathers those that have arrived.
"""

from overfeat_tools.pictures.batches import Batches, prepared
from overfeat_tools.pictures.fitting import centre_square, fit
from overfeat_tools.pictures.pnm_header import MAX_PIXELS
from overfeat_tools.pictures.reading import Item, read_items

__all__ = ["MAX_PIXELS", "Batches", "Item", "centre_square", "fit", "prepared", "read_items"]
