"""Options for what is done to pictures before, and how results are printed, that several commands share."""

from dataclasses import dataclass
from typing import Annotated, Literal

from overfeat_tools.cli.declaration import Option
from overfeat_tools.cli.options import NetworkOptions
from overfeat_tools.errors import UsageError

FORMAT = Option(
    "--format",
    help="What to print.",
    manual="""
    The format of the output; see
    .Sx OUTPUT .
    The default is
    .Cm {default} .
    """,
)

Header = Annotated[
    bool,
    Option(
        "--header",
        help="Begin tsv with a line that names the columns.",
        manual="""
        With
        .Fl -format Cm tsv ,
        first print a line with the names of the columns, even if no picture follows.
        """,
    ),
]

ExactDecode = Annotated[
    bool,
    Option(
        "--exact-decode",
        help="Decode large JPEG files whole, not at a reduced size.",
        manual="""
        Decode JPEG files at full size.
        By default, a file whose shorter side is at least four times the size it will be scaled to is decoded at a
        half, a quarter or an eighth of its size, but never at less than twice the size it will be scaled to.
        This takes a fraction of the time, and usually changes probabilities by a few thousandths.
        A picture that is not scaled is always decoded at full size.
        """,
    ),
]


def check_header(form: str, *, header: bool) -> None:
    """Refuse `--header` without the format that has one.

    Raises
    ------
    UsageError
        They don't go together.
    """
    if header and form != "tsv":
        raise UsageError("--header goes with --format tsv")


@dataclass(eq=False, repr=False)
class MapOptions(NetworkOptions):
    """The options of the commands that print a layer."""

    form: Annotated[Literal["text", "tsv", "json", "npy"], FORMAT] = "text"
    header: Header = False
    size: Annotated[
        str | None,
        Option(
            "--size", metavar="S|input|none",
            help="Scale the shorter side to S, or to the network's input, then cut the centre square; none: only cut. "
            "[default: the picture as it is]",
            manual="""
            Scale the shorter side of each picture to
            .Ar S
            pixels, then cut out the square in the middle, as
            .Xr of-classify 1
            does.
            With
            .Cm input ,
            the size is the network's input, 231 for
            .Cm tiny
            and
            .Cm fast ,
            and 221 for
            .Cm accurate .
            With a larger
            .Ar S
            the result is a map.
            .Pp
            With
            .Cm none ,
            pictures are not scaled, but the largest square in the middle is cut out.
            Without this option they are neither scaled nor cut.
            """,
        ),
    ] = None  # fmt: skip
    exact: ExactDecode = False

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises
        ------
        UsageError
            They do.
        """
        check_header(self.form, header=self.header)
