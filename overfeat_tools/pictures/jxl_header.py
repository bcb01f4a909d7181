"""The first fields of a JPEG XL: its size, and the bits of its samples, which decoders don't tell.

Source: ISO/IEC 18181-1 (codestream: SizeHeader, ImageMetadata) and 18181-2 (boxes).
"""

from dataclasses import dataclass

from overfeat_tools.errors import ImageError

_ENOUGH_BYTES = 64
_MOST_BOXES = 64
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIDES = ((9, 1), (13, 1), (18, 1), (30, 1))


@dataclass
class _Bits:
    """Bits, the lowest of each byte first."""

    number: int

    def take(self, count: int) -> int:
        value = self.number & (1 << count) - 1
        self.number >>= count
        return value

    def choose(self, *choices: tuple[int, int]) -> int:
        """Take a number in one of four forms: so many bits, and what to add to them."""
        count, more = choices[self.take(2)]
        return self.take(count) + more


def jxl_header(data: bytes) -> tuple[int, int, int]:
    """Give height, width and bits per sample."""
    bits = _Bits(int.from_bytes(_codestream(data), "little"))
    height, width = _size(bits)
    if bits.take(1):
        return height, width, 8  # all fields are as usual
    if bits.take(1):
        bits.take(3)  # orientation
        if bits.take(1):
            _size(bits)  # to be shown at
        if bits.take(1):
            raise ImageError("a JPEG XL with a preview isn't supported")
        if bits.take(1):  # ticks, loops and time codes of an animation
            bits.choose((0, 100), (0, 1000), (10, 1), (30, 1))
            bits.choose((0, 1), (0, 1001), (8, 1), (10, 1))
            bits.choose((0, 0), (3, 0), (16, 0), (32, 0))
            bits.take(1)
    if bits.take(1):
        raise ImageError("floating-point samples have no stated black and white; convert it first")
    return height, width, bits.choose((0, 8), (0, 10), (0, 12), (6, 1))


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)
    height = 8 * (bits.take(5) + 1) if small else bits.choose(*_SIDES)
    if ratio := _RATIOS.get(bits.take(3)):
        return height, height * ratio[0] // ratio[1]
    return height, 8 * (bits.take(5) + 1) if small else bits.choose(*_SIDES)


def _codestream(data: bytes) -> bytes:
    """Give the first bytes of the codestream, behind its mark, which may stand in boxes."""
    place = 0
    for _ in range(_MOST_BOXES):
        if data[place : place + 2] == b"\xff\x0a":
            return data[place + 2 : place + _ENOUGH_BYTES]
        name, size, start = data[place + 4 : place + 8], int.from_bytes(data[place : place + 4], "big"), place + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        place = {b"jxlc": start, b"jxlp": start + 4}.get(name, place + max(size, 8))
    raise ImageError("damaged: it has no picture")
