"""From files and standard input to pictures: what is read is bounded, and every fault is one picture's.

A source's first bytes decide what it is.  Standard input, pipes and PNM files are parsed as they come, archives member
by member; any other file is one picture, read whole, up to a limit.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from overfeat_tools.errors import ImageError, StreamError
from overfeat_tools.pictures.cursor import MOST_PICTURE_BYTES
from overfeat_tools.pictures.faults import as_image_error
from overfeat_tools.pictures.item import Item, Undecoded, core_seconds
from overfeat_tools.pictures.kinds import (
    BLANKS,
    GZIP_MARK,
    MARK_BYTES,
    PNM_MARK,
    TAR_MARK,
    NoPictureError,
    decode,
    kind_of,
    kind_with_end,
)
from overfeat_tools.pictures.picture import Encoded, Event, Picture, Remark, Wanted
from overfeat_tools.pictures.samples import Colour
from overfeat_tools.pictures.sources import STANDARD_INPUT, Source
from overfeat_tools.pictures.stream import StreamParser
from overfeat_tools.pictures.supply import Supply, from_descriptor, unpacked

if TYPE_CHECKING:
    from overfeat_tools.pictures.tar import Member

_MOST_FILE_BYTES = MOST_PICTURE_BYTES

T = TypeVar("T")


def read_items(
    sources: Iterable[str | Source],
    seconds: dict[str, float],
    side: int | None = None,
    *,
    frames: int | None = 1,
    background: Colour | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Item]:
    """Read and decode pictures from files and standard input, in order.

    Parameters
    ----------
    sources : iterable of str or Source
        Names, or what `find_sources` gives.
    seconds : dict
        Time of a core that is spent is added under "read" and "decode".
    side, frames, background
        See `Wanted`.
    tell : callable
        Takes what is worth a line but is no picture's fault.

    Yields
    ------
    Item
        Bad pictures come as items with an error, a broken stream as one whose error is a
        StreamError: nothing follows it from the same file.
    """
    wanted = Wanted(side, frames, background)
    for one in read_undecoded(sources, seconds, wanted, tell):
        yield one if isinstance(one, Item) else one.decoded(seconds)


def read_undecoded(
    sources: Iterable[str | Source], seconds: dict[str, float], wanted: Wanted, tell: Callable[[str], None]
) -> Iterator[Item | Undecoded]:
    """Read pictures as `read_items` does, but leave to others what can be decoded by itself."""
    number, passed, first_passed, place = 0, 0, "", ""
    for source in (Source(one) if isinstance(one, str) else one for one in sources):
        file = None if source.file == STANDARD_INPUT else source.file
        for member, count, frame, picture in _pictures(source, wanted, seconds):
            name = file if member is None else member if file is None else f"{file}/{member}"
            if isinstance(picture, NoPictureError) and (source.found or member is not None):
                passed, first_passed = passed + 1, first_passed or str(name)
                continue
            if isinstance(picture, Remark):
                tell(f"{place}: {picture.text}")
                continue
            number += 1
            place = _place(number, name, count, frame, broken=isinstance(picture, StreamError))
            item = Item(number, name, place, frame=frame)
            yield Undecoded(item, picture, wanted) if isinstance(picture, Encoded) else item.made_of(picture)
    if passed:
        more = f", and {passed - 1} more" if passed > 1 else ""
        tell(f"passed over what is no picture: {first_passed}{more}")


def _place(number: int, name: str | None, count: int, frame: int | None, *, broken: bool) -> str:
    if name is None:
        return f"picture {number}"
    if frame is not None:
        return f"{name}: frame {frame}"
    return f"{name}: picture {count}" if count > 1 or broken else name


def _timed(work: Iterator[T], seconds: dict[str, float], stage: str) -> Iterator[T]:
    while True:
        with core_seconds(seconds, stage):
            done = next(work, None)
        if done is None:
            return
        yield done


def _pictures(
    source: Source, wanted: Wanted, seconds: dict[str, float]
) -> Iterator[tuple[str | None, int, int | None, Picture | Encoded | Remark | ImageError]]:
    """Give the pictures of a source: the member of an archive, the picture's number in it, the frame's in that.

    A file of several frames is decoded here: how many there are is known only at the last.
    """
    last, count = None, 0
    for member, event in _timed(_events(source, wanted.background), seconds, "read"):
        count = count + 1 if member == last else 1
        last = member
        if isinstance(event, Encoded) and not event.is_one_picture(wanted):
            for frame, picture in _timed(decode(event, wanted), seconds, "decode"):
                yield member, count, frame, picture
        else:
            yield member, count, None, event


def _events(source: Source, background: Colour | None) -> Iterator[tuple[str | None, Event]]:
    """Read a source; a fault of reading comes as the last picture's."""
    if source.error:
        yield None, source.error
        return
    file, descriptor = None if source.file == STANDARD_INPUT else source.file, None
    try:
        if source.data is not None:
            supply, size = Supply(iter([source.data])), len(source.data)
            yield from _supplied(supply, size, background, is_stream=False, may_be_empty=False)
            return
        # Bare descriptors: sys.stdin's buffer would hold bytes back, and its lock would hang an exit.
        descriptor = 0 if file is None else os.open(file, os.O_RDONLY)
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError("is a directory; --recursive reads the pictures in it")  # noqa: TRY301
        is_file = file is not None and stat.S_ISREG(status.st_mode)
        supply, size = Supply(from_descriptor(descriptor)), status.st_size if is_file else 0
        yield from _supplied(supply, size, background, is_stream=not is_file, may_be_empty=file is None)
    except (ImageError, MemoryError, OSError) as error:
        yield None, as_image_error(error)
    finally:
        if file is not None and descriptor is not None:
            os.close(descriptor)


def _supplied(
    supply: Supply, size: int, background: Colour | None, *, is_stream: bool, may_be_empty: bool
) -> Iterator[tuple[str | None, Event]]:
    """Read what may be packed by gzip, and may be an archive."""
    if GZIP_MARK.match(supply.peek(_enough)):
        supply, size = Supply(unpacked(supply)), 0
    if TAR_MARK.match(supply.peek(_enough)):
        yield from _members(supply, background)
    else:
        contents = _contents(supply, size, background, is_stream=is_stream, may_be_empty=may_be_empty)
        yield from ((None, event) for event in contents)


def _enough(first: bytes) -> bool:
    """Tell whether so many first bytes are enough to tell what comes."""
    return len(first) >= MARK_BYTES or bool(PNM_MARK.match(first) or GZIP_MARK.match(first) or kind_with_end(first))


def _members(supply: Supply, background: Colour | None) -> Iterator[tuple[str | None, Event]]:
    """Read an archive, member by member."""
    from overfeat_tools.pictures.tar import members

    try:
        for member in members(supply):
            if not member.is_folder:
                yield from ((member.name, event) for event in _member(supply, member, background))
    except StreamError as error:
        yield None, ImageError(*error.args)  # of the archive, not of a picture in it


def _member(supply: Supply, member: "Member", background: Colour | None) -> Iterator[Event]:
    if member.is_sparse:
        yield ImageError("a sparse file in an archive isn't supported")
    elif not member.is_file:
        yield NoPictureError("a link or a device")
    else:
        try:
            part = Supply(supply.part(member.size))
            yield from _contents(part, member.size, background, is_stream=False, may_be_empty=False)
        except (ImageError, MemoryError) as error:
            yield as_image_error(error)


def _contents(
    supply: Supply, size: int, background: Colour | None, *, is_stream: bool, may_be_empty: bool
) -> Iterator[Event]:
    """Read pictures: a stream of any, a file of PNM, or one file of another kind."""
    first = supply.peek(_enough)
    is_stream = is_stream and not _goes_to_the_end(first)
    if is_stream or PNM_MARK.match(first) or not first.strip(BLANKS):
        count = 0
        for count, event in enumerate(_stream(supply, background), start=1):  # noqa: B007 -- counts
            yield event
        if not count and not may_be_empty:
            raise NoPictureError("the file has no picture" if first else "the file is empty")
    else:
        yield Encoded(kind_of(first), _whole(supply, size))


def _goes_to_the_end(first: bytes) -> bool:
    """Tell whether a stream begins with a picture of a kind that doesn't say where it ends."""
    with suppress(ImageError):
        return kind_of(first).end is None
    return False


def _whole(supply: Supply, size: int) -> bytes:
    """Read a file to its end, unless that is too far."""
    pieces: list[bytes] = []
    total = 0
    while max(size, total) <= _MOST_FILE_BYTES:
        piece = supply.next()
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        total += len(piece)
    raise ImageError(f"the file is larger than {_MOST_FILE_BYTES} bytes")


def _stream(supply: Supply, background: Colour | None) -> Iterator[Event]:
    parser = StreamParser(background)
    try:
        while piece := supply.next():
            parser.feed(piece)
            yield from _parsed(parser)
    except OSError as error:
        raise StreamError(f"byte {parser.offset}: {as_image_error(error)}") from error
    parser.close()
    yield from _parsed(parser)


def _parsed(parser: StreamParser) -> Iterator[Event]:
    while True:
        try:
            picture = parser.next_picture()
        except StreamError:
            raise
        except ImageError as error:
            yield as_image_error(error)
        else:
            if picture is None:
                return
            yield picture
