"""A stream of pictures of several kinds: look at what begins here, take one picture, look again.

PNM is parsed as it comes.  JPEG, PNG and WebP are taken whole as soon as their last byte is there; any other kind has
no length of its own, and goes as far as the stream.
"""

from collections.abc import Generator

from overfeat_tools.errors import ImageError
from overfeat_tools.pictures.boundaries import PICTURE_START, rest_end
from overfeat_tools.pictures.cursor import MOST_PICTURE_BYTES
from overfeat_tools.pictures.kinds import (
    EARLY_MARK_BYTES,
    MARK_BYTES,
    PNM_MARK,
    UnknownKindError,
    kind_of,
    kind_with_end,
)
from overfeat_tools.pictures.picture import Encoded, Event, Remark
from overfeat_tools.pictures.pnm import PnmParser

_LONGEST_START = 8


class StreamParser(PnmParser):
    """Parse a stream of PNM and of files of other kinds, piece by piece.

    Junk behind a picture that is no PNM is skipped as far as the next JPEG or PNG: a picture was damaged.  If none
    comes, it is what cameras and phones append to theirs, and only remarked upon.
    """

    _after_file = False

    def _next(self) -> Generator[None, None, Event]:
        cursor = self._cursor
        yield from cursor.wait(2)
        if PNM_MARK.match(cursor.data, cursor.start):
            self._after_file = False
            return (yield from super()._next())
        yield from cursor.wait(EARLY_MARK_BYTES)
        try:
            kind = kind_with_end(cursor.ahead(EARLY_MARK_BYTES))
            if kind is None:
                yield from cursor.wait(MARK_BYTES)
                kind = kind_of(cursor.ahead(MARK_BYTES))
        except ImageError as error:
            if self._after_file:
                return (yield from self._skip_junk())
            if isinstance(error, UnknownKindError):
                return (yield from super()._next())  # which says what it expected
            cursor.fail(str(error))
        length = yield from (kind.end or rest_end)(cursor)
        self._after_file = True
        return Encoded(kind, cursor.take(length))

    def _skip_junk(self) -> Generator[None, None, Event]:
        cursor, start = self._cursor, self._cursor.offset
        while not (found := PICTURE_START.search(cursor.data, cursor.start)):
            cursor.start = max(cursor.start, len(cursor.data) - (0 if cursor.ended else _LONGEST_START))
            if cursor.ended:
                return Remark(f"followed by {cursor.offset - start} bytes that are no picture")
            if cursor.offset - start > MOST_PICTURE_BYTES:
                cursor.fail(f"no picture in {MOST_PICTURE_BYTES} bytes")
            yield None
        cursor.start = found.start()
        return ImageError(f"byte {start}: damaged: {cursor.offset - start} bytes that are no picture")
