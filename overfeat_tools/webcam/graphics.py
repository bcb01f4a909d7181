"""A picture as what a terminal shows: kitty's graphics, sixels, or half blocks of colour.

Sources: the kitty graphics protocol; DEC's VT330/VT340 programmer reference, volume 2, chapter 14; ECMA-48 with the
colours of ITU-T T.416.
"""

import base64
import re
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from overfeat_tools.backend import Array

_KITTY_BYTES = 4096  # of a piece
_SIXEL_COLOURS, _SIXEL_ROWS = 128, 6
_REPEATED = re.compile(rb"(.)\1{3,254}", re.DOTALL)
_SHADES = " .:-=+*#%@"
_CUBE = np.array([0, 95, 135, 175, 215, 255])  # the levels of the 256 colours, of which 216 are a cube
_TRUE, _INDEXED = "\x1b[38;2;%d;%d;%d;48;2;%d;%d;%dm▀", "\x1b[38;5;%d;48;5;%dm▀"


def scaled(pixels: Array, width: int, height: int) -> Array:
    """Scale a picture (H, W, 3) uint8."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))


def blocks(pixels: Array, columns: int, rows: int, colours: int) -> Iterator[bytes]:
    """Draw rows of cells, each an upper half block with colours of its own for both halves.

    There may be 256 colours or, with a larger number, any; without colours, characters show how light a cell is.
    """
    if not colours:
        light = scaled(pixels, columns, rows).mean(2) * (len(_SHADES) - 1) / 255
        yield from ("".join(_SHADES[shade] for shade in row).encode() for row in light.round().astype(int).tolist())
        return
    halves: Array = scaled(pixels, columns, 2 * rows).astype(np.int16)
    if colours <= 256:  # noqa: PLR2004
        levels = np.abs(halves[..., None] - _CUBE).argmin(3)
        halves = (16 + levels @ [36, 6, 1])[..., None]
    cells = np.concatenate([halves[::2], halves[1::2]], axis=2)
    form = _TRUE if cells.shape[2] > 2 else _INDEXED  # noqa: PLR2004 -- a colour is three numbers, or one
    for row in cells.tolist():
        pieces, last = [], None
        for cell in row:
            pieces.append("▀" if cell == last else form % tuple(cell))
            last = cell
        yield "".join(pieces).encode() + b"\x1b[m"


def kitty(pixels: Array, columns: int, rows: int) -> bytes:
    """Transmit a picture (H, W, 3) and show it over so many cells from the cursor on, in place of the one before."""
    height, width = pixels.shape[:2]
    data = base64.standard_b64encode(zlib.compress(pixels.tobytes(), 1))
    pieces = [data[start : start + _KITTY_BYTES] for start in range(0, len(data), _KITTY_BYTES)]
    # No answers (q), the cursor stays (C), RGB (f) packed by zlib (o).
    head = b"a=T,i=1,p=1,q=2,C=1,f=24,o=z,s=%d,v=%d,c=%d,r=%d," % (width, height, columns, rows)
    heads = [head, *[b"q=2,"] * (len(pieces) - 1)]
    more = [1] * (len(pieces) - 1) + [0]
    return b"".join(b"\x1b_G%sm=%d;%s\x1b\\" % each for each in zip(heads, more, pieces, strict=True))


def sixel(pixels: Array) -> bytes:
    """Draw a picture (H, W, 3) from the cursor on, in bands of six rows, a colour of a band after the other."""
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels).quantize(_SIXEL_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    indices = np.asarray(image)
    palette = np.array(image.getpalette()).reshape(-1, 3) * 100 // 255
    pieces = [b'\x1bP0;1q"1;1;%d;%d' % (width, height)]
    pieces += [b"#%d;2;%d;%d;%d" % (number, *colour) for number, colour in enumerate(palette.tolist())]
    for top in range(0, height, _SIXEL_ROWS):
        band = indices[top : top + _SIXEL_ROWS]
        bits = (1 << np.arange(len(band), dtype=np.uint8))[:, None]
        for colour in np.unique(band).tolist():
            codes = ((band == colour) * bits).sum(0, dtype=np.uint8) + np.uint8(63)
            line = codes.tobytes().rstrip(b"?")
            pieces.append(b"#%d%s$" % (colour, _REPEATED.sub(lambda run: b"!%d%s" % (len(run[0]), run[1]), line)))
        pieces.append(b"-")
    return b"".join(pieces) + b"\x1b\\"
