"""of-export: a network as an ONNX file."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from overfeat_tools import cli

if TYPE_CHECKING:
    from overfeat_tools.library.arguments import Layer


@dataclass(eq=False, repr=False)
class Options:
    """The options of of-export."""

    file: Annotated[str, cli.Argument("FILE", help="The file to write, as in fast.onnx.")]
    layer: Annotated[
        str,
        cli.Option(
            "-L", metavar="N|features|scores|probabilities",
            help="The layer that the model gives.",
            manual="""
            The model ends with layer
            .Ar N ,
            as
            .Ql of-layer --list
            numbers them, and gives its output:
            .Cm features
            is what
            .Xr of-features 1
            prints,
            .Cm scores
            is the layer before the softmax, and
            .Cm probabilities ,
            the default, the last layer.
            """,
        ),
    ] = "probabilities"  # fmt: skip
    external_data: Annotated[
        bool,
        cli.Option(
            "--external-data",
            help="Leave the weights in a file of their own beside the model.",
            manual="""
            Leave the weights in a file of their own, in the folder of
            .Ar FILE ,
            which models of several layers can share.
            It is the network's weight file under its own name: another link to it, or a copy where it lies on another
            disk.
            The model itself then takes some kilobytes, and must be moved together with it.
            """,
        ),
    ] = False
    net: cli.Net = None
    accurate: cli.Accurate = False
    folder: cli.Folder = None
    version: cli.Version = False


def export(options: Options) -> int:
    """Write a network as an ONNX file, for other programs.

    The file appears when ONNX Runtime has computed with it what is computed here.
    """
    cli.started()
    from overfeat_tools import Network
    from overfeat_tools.interop import to_onnx

    named: dict[str, Layer] = {"features": "features", "scores": "scores", "probabilities": "probabilities"}
    layer = named.get(options.layer)
    if layer is None:
        layer = cli.whole_number(options.layer, f"-L {options.layer}: a number, {', '.join(named)}")
    name = cli.network_name(options.net, accurate=options.accurate)
    net = Network(name, weights=options.folder, device="cpu")
    to_onnx(net, options.file, layer, external_data=options.external_data)
    return 0


main = cli.program("of-export", export, Options)
