"""What passes from one stage to the next: a picture's bytes, what a decoder made of them, a picture."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError
from overfeat_tools.pictures.samples import Colour

if TYPE_CHECKING:
    from overfeat_tools.pictures.kinds import Kind

UPRIGHT = 1
"""The orientation of a picture that need not be turned."""


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a file.

    `side` is the size that a picture will be fitted to, if it will: a large one need not be decoded whole.
    `frames` is the most frames of an animation or pages of a document, None for all of them.
    `background` is the colour to lay transparent pictures over; without one, alpha is dropped.
    """

    side: int | None = None
    frames: int | None = 1
    background: Colour | None = None


@dataclass(frozen=True)
class Encoded:
    """The bytes of one file of a kind, to be decoded."""

    kind: "Kind"
    data: bytes

    def is_one_picture(self, wanted: Wanted) -> bool:
        """Tell whether one picture is wanted of it, no matter how many it has."""
        return wanted.frames == 1 or self.kind.frames is None


@dataclass(frozen=True)
class Decoded:
    """What a decoder made of a file: pixels as stored, and how to turn them.

    The pixels are (H, W, C), uint8 or float32, 0..255; with 2 or 4 channels, the last is alpha.
    `full_size` is the width and height of a picture that was decoded at a reduced size, as stored.
    """

    pixels: Array
    orientation: int = UPRIGHT
    warning: str | None = None
    full_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Picture:
    """A picture: `pixels` (H, W, 3), red, green, blue, 0..255, uint8, or float32 where bytes don't suffice.

    `warning` says why some of it is missing, where it could be decoded only in part.  `full_size` is the width and
    height of one that was decoded at a reduced size.
    """

    pixels: Array
    warning: str | None = None
    full_size: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole picture."""
        return self.full_size or (self.pixels.shape[1], self.pixels.shape[0])


@dataclass(frozen=True)
class Remark:
    """Something to be told of the pictures before; no picture is lost."""

    text: str


Event = Picture | Encoded | Remark | ImageError
"""What a stream gives; an error is that of one picture."""
