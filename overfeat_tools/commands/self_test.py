"""of-classify --self-test: whether the weights can be those of the network."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from overfeat_tools import cli
from overfeat_tools.commands.run import open_network
from overfeat_tools.errors import WeightsError
from overfeat_tools.networks import plausibility
from overfeat_tools.networks.classes import read_classes
from overfeat_tools.networks.drawings import drawings
from overfeat_tools.networks.network import Network
from overfeat_tools.results.table import table

if TYPE_CHECKING:
    from overfeat_tools.commands.classify import Options

Found = Iterator[plausibility.Finding]


def self_test(options: "Options") -> int:
    """Print what is found about the weights of a network.

    Raises
    ------
    WeightsError
        They are not plausible.
    """
    cli.started()
    network = open_network(options)
    name, layers = network.topology.name, list(network.convolutions)
    rows: list[tuple[object, ...]] = [("check", "layer", "verdict", "found")]
    problems: list[str] = []
    for check in (_numbers, _structure, _maps):
        for finding in check(network):
            verdict = "-" if finding.problem is None else "wrong" if finding.problem else "good"
            rows.append((finding.check, layers[finding.convolution - 1], verdict, finding.found))
            problems += filter(None, [finding.problem])
        if problems and check is _numbers:
            break  # what is computed with such weights says no more, and may take long
    cli.write(f"{table(rows)}the weights of {name} are {'not plausible' if problems else 'plausible'}\n".encode())
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise WeightsError(f"{network.topology.weight_file}: not the weights of {name}: {problems[0]}{more}")
    return 0


def _numbers(network: Network) -> Found:
    yield from plausibility.spread(_parameters(network))
    yield plausibility.ending(_parameters(network))


def _structure(network: Network) -> Found:
    return plausibility.structure(_parameters(network))


def _parameters(network: Network) -> plausibility.Parameters:
    return [(convolution.weight, convolution.bias) for convolution in network.convolutions.values()]


def _maps(network: Network) -> Found:
    """Judge what the network makes of pictures; which they show is known to `tiny` alone."""
    drawn = drawings(network.topology.input_size)
    pictures = np.stack(list(drawn.values()))
    for number, layer in enumerate(network.convolutions, 1):
        yield plausibility.of_map(network.run(pictures, layer), number)
    classes = read_classes(network.topology)
    for shown, probabilities in zip(drawn, network.run(pictures)[:, 0, 0], strict=True):
        best = classes[int(probabilities.argmax())].name
        found = f"{shown}: {best} {probabilities.max():g}"
        known = shown in {each.name for each in classes}
        problem = f"it classifies {found}" if known and shown != best else ""
        yield plausibility.Finding("picture", number, found, problem if known else None)
