"""of-classify: the most probable classes of each picture."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from overfeat_tools import cli
from overfeat_tools.errors import UsageError

if TYPE_CHECKING:
    from overfeat_tools.pictures import Prepare


@dataclass(eq=False, repr=False)
class Options(cli.NetworkOptions):
    """The options of of-classify."""

    count: Annotated[
        int,
        cli.Option(
            "-n", metavar="N", min=1,
            help="Classes to print for each picture.",
            manual="""
            Print the
            .Ar N
            most probable classes of each picture.
            The default is {default}.
            If there are fewer than
            .Ar N
            classes, all of them are printed.
            Classes of equal probability are printed in the order of their index.
            """,
        ),
    ] = 5  # fmt: skip
    threshold: Annotated[
        float,
        cli.Option(
            "--threshold", metavar="P", min=0, max=1,
            help="Leave out classes less probable than P.",
            manual="""
            Leave out the classes whose probability is less than
            .Ar P ,
            a number from {min} to {max}.
            The default is {default}.
            Where no class is left, a picture has no line in
            .Cm text ,
            a line with empty columns in
            .Cm tsv ,
            and an empty array of
            .Cm classes
            in
            .Cm json .
            """,
        ),
    ] = 0  # fmt: skip
    form: Annotated[Literal["text", "tsv", "json", "html"], cli.FORMAT] = "text"
    header: cli.Header = False
    size: Annotated[
        str | None,
        cli.Option(
            "--size", metavar="S|input|none",
            help="Scale the shorter side to S, or to the network's input, then cut the centre square; none: only cut. "
            "[default: input]",
            manual="""
            Scale the shorter side of each picture to
            .Ar S
            pixels, then cut out the square in the middle.
            The default,
            .Cm input ,
            is the network's input size.
            .Ar S
            must give a single answer: it may be 231 to 262 for
            .Cm tiny
            and
            .Cm fast ,
            221 to 256 for
            .Cm accurate ,
            and 224 to 255 for the VGG networks.
            A size above the network's input enlarges the picture a little; what then lies outside the network's input,
            on the right and at the bottom, is mostly ignored.
            .Pp
            With
            .Cm none ,
            pictures are not scaled.
            The largest square in the middle is cut out, and a picture can't be used if the side of that square is not
            within the same limits.
            """,
        ),
    ] = None  # fmt: skip
    views: Annotated[
        Literal["centre", "ten", "dense"],
        cli.Option(
            "--views",
            help="Look at the centre only, at ten parts, or everywhere at several scales.",
            manual="""
            What of a picture to look at.
            The default,
            .Cm {default} ,
            is the square in the middle.
            With
            .Cm ten
            these are the four corners and the centre of the picture scaled to 256 pixels on its shorter side, and the
            mirror images of the five.
            With
            .Cm dense
            the network is slid over the picture at several scales, and over its mirror image.
            See
            .Sx Views .
            """,
        ),
    ] = "centre"
    scales: Annotated[
        str | None,
        cli.Option(
            "--scales", metavar="N,...",
            help="Scales for --views dense, of 1 to 6. [default: 1,2,4,6]",
            manual="""
            The scales for
            .Fl -views Cm dense :
            numbers from 1 to 6, separated by commas.
            The default is 1,2,4,6.
            """,
        ),
    ] = None  # fmt: skip
    stride: Annotated[
        Literal["fine", "coarse"] | None,
        cli.Option(
            "--stride",
            help="Steps between the places for --views dense. [default: fine]",
            manual="""
            How near to each other the places for
            .Fl -views Cm dense
            lie.
            With
            .Cm fine ,
            the default, the last pool is taken at all of its offsets.
            With
            .Cm coarse
            it is taken once: there are a ninth of the places in
            .Cm accurate ,
            a quarter in the other networks.
            """,
        ),
    ] = None
    exact: cli.ExactDecode = False
    truth: Annotated[
        str | None,
        cli.Option(
            "--truth", metavar="FILE",
            help="Compare with the right classes in this file; print how many are right.",
            manual="""
            Read the right classes of files from
            .Ar FILE ,
            and print how often the most probable class is right, and how often one of the first five is; see
            .Sx Accuracy .
            """,
        ),
    ] = None  # fmt: skip
    self_test: Annotated[
        bool,
        cli.Option(
            "--self-test",
            help="Check whether the weights are plausible instead.",
            manual="""
            Read no pictures, but check whether the weights can be those of the network; see
            .Sx Self-test .
            """,
        ),
    ] = False

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises
        ------
        UsageError
            They do.
        """
        cli.check_header(self.form, header=self.header)
        if self.form == "html" and self.truth is not None:
            raise UsageError("--truth counts what is right; it goes with --format text, tsv or json")
        if self.size is not None and self.views != "centre":
            raise UsageError(f"--size goes with --views centre: --views {self.views} has sizes of its own")
        if self.views != "dense" and (self.scales, self.stride) != (None, None):
            raise UsageError("--scales and --stride go with --views dense")
        if self.self_test and self.views != "centre":
            raise UsageError("--self-test draws its own pictures: it does not go with --views")
        if self.self_test and (self.files or self.names_from is not None or self.truth is not None):
            raise UsageError("--self-test draws its own pictures: it goes with neither files nor --truth")


def classify(options: Options) -> int:
    """Print the most probable classes of each picture, best first.

    Pictures are files, archives of them, or a stream on standard input. Each is scaled so that its shorter
    side fits the network, and the centre square is cut; --views looks at more of it.
    """
    options.check()
    if options.self_test:
        from overfeat_tools.commands.self_test import self_test

        return self_test(options)
    files = cli.input_files(options)

    from overfeat_tools.networks.weights import map_ahead

    map_ahead(options.name, options.folder)
    from overfeat_tools.commands import run, sizes
    from overfeat_tools.commands.class_printers import Judge, Printer
    from overfeat_tools.networks.classes import read_classes
    from overfeat_tools.networks.preparation import to_one_answer
    from overfeat_tools.networks.topology import TOPOLOGIES

    topology = TOPOLOGIES[options.name]
    classes = read_classes(topology)
    side = sizes.side_of_one_answer(topology, options.size)
    prepare: Prepare = partial(to_one_answer, topology=topology, side=side)
    open_views = sizes.chosen_views(options.views, options.scales, options.stride)
    kind = Printer if options.truth is None else Judge
    if options.form == "html":
        from overfeat_tools.commands.page_printer import PagePrinter as kind  # noqa: N813 -- one of three
    printer = kind(options, classes)
    network = run.open_network(options)
    views = open_views(network)
    if views:
        network, prepare, side = views.network, views.prepare, views.side
    decode_side = None if options.exact else side
    printer.begin()
    this = run.Run(
        "of-classify", options, network, topology.last_layer, prepare, printer.answer, printer.fail, decode_side, views,
        printer.answers,
    )
    status = this.carry_out(files)
    if not (options.strict and this.failed):
        printer.end()
    return status


main = cli.program("of-classify", classify, Options)
