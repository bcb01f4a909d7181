"""of-classify: the most probable classes of each picture."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from overfeat_tools import cli
from overfeat_tools.errors import ImageError


@dataclass(eq=False, repr=False)
class Options(cli.NetworkOptions):
    """The options of of-classify."""

    files: cli.Files = None
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
    form: Annotated[
        Literal["text", "tsv", "json"],
        cli.Option(
            "--format",
            help="What to print.",
            manual="""
            The format of the output; see
            .Sx OUTPUT .
            The default is
            .Cm {default} .
            """,
        ),
    ] = "text"
    size: Annotated[
        str | None,
        cli.Option(
            "--size", metavar="S|none",
            help="Scale the shorter side to S, then cut the centre square; none: only cut. "
            "[default: the network's input]",
            manual="""
            Scale the shorter side of each picture to
            .Ar S
            pixels, then cut out the square in the middle.
            The default is the network's input size.
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
    exact: Annotated[
        bool,
        cli.Option(
            "--exact-decode",
            help="Decode large JPEG files whole, not at a reduced size.",
            manual="""
            Decode JPEG files at full size.
            By default, a file whose shorter side is at least four times the size it will be scaled to is decoded at a
            half, a quarter or an eighth of its size, but never at less than twice the size it will be scaled to.
            This takes a fraction of the time, and usually changes probabilities by a few thousandths.
            """,
        ),
    ] = False


def classify(options: Options) -> int:
    """Print the most probable classes of each picture, best first.

    Pictures are a stream of PNM on standard input, or files. Each is scaled so that its shorter
    side fits the network, and the centre square is cut.
    """
    files = cli.input_files(options.files)

    from overfeat_tools.backend import FloatArray
    from overfeat_tools.commands import preparation, run
    from overfeat_tools.networks.classes import read_classes
    from overfeat_tools.pictures import Item
    from overfeat_tools.results import ranking

    network = run.open_network(options)
    topology = network.topology
    classes = read_classes(topology)
    side = preparation.chosen_side(topology, options.size)
    prepare = partial(preparation.to_one_answer, topology=topology, side=side)

    def answer(item: Item, values: FloatArray) -> None:
        best = ranking.rank(values[0, 0], classes, options.count)
        match options.form:
            case "text":
                cli.write(ranking.ranking_text(best))
            case "tsv":
                cli.write(ranking.ranking_tsv(best, item.number, item.file))
            case "json":
                cli.write(ranking.ranking_json(best, item.number, item.file, item.warning))

    def fail(item: Item, error: ImageError) -> None:
        if options.form == "json":
            cli.write(ranking.picture_json(item.number, item.file, error=str(error)))

    decode_side = None if options.exact else side
    this = run.Run("of-classify", options, network, topology.last_layer, prepare, answer, fail, decode_side)
    return this.carry_out(files)


main = cli.program("of-classify", classify, Options)
