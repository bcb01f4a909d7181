"""What the commands that run a network do alike: open it, prepare pictures, print maps, tell of it."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from overfeat_tools import cli
from overfeat_tools.backend import Array, Backend, FloatArray, open_backend
from overfeat_tools.commands.pipeline import Run
from overfeat_tools.errors import ImageError, UsageError
from overfeat_tools.networks.network import SPECTRA_LIMIT_BYTES, TOPOLOGIES, Network, Topology, describe_plans
from overfeat_tools.pictures import Item, centre_square, fit
from overfeat_tools.results import output as results

__all__ = ["FloatArray", "Item", "fitting", "open_network", "print_maps", "run"]


def open_network(options: cli.NetworkOptions) -> Network:
    """Open the network that the options name, on the device that they name."""
    backend = open_backend(options.device, options.threads)
    if options.folder == "":
        message = "-d: the name of a folder expected"
        raise UsageError(message)
    folder = None if options.folder is None else Path(options.folder)
    return Network(TOPOLOGIES[options.name], folder, backend, options.method, memory_for_spectra(backend))


def memory_for_spectra(backend: Backend) -> float:
    """Give the most bytes for prepared kernels: `$OVERFEAT_MEMORY` MiB, else 1536 or an eighth of the device's.

    Raises
    ------
    UsageError
        The variable is no number.
    """
    named = os.environ.get("OVERFEAT_MEMORY")
    if not named:
        return min(SPECTRA_LIMIT_BYTES, backend.memory_bytes() / 8)
    if not (named.isascii() and named.isdigit()):
        message = f"OVERFEAT_MEMORY={named}: a number of MiB expected"
        raise UsageError(message)
    return float(int(named) << 20)


@dataclass(frozen=True)
class Preparation:
    """How pictures are brought to what the network takes.

    `apply` turns pixels (H, W, 3) into such, or raises ImageError; `decode_side` is the side it
    scales to, where large files may be decoded at a reduced size.
    """

    apply: Callable[[Array], Array]
    decode_side: int | None = None


def fitting(topology: Topology, size: str | None, *, exact: bool) -> Preparation:
    """Bring pictures to a size with one place in the last map.

    Parameters
    ----------
    topology : Topology
        The network.
    size : str, optional
        `none` or a number, as the option `--size` has it.
    exact : bool
        Decode files whole, however large.

    Raises
    ------
    UsageError
        The size is no number, or gives no single place.
    """
    if size != "none":
        if size is not None and not (size.isascii() and size.isdigit() and len(size) < 10):  # noqa: PLR2004 -- a sane number
            message = f"--size {size!r}: a number of pixels or none expected"
            raise UsageError(message)
        side = topology.input_size if size is None else int(size)
        if reason := _no_single_place(topology, side):
            message = f"--size {side}: {side}x{side} {reason}"
            raise UsageError(message)
        return Preparation(lambda pixels: fit(_not_empty(pixels), side), None if exact else side)

    def cut(pixels: Array) -> Array:
        square = centre_square(pixels)
        if reason := _no_single_place(topology, len(square)):
            height, width = pixels.shape[:2]
            message = f"{width}x{height} {reason}"
            raise ImageError(message)
        return square

    return Preparation(cut)


def _not_empty(pixels: Array) -> Array:
    if not pixels.size:
        message = "{1}x{0} has no pixels".format(*pixels.shape)
        raise ImageError(message)
    return pixels


def _no_single_place(topology: Topology, side: int) -> str | None:
    """Say why a square does not give one answer, if it does not."""
    least = topology.input_size
    if side < least:
        return f"is smaller than {least}x{least}"
    _, rows, columns = topology.shapes(side, side)[-1]
    if (rows, columns) != (1, 1):
        return f"gives {rows}x{columns} answers, not one; the side must be {least} to {_most(topology)}"
    return None


def _most(topology: Topology) -> int:
    side = topology.input_size
    while topology.shapes(side + 1, side + 1)[-1][1] == 1:
        side += 1
    return side


def print_maps(
    program: str, network: Network, last: int, files: Sequence[str], options: cli.NetworkOptions, output: cli.Output,
    form: str,
) -> int:  # fmt: skip
    """Print one layer's map for each picture, as it is; return the exit status."""
    least = network.topology.least_side(last)
    write = results.map_text if form == "text" else results.map_npy

    def check(pixels: Array) -> Array:
        height, width = pixels.shape[:2]
        if min(height, width) < least:
            message = f"{width}x{height} is smaller than {least}x{least}"
            raise ImageError(message)
        return pixels

    def answer(_: Item, values: FloatArray) -> None:
        for chunk in write(values):
            output.write(chunk)

    return run(program, network, last, files, options, output, Preparation(check), answer, lambda _item, _message: None)


def run(
    program: str, network: Network, last: int, files: Sequence[str], options: cli.NetworkOptions, output: cli.Output,
    preparation: Preparation, answer: Callable[[Item, FloatArray], None],
    record: Callable[[Item, str], None],
) -> int:  # fmt: skip
    """Answer every picture; tell of bad ones on stderr, and with -v of the run; return the status."""

    def report(item: Item, error: ImageError) -> None:
        record(item, str(error))
        output.flush()
        cli.say(program, f"{item.place}: {error}")

    this = Run(
        network, last, preparation.apply, answer, report, output.flush, most_pictures=options.batch,
        strict=options.strict, decode_side=preparation.decode_side,
    )  # fmt: skip
    cli.started()
    try:
        status = this.over(files)
        if network.backend.compiler:
            network.backend.compiler.end()
        return status
    finally:
        if options.verbose and sys.exc_info()[0] in (None, KeyboardInterrupt):
            for line in _summary(this):
                cli.say(program, line)


def _loops(backend: Backend) -> str:
    compiler = backend.compiler
    return f", loops compiled for vectors of {compiler.lanes}" if compiler and compiler.loaded else ""


def _summary(this: Run) -> list[str]:
    whole = this.seconds["whole"]
    network = this.network
    lines = [
        f"{network.topology.name} on {network.backend}{_loops(network.backend)}",
        f"pictures answered: {this.answered} in {whole:.2f} s, {this.answered / whole:.1f} a second",
        f"batches: {this.batches}; pictures failed: {this.failed}",
        "seconds: " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in this.seconds.items()),
    ]
    return lines + (results.table(describe_plans(network)).splitlines() if this.batches else [])
