"""of-features: the feature layer of each picture."""

from dataclasses import dataclass

from overfeat_tools import cli


@dataclass(eq=False, repr=False)
class Options(cli.NetworkOptions):
    """The options of of-features."""

    form: cli.MapFormat = "text"


def features(options: Options) -> int:
    """Print the features of each picture: layer 19 of fast, 22 of accurate, before the rectifier.

    Pictures are files, archives of them, or a stream on standard input. They are taken as they are, of any
    size that is at least the network's input: a larger one gives a map of features.
    """
    files = cli.input_files(options)

    from overfeat_tools.commands import run

    network = run.open_network(options)
    return run.print_maps("of-features", options, files, network, network.topology.feature_layer, options.form)


main = cli.program("of-features", features, Options)
