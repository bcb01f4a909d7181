"""of-webcam: a camera's picture with its most probable classes, live."""

import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from overfeat_tools import cli
from overfeat_tools.errors import UsageError

if TYPE_CHECKING:
    from overfeat_tools.webcam.ffmpeg import Source


@dataclass(eq=False, repr=False)
class Options(cli.EngineOptions):
    """The options of of-webcam."""

    camera: Annotated[
        int | None,
        cli.Option(
            "-w", metavar="N", min=0, max=255,
            help="Number of the camera. [default: the first]",
            manual="""
            Watch the camera of this number, as
            .Fl -list
            shows it.
            The default is the first camera.
            """,
        ),
    ] = None  # fmt: skip
    source: Annotated[
        str | None,
        cli.Option(
            "--source", metavar="FILE|URL|-",
            help="Watch a video file or URL at its real speed, or pictures on standard input.",
            manual="""
            Watch something else than a camera: a video file, which is played at its real speed, a URL, or, if it is
            .Ql - ,
            pictures on standard input as they come; see
            .Sx SOURCES .
            """,
        ),
    ] = None  # fmt: skip
    size: Annotated[
        str | None,
        cli.Option(
            "--size", metavar="WxH",
            help="Ask the camera for pictures of this size. [default: the camera's own]",
            manual="""
            Ask the camera for pictures of this size, one of those that
            .Fl -list
            shows.
            The default is what the camera is set to.
            """,
        ),
    ] = None  # fmt: skip
    listing: Annotated[
        bool,
        cli.Option(
            "--list",
            help="List the cameras with their names and sizes instead.",
            manual="""
            Watch nothing, but list the cameras, a line each: number, name and the sizes of their pictures.
            """,
        ),
    ] = False
    draw: Annotated[
        bool,
        cli.Option(
            "--draw",
            help="Print the frames, with names and bars in a panel, as a PPM stream.",
            manual="""
            Print the frames themselves as a stream of PPM pictures, each with a panel below it that has the names,
            probabilities and bars of its classes.
            """,
        ),
    ] = False
    mean: Annotated[
        int,
        cli.Option(
            "--mean", metavar="N", min=1, max=1000,
            help="Show the mean over the last N frames that were answered.",
            manual="""
            Show the mean of the probabilities over the last
            .Ar N
            frames that were answered.
            The default is {default}: each frame by itself.
            A mean flickers less, and follows a change more slowly.
            """,
        ),
    ] = 1  # fmt: skip
    graphics: Annotated[
        Literal["auto", "kitty", "sixel", "blocks"],
        cli.Option(
            "--graphics",
            help="How to show pictures on the terminal.",
            manual="""
            How to show pictures on a terminal: by the protocol of
            .Cm kitty ,
            as
            .Cm sixel
            graphics, or by coloured half
            .Cm blocks .
            The default,
            .Cm {default} ,
            takes the first of these that the terminal says it can.
            """,
        ),
    ] = "auto"
    count: Annotated[
        int,
        cli.Option(
            "-n", metavar="N", min=1,
            help="Classes to show for each frame.",
            manual="""
            Show the
            .Ar N
            most probable classes of each frame.
            The default is {default}.
            """,
        ),
    ] = 5  # fmt: skip
    form: Annotated[
        Literal["text", "tsv", "json"] | None,
        cli.Option(
            "--format",
            help="Print a record of each frame. [default: the live screen on a terminal, else text]",
            manual="""
            Print a record of each frame in this format; see
            .Sx OUTPUT .
            The default is the live screen if standard output is a terminal, and
            .Cm text
            otherwise.
            """,
        ),
    ] = None
    header: cli.Header = False

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises
        ------
        UsageError
            They do.
        """
        cli.check_header(self.form or "", header=self.header)
        if self.source == "":
            raise UsageError("--source: the name of a file, a URL or - expected")
        if self.source is not None and (self.camera is not None or self.size is not None):
            raise UsageError(f"--source {self.source} is no camera: it goes with neither -w nor --size")
        if self.size is not None and not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", self.size, re.ASCII):
            raise UsageError(f"--size {self.size}: WIDTHxHEIGHT expected")
        if self.draw and self.form:
            raise UsageError(f"--draw prints pictures: it can't go with --format {self.form}")
        if self.draw and sys.stdout is not None and sys.stdout.isatty():
            raise UsageError("--draw prints pictures, and standard output is a terminal: pipe them somewhere")

    @property
    def is_live(self) -> bool:
        """Whether there is a terminal to show frames on."""
        shown = not (self.draw or self.form) and sys.stdout is not None and sys.stdout.isatty()
        return shown and os.environ.get("TERM") not in (None, "", "dumb")


def webcam(options: Options) -> int:
    """Show what a camera sees, with its most probable classes, live.

    On a terminal this is the picture with names and bars; q ends it. Anywhere else it is a record of each
    frame. The newest frame is always the next; those that come while the network is busy are dropped.
    """
    options.check()
    if options.listing:
        return _list()
    from overfeat_tools.commands.watching import watch, watch_pictures

    if options.source == "-":
        cli.input_files(cli.InputOptions(files=["-"]))
        cli.started()
        return watch_pictures(options)
    source = _source(options)
    cli.started()
    return watch(options, source)


def _source(options: Options) -> "Source":
    from overfeat_tools.webcam import cameras, ffmpeg

    ffmpeg.program()  # before anything else: to say that there is none
    if options.source is not None:
        return ffmpeg.file_or_url(options.source)
    return ffmpeg.camera(cameras.first() if options.camera is None else options.camera, options.size)


def _list() -> int:
    from overfeat_tools.errors import OverfeatError
    from overfeat_tools.results.table import table
    from overfeat_tools.webcam.cameras import cameras

    found = cameras()
    if not found:
        raise OverfeatError("there is no camera")
    cli.write(table([(camera.number, camera.name, camera.sizes) for camera in found]).encode("utf-8", "replace"))
    return 0


main = cli.program("of-webcam", webcam, Options)
