"""of-locate: where in each picture the classes are."""

from dataclasses import dataclass
from typing import Annotated, Literal

from overfeat_tools import cli
from overfeat_tools.errors import UsageError


@dataclass(eq=False, repr=False)
class Options(cli.NetworkOptions):
    """The options of of-locate."""

    count: Annotated[
        int,
        cli.Option(
            "-n", metavar="N", min=1,
            help="Boxes to print for each picture.",
            manual="""
            Print at most
            .Ar N
            boxes for each picture, the most probable first.
            The default is {default}.
            """,
        ),
    ] = 5  # fmt: skip
    threshold: Annotated[
        float,
        cli.Option(
            "--threshold", metavar="P", min=0, max=1,
            help="Leave out boxes less probable than P.",
            manual="""
            Leave out the boxes whose probability is less than
            .Ar P ,
            a number from {min} to {max}.
            The default is {default}.
            """,
        ),
    ] = 0  # fmt: skip
    wanted: Annotated[
        str | None,
        cli.Option(
            "--class", metavar="WNID|NAME",
            help="Look for this class only.",
            manual="""
            Look for one class only: the one with this WordNet id, or with this name exactly as
            .Xr of-classify 1
            prints it.
            """,
        ),
    ] = None  # fmt: skip
    form: Annotated[Literal["text", "tsv", "json", "html"], cli.FORMAT] = "text"
    header: cli.Header = False
    draw: Annotated[
        bool,
        cli.Option(
            "--draw",
            help="Print the pictures with boxes and names drawn into them, as PPM.",
            manual="""
            Print each picture as PPM, of its own size, with the boxes and the names of their classes drawn into it.
            """,
        ),
    ] = False
    map: Annotated[
        bool,
        cli.Option(
            "--map",
            help="Print where a class is as a gray picture, as PGM.",
            manual="""
            Print for each picture a PGM of its size: bright where the windows that show a class lie over each other.
            The class is that of
            .Fl -class ,
            or else the most probable one.
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
        if (self.draw or self.map) and self.form != "text":
            raise UsageError(f"--{'draw' if self.draw else 'map'} prints pictures; it can't go with --format")
        if self.draw and self.map:
            raise UsageError("--draw can't go with --map")


def locate(options: Options) -> int:
    """Print where in each picture the classes are, best first: class, probability, x0, y0, x1, y1.

    Pictures are files, archives of them, or a stream on standard input. Boxes are in pixels of the upright picture;
    x1 and y1 are outside.
    """
    options.check()
    files = cli.input_files(options)

    from overfeat_tools.networks.weights import map_ahead

    map_ahead(options.name, options.folder)
    from overfeat_tools.commands import run
    from overfeat_tools.commands.box_printers import printer_of
    from overfeat_tools.networks.classes import by_label, class_labelled, read_classes
    from overfeat_tools.networks.localize import Localizer
    from overfeat_tools.networks.topology import TOPOLOGIES

    topology = TOPOLOGIES[options.name]
    classes = read_classes(topology)
    wanted = None if options.wanted is None else class_labelled(options.wanted, by_label(classes), "--class")
    printer = printer_of(options, classes, wanted)
    localizer = Localizer(run.open_network(options))
    printer.begin()
    this = run.Run(
        "of-locate", options, localizer.network, topology.last_layer, localizer.prepare, printer.answer, printer.fail,
        views=localizer,
    )  # fmt: skip
    status = this.carry_out(files)
    if not (options.strict and this.failed):
        printer.end()
    return status


main = cli.program("of-locate", locate, Options)
