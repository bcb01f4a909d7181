"""of-classify: the most probable classes of each picture."""

from overfeat_tools import cli


def classify(
    files: cli.Files = None,
    count: cli.Count = 5,
    form: cli.ClassFormat = "text",
    size: cli.Size = None,
    exact: cli.ExactDecode = False,  # noqa: FBT002 -- an option, never positional
    options: cli.NetworkOptions = cli.NetworkOptions(),  # noqa: B008 -- frozen
) -> int:
    """Print the most probable classes of each picture, best first.

    Pictures are a stream of PNM on standard input, or files. Each is scaled so that its shorter
    side fits the network, and the centre square is cut.
    """
    output = cli.Output()
    names = cli.input_files(files)

    from overfeat_tools.commands import session
    from overfeat_tools.networks.classes import read_classes
    from overfeat_tools.results import output as results

    network = session.open_network(options)
    classes = read_classes(network.topology.class_file)
    prepare = session.fitting(network.topology, size, exact=exact)

    def answer(item: session.Item, values: session.FloatArray) -> None:
        ranking = results.rank(values[0, 0], classes, count)
        if form == "text":
            output.write(results.ranking_text(ranking))
        elif form == "tsv":
            output.write(results.ranking_tsv(ranking, item.number, item.file))
        else:
            output.write(results.ranking_json(ranking, item.number, item.file))

    def record(item: session.Item, message: str) -> None:
        if form == "json":
            output.write(results.error_json(message, item.number, item.file))

    last = network.topology.last_layer
    return session.run("of-classify", network, last, names, options, output, prepare, answer, record)


main = cli.entry("of-classify", classify)

if __name__ == "__main__":
    main()
