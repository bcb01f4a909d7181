"""Where pictures come from, and what is read of them: options of every command that reads pictures."""

import sys
from dataclasses import dataclass
from typing import Annotated

from overfeat_tools.cli.declaration import Argument, Option, whole_number
from overfeat_tools.cli.streams import NothingToDoError
from overfeat_tools.errors import OverfeatError, UsageError


@dataclass(eq=False, repr=False)
class InputOptions:
    """Where pictures come from, and what is read of them."""

    files: Annotated[
        list[str] | None,
        Argument("FILE", help="Pictures in any common format, or tar archives of them; none or - is standard input."),
    ] = None
    strict: Annotated[
        bool,
        Option(
            "--strict",
            help="Stop at the first picture that can't be used, or only in part.",
            manual="""
            Stop at the first picture that can't be used, instead of going on with the next.
            A damaged picture that could be decoded only in part counts as one that can't be used.
            """,
        ),
    ] = False
    batch: Annotated[
        int | None,
        Option(
            "--batch", metavar="N", min=1, max=4096,
            help="Compute at most N pictures at a time. [default: 64, 16 with VGG's large maps]",
            manual="""
            Compute at most
            .Ar N
            pictures at a time, from {min} to {max}.
            The default is 64, 128 on a graphics card, or 16 for the VGG networks, whose maps are so large that more
            would only take memory.
            Large batches are faster and need more memory.
            This is only a limit: no picture ever waits for others to arrive.
            """,
        ),
    ] = None  # fmt: skip
    names_from: Annotated[
        str | None,
        Option(
            "--files0-from", metavar="F",
            help="Read the files named in F, each name ended by NUL; - is standard input.",
            manual="""
            Read the files whose names are in the file
            .Ar F ,
            each ended by a NUL byte, as
            .Ql find -print0
            writes them; if
            .Ar F
            is
            .Ql - ,
            on standard input.
            Each file is read as soon as its name is there.
            No
            .Ar FILE
            may be named as well.
            """,
        ),
    ] = None  # fmt: skip
    recursive: Annotated[
        bool,
        Option(
            "--recursive",
            help="Read the pictures in folders, and in the folders in them.",
            manual="""
            Where a folder is named, read the files in it and in the folders below it, those of each folder in the order
            of the bytes of their names.
            Links to files are followed; links to folders are not, unless they are named.
            Files that are no pictures are passed over, and one line on standard error at the end says so.
            """,
        ),
    ] = False
    frames: Annotated[
        str,
        Option(
            "--frames", metavar="first|all|N",
            help="Frames of an animation, or pages of a TIFF, to read.",
            manual="""
            Which frames to read of an animation (GIF, PNG, WebP, AVIF), pages of a TIFF, or pictures of a HEIF file:
            the
            .Cm first ,
            .Cm all ,
            or the first
            .Ar N .
            The default is
            .Cm {default} .
            Each frame is a picture with a number of its own.
            """,
        ),
    ] = "first"  # fmt: skip
    background: Annotated[
        str | None,
        Option(
            "--background", metavar="COLOUR",
            help="Lay transparent pictures over this colour. [default: transparency is dropped]",
            manual="""
            Lay transparent pictures over a colour: a name as in CSS, such as white, or #rgb or #rrggbb in hexadecimal
            digits.
            By default transparency is dropped, and what it hides is seen.
            """,
        ),
    ] = None  # fmt: skip

    @property
    def most_frames(self) -> int | None:
        """The most frames to read of a file, None for all."""
        if self.frames in ("first", "all"):
            return 1 if self.frames == "first" else None
        return whole_number(self.frames, f"--frames {self.frames}: first, all or a number from 1 on", least=1)


def input_files(options: InputOptions) -> list[str]:
    """Give the files to read: standard input if none is named.

    Raises
    ------
    UsageError
        Standard input is a terminal, so nothing will come; or what was asked for doesn't go together.
    OverfeatError
        Standard input is closed.
    """
    files, listed = options.files or [], options.names_from
    if listed is not None and files:
        raise UsageError(f"--files0-from {listed} names the files; it can't go with {files[0]}")
    _ = options.most_frames  # refused here, if it is no number
    if "-" in files or listed == "-" or (not files and listed is None):
        if sys.stdin is None:
            raise OverfeatError("standard input is closed, or a folder")
        if not files and sys.stdin.isatty():
            raise NothingToDoError
    return files or ([] if listed is not None else ["-"])
