"""What of-features and of-layer share: print one layer's map for each picture."""

from collections.abc import Sequence
from functools import partial

from overfeat_tools import cli
from overfeat_tools.backend import FloatArray
from overfeat_tools.commands.run import Run, open_network
from overfeat_tools.commands.sizes import side_of_a_map
from overfeat_tools.errors import ImageError
from overfeat_tools.networks.preparation import to_a_map
from overfeat_tools.networks.topology import TOPOLOGIES
from overfeat_tools.pictures import Item
from overfeat_tools.results import maps
from overfeat_tools.results.records import failure_record


def print_maps(program: str, options: cli.MapOptions, files: Sequence[str], last: int | None = None) -> int:
    """Print one layer's map for each picture, by default the features; return the exit status."""
    topology = TOPOLOGIES[options.name]
    last = topology.feature_layer if last is None else last
    side = side_of_a_map(topology, options.size, last)
    prepare = partial(to_a_map, least_side=topology.least_side(last), side=side, cut=options.size is not None)
    network = open_network(options)

    def answer(item: Item, values: FloatArray) -> None:
        values = values.transpose(2, 0, 1)
        match options.form:
            case "text":
                cli.write_pieces(maps.map_text(values))
            case "npy":
                cli.write_pieces(maps.map_npy(values))
            case "tsv":
                cli.write_pieces(maps.map_tsv(values, item.number, item.file))
            case "json":
                cli.write_pieces(maps.map_json(values, item.number, item.file, **item.told))

    def fail(item: Item, error: ImageError) -> None:
        told = item.told | {"error": str(error)}
        if record := failure_record(options.form, item.number, item.file, maps.TSV_HEADING, **told):
            cli.write(record)

    if options.header:
        cli.write(maps.TSV_HEADING)
    return Run(program, options, network, last, prepare, answer, fail, None if options.exact else side).carry_out(files)
