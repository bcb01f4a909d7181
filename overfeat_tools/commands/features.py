"""of-features: the feature layer of each picture."""

from overfeat_tools import cli


def features(
    files: cli.Files = None,
    form: cli.MapFormat = "text",
    options: cli.NetworkOptions = cli.NetworkOptions(),  # noqa: B008 -- frozen
) -> int:
    """Print the features of each picture: layer 19 of fast, 22 of accurate, before the rectifier.

    Pictures are a stream of PNM on standard input, or files. They are taken as they are, of any
    size that is at least the network's input: a larger one gives a map of features.
    """
    output = cli.Output()
    names = cli.input_files(files)

    from overfeat_tools.commands import session

    network = session.open_network(options)
    return session.print_maps("of-features", network, network.topology.feature_layer, names, options, output, form)


main = cli.entry("of-features", features)

if __name__ == "__main__":
    main()
