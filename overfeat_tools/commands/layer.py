"""of-layer: any layer of each picture, or the table of layers."""

import re

from overfeat_tools import cli
from overfeat_tools.errors import UsageError

_NUMBER = re.compile("[0-9]{1,6}")


def layer(
    files: cli.Files = None,
    number: cli.Layer = None,
    form: cli.MapFormat = "text",
    listed: cli.ListLayers = False,  # noqa: FBT002 -- an option, never positional
    input_size: cli.InputSize = None,
    options: cli.NetworkOptions = cli.NetworkOptions(),  # noqa: B008 -- frozen
) -> int:
    """Print the output of one layer for each picture.

    Pictures are a stream of PNM on standard input, or files, and are taken as they are.
    """
    output = cli.Output()
    from overfeat_tools.networks.tables import describe
    from overfeat_tools.networks.topology import TOPOLOGIES

    topology = TOPOLOGIES[options.name]
    if listed:
        if files or number is not None:
            message = "--list prints a table only: it goes with neither -L nor files"
            raise UsageError(message)
        from overfeat_tools.results.output import table

        height, width = _size(input_size) if input_size is not None else (topology.input_size,) * 2
        output.write(table(describe(topology, height, width)).encode())
        output.flush()
        return 0
    if input_size is not None:
        message = "--input goes with --list"
        raise UsageError(message)
    if number is None:
        message = "which layer? give -L N; see of-layer --list"
        raise UsageError(message)
    if number > topology.last_layer:
        message = f"-L {number}: the layers of {topology.name} are 0..{topology.last_layer}"
        raise UsageError(message)
    names = cli.input_files(files)

    from overfeat_tools.commands import session

    network = session.open_network(options)
    return session.print_maps("of-layer", network, number, names, options, output, form)


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.partition("x")
    if not (cross and all(_NUMBER.fullmatch(side) for side in (height, width))):
        message = f"--input {text!r}: HxW expected, as in 480x640"
        raise UsageError(message)
    return int(height), int(width)


main = cli.entry("of-layer", layer)

if __name__ == "__main__":
    main()
