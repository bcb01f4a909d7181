"""of-features: the feature layer of each picture."""

from dataclasses import dataclass

from overfeat_tools import cli


@dataclass(eq=False, repr=False)
class Options(cli.MapOptions):
    """The options of of-features."""



def features(options: Options) -> int:
    """Print the features of each picture: layer 19 of fast, 22 of accurate, before the rectifier.

    Pictures are files, archives of them, or a stream on standard input. Without --size they are taken as they
    are, of any size that is at least the network's input: a larger one gives a map of features.
    """
    options.check()
    files = cli.input_files(options)

    from overfeat_tools.networks.weights import map_ahead

    map_ahead(options.name, options.folder)
    from overfeat_tools.commands.maps import print_maps

    return print_maps("of-features", options, files)


main = cli.program("of-features", features, Options)
