"""of-layer: any layer of each picture, or the table of layers."""

from dataclasses import dataclass
from typing import Annotated

from overfeat_tools import cli
from overfeat_tools.errors import UsageError


@dataclass(eq=False, repr=False)
class Options(cli.MapOptions):
    """The options of of-layer."""

    number: Annotated[
        int | None,
        cli.Option(
            "-L", metavar="N", min=0,
            help="Layer to print.",
            manual="""
            Print layer
            .Ar N :
            0 to 22 for
            .Cm tiny
            and
            .Cm fast ,
            0 to 25 for
            .Cm accurate ,
            0 to 35, 50 and 59 for
            .Cm vgg11 ,
            .Cm vgg16
            and
            .Cm vgg19 .
            This option is required unless
            .Fl -list
            is given.
            """,
        ),
    ] = None  # fmt: skip
    listed: Annotated[
        bool,
        cli.Option(
            "--list",
            help="Print the table of layers instead.",
            manual="""
            Print the table of layers and exit.
            No weights are needed.
            With
            .Fl -format Cm tsv
            its columns are separated by tabs, and their names are printed only with
            .Fl -header .
            """,
        ),
    ] = False
    input_size: Annotated[
        str | None,
        cli.Option(
            "--input", metavar="HxW",
            help="Picture size for --list. [default: the network's input]",
            manual="""
            With
            .Fl -list ,
            show the shapes for pictures of
            .Ar H
            rows and
            .Ar W
            columns.
            The default is the network's input size, which is also the smallest that is allowed.
            Note that the height comes first, as it does in the table.
            """,
        ),
    ] = None  # fmt: skip


def layer(options: Options) -> int:
    """Print the output of one layer for each picture.

    Pictures are files, archives of them, or a stream on standard input. Without --size they are taken as they are.
    """
    options.check()
    if options.listed:
        return _list(options)
    if options.input_size is not None:
        raise UsageError("--input goes with --list")
    if options.number is None:
        raise UsageError("which layer? give -L N; see of-layer --list")

    from overfeat_tools.networks.weights import map_ahead

    map_ahead(options.name, options.folder)
    from overfeat_tools.networks.topology import TOPOLOGIES

    topology = TOPOLOGIES[options.name]
    if options.number > topology.last_layer:
        raise UsageError(f"-L {options.number}: the layers of {topology.name} are 0..{topology.last_layer}")
    files = cli.input_files(options)

    from overfeat_tools.commands.maps import print_maps

    return print_maps("of-layer", options, files, options.number)


def _list(options: Options) -> int:
    if options.files or options.names_from or options.number is not None:
        raise UsageError("--list prints a table only: it goes with neither -L nor files")
    if options.form not in ("text", "tsv"):
        raise UsageError(f"--list goes with --format text or tsv, not {options.form}")
    from overfeat_tools.networks.tables import describe
    from overfeat_tools.networks.topology import TOPOLOGIES
    from overfeat_tools.results.table import table

    topology = TOPOLOGIES[options.name]
    height = width = topology.input_size
    if options.input_size is not None:
        expected = f"--input {options.input_size}: HxW, as in 480x640,"
        sides = options.input_size.partition("x")[::2]
        height, width = (cli.whole_number(side, expected) for side in sides)
    rows = describe(topology, height, width)
    if options.form == "tsv":
        lines = ["\t".join(map(str, row)) + "\n" for row in rows[not options.header :]]
        cli.write("".join(lines).encode())
    else:
        cli.write(table(rows).encode())
    return 0


main = cli.program("of-layer", layer, Options)
