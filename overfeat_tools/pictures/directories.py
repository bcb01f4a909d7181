"""TIFF's directories of tags, which EXIF has, too: read leniently, entry by entry.

Source: TIFF 6.0, section 2; the BigTIFF design.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

ORIENTATION = 274

_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 18: "Q"}
_MOST_TAGS = 4096
_MOST_ENTRIES = 1 << 18  # of all pages together


@dataclass
class Directory:
    """One directory: where each tag's entry is, and where the next directory begins (0: nowhere)."""

    data: bytes
    order: str
    big: bool
    entries: dict[int, int] = field(default_factory=dict)
    following: int = 0

    @property
    def offset(self) -> str:
        """The form of an offset."""
        return self.order + ("Q" if self.big else "I")

    @property
    def entry_bytes(self) -> int:
        """Length of an entry."""
        return 20 if self.big else 12

    def integers(self, tag: int, most: int = 1) -> tuple[int, ...]:
        """Give the first values of a tag; none if it is missing, of another type or outside the file."""
        try:
            place = self.entries[tag]
            kind, count = struct.unpack_from(self.order + ("HQ" if self.big else "HI"), self.data, place + 2)
            form = f"{self.order}{min(count, most)}{_INTEGERS[kind]}"
            value = place + (12 if self.big else 8)
            if count * struct.calcsize(_INTEGERS[kind]) > struct.calcsize(self.offset):
                (value,) = struct.unpack_from(self.offset, self.data, value)
            return struct.unpack_from(form, self.data, value)
        except (KeyError, struct.error):
            return ()

    def only(self, tags: set[int]) -> bytes:
        """Give the file with this directory alone, and in it only these tags."""
        kept = [self.data[self.entries[tag] :][: self.entry_bytes] for tag in sorted(tags & self.entries.keys())]
        place = len(self.data) + len(self.data) % 2
        start = 16 if self.big else 8
        head = self.data[: start - struct.calcsize(self.offset)] + struct.pack(self.offset, place)
        count = struct.pack(self.order + ("Q" if self.big else "H"), len(kept))
        fill = bytes(place - len(self.data))
        return b"".join([head, memoryview(self.data)[start:], fill, count, *kept, struct.pack(self.offset, 0)])


def directories(data: bytes) -> Iterator[Directory]:
    """Give the directories of a file, one after the other, each as far as it goes."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    empty = Directory(data, order, big)
    try:
        (place,) = struct.unpack_from(empty.offset, data, 8 if big else 4)
    except struct.error:
        return
    seen, entries = set[int](), 0
    while place and place not in seen and entries < _MOST_ENTRIES:
        seen.add(place)
        found = directory(data, place, empty)
        yield found
        place = found.following
        entries += 1 + len(found.entries)


def directory(data: bytes, place: int, like: Directory) -> Directory:
    """Read the directory at a place, of the same order and width as another."""
    found = Directory(data, like.order, like.big)
    form = found.order + ("Q" if found.big else "H")
    try:
        (count,) = struct.unpack_from(form, data, place)
        place += struct.calcsize(form)
        for entry in range(place, place + min(count, _MOST_TAGS) * found.entry_bytes, found.entry_bytes):
            (tag,) = struct.unpack_from(found.order + "H", data, entry)
            if entry + found.entry_bytes > len(data):
                break
            found.entries.setdefault(tag, entry)
        (found.following,) = struct.unpack_from(found.offset, data, place + count * found.entry_bytes)
    except struct.error:  # it ends too early
        pass
    return found
