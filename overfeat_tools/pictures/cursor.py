"""The bytes of a stream that have come and are not consumed yet.

What needs bytes that have not come yields None until they are there.
"""

from collections.abc import Generator
from typing import NoReturn

from overfeat_tools.errors import StreamError

MOST_HEADER_BYTES = 1 << 20
MOST_PICTURE_BYTES = 1 << 30


class Cursor:
    """A place in a stream: `data` from `start` is what has come; nothing follows it once it has `ended`."""

    def __init__(self) -> None:
        self.data: bytes | bytearray = b""
        self.start = 0
        self.ended = False
        self._dropped = 0  # bytes of the stream before `data`

    @property
    def offset(self) -> int:
        """Bytes consumed so far."""
        return self._dropped + self.start

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the stream."""
        self._dropped += self.start
        if self.start == len(self.data):
            self.data = bytes(data)  # which copies nothing that is bytes already
        else:
            if isinstance(self.data, bytes):
                self.data = bytearray(self.data)
            del self.data[: self.start]
            self.data += data
        self.start = 0

    def fail(self, what: str) -> NoReturn:
        """Say what is wrong here."""
        raise StreamError(f"byte {self.offset}: {what}")

    def wait(self, count: int) -> Generator[None, None, bool]:
        """Wait until so many bytes are here; tell whether they came before the end."""
        while len(self.data) - self.start < count:
            if self.ended:
                return False
            if len(self.data) - self.start > MOST_PICTURE_BYTES:
                self.fail(f"the picture is larger than {MOST_PICTURE_BYTES} bytes")
            yield None
        return True

    def ahead(self, count: int) -> bytes:
        """Look at bytes that are here, as many as there are of so many."""
        with memoryview(self.data) as view:
            return bytes(view[self.start : self.start + count])

    def take(self, count: int) -> bytes:
        """Consume bytes that are here, as many as there are of so many."""
        taken = self.ahead(count)
        self.start += len(taken)
        return taken

    def check_length(self, start: int) -> None:
        """Refuse a header that began at an offset and is still not over."""
        if self.offset - start > MOST_HEADER_BYTES:
            self.fail(f"the header is longer than {MOST_HEADER_BYTES} bytes")

    def byte(self) -> Generator[None, None, int]:
        """Consume a byte of a header."""
        while self.start == len(self.data):
            if self.ended:
                self.fail("the stream ends inside a header")
            yield None
        self.start += 1
        return self.data[self.start - 1]

    def comment(self) -> Generator[None, None, None]:
        """Consume the rest of a comment and the end of its line."""
        start = self.offset
        while (yield from self.byte()) not in b"\r\n":
            # All of it that is here, at once; long ones are common in converted JPEGs.
            ends = [i for i in (self.data.find(end, self.start) for end in b"\r\n") if i >= 0]
            self.start = min(ends, default=len(self.data))
            if self.offset - start > MOST_HEADER_BYTES:
                self.fail(f"a comment is longer than {MOST_HEADER_BYTES} bytes")

    def line(self, start: int) -> Generator[None, None, bytes]:
        """Consume a line of a header that began at an offset."""
        seen = 0
        while (end := self.data.find(b"\n", self.start + seen)) < 0:
            seen = len(self.data) - self.start
            self.check_length(start - seen)
            if self.ended:
                self.start += seen
                self.fail("the stream ends inside a header")
            yield None
        line = bytes(self.data[self.start : end])
        self.start = end + 1
        self.check_length(start)
        return line
