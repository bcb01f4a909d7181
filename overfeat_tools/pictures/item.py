"""A picture on its way from a file to an answer, and the time that each stage takes of a core."""

import threading
import time
from dataclasses import dataclass, replace

from overfeat_tools.backend import Array
from overfeat_tools.errors import ImageError
from overfeat_tools.pictures.kinds import decode
from overfeat_tools.pictures.picture import Encoded, Picture, Wanted

_LOCK = threading.Lock()


class core_seconds:  # noqa: N801 -- used as the functions of contextlib are, which take thrice the time
    """Add the time that this thread computes to that of a stage, to which other threads may add, too."""

    def __init__(self, seconds: dict[str, float], stage: str) -> None:
        self._seconds, self._stage = seconds, stage

    def __enter__(self) -> None:
        self._start = time.thread_time()

    def __exit__(self, *_: object) -> None:
        spent = time.thread_time() - self._start
        with _LOCK:
            self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + spent


def seconds_of_threads(name: str) -> float:
    """Add up the time that threads of a name have computed; 0 where the system doesn't tell."""
    threads = [thread.ident for thread in threading.enumerate() if thread.name.startswith(name) and thread.ident]
    clock = getattr(time, "pthread_getcpuclockid", None)
    return sum(time.clock_gettime(clock(thread)) for thread in threads) if clock else 0.0


@dataclass(frozen=True)
class Item:
    """One picture on its way: its pixels, or why there are none.

    `number` counts all pictures from 1; `file` is the name given, or None for standard input, with
    the name of a member behind that of its archive; `frame` is the number of a frame of `file`, if
    more than the first was asked for; `place` says where it is, for messages.  `pixels` is
    (H, W, 3), uint8 or float32, and `size` the width and height of the whole picture, however small it was decoded.
    `warning` says what is wrong with a picture that could be decoded only in part.  `views` are all the pictures that
    were made of it, where they are several; `pixels` is the first.
    """

    number: int
    file: str | None
    place: str
    pixels: Array | None = None
    error: ImageError | None = None
    warning: str | None = None
    frame: int | None = None
    views: tuple[Array, ...] = ()
    size: tuple[int, int] | None = None

    @property
    def told(self) -> dict[str, object]:
        """What a record tells of it besides its number and file, where there is something to tell."""
        told = {"frame": self.frame, "warning": self.warning}
        return {name: what for name, what in told.items() if what is not None}

    def failed(self, error: ImageError) -> "Item":
        """Give this item with an error in place of its pixels."""
        return replace(self, pixels=None, error=error, warning=None, views=())

    def made_of(self, picture: Picture | ImageError) -> "Item":
        """Give this item with what has become of its picture."""
        if isinstance(picture, ImageError):
            return self.failed(picture)
        # `replace` takes several times as long, and this is done for every picture of a stream.
        return Item(
            self.number, self.file, self.place, picture.pixels, None, picture.warning, self.frame, (), picture.size
        )


@dataclass(frozen=True)
class Undecoded:
    """A picture that has been read, and is left to decode: any thread may do that."""

    item: Item
    encoded: Encoded
    wanted: Wanted

    def decoded(self, seconds: dict[str, float]) -> Item:
        """Decode it; time spent is added under "decode"."""
        with core_seconds(seconds, "decode"):
            ((_, picture),) = decode(self.encoded, self.wanted)
        return self.item.made_of(picture)
