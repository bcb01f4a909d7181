"""The options that several commands share.

A command's options are the fields of a dataclass; what commands share they inherit.  Nobody compares
or prints options, and the methods to do so would cost a millisecond of every start: hence `eq=False, repr=False`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from overfeat_tools import __version__
from overfeat_tools.cli.declaration import Option
from overfeat_tools.cli.inputs import InputOptions
from overfeat_tools.errors import UsageError


def _show_version(context: typer.Context, value: bool) -> None:  # noqa: FBT001 -- typer calls it so
    if value:
        typer.echo(f"{context.info_name} {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    Option(
        "--version", is_eager=True, callback=_show_version,
        help="Show the version and exit.",
        manual="Print the name and version of the program and exit.",
    ),
]  # fmt: skip

Net = Annotated[
    Literal["tiny", "fast", "accurate", "vgg11", "vgg16", "vgg19"] | None,
    Option(
        "--net",
        help="Network to run. [default: fast]",
        manual="""
        The network to run.
        The default is
        .Cm fast .
        .Cm tiny
        comes with the program and needs no weight file.
        It is a demonstration that recognises 26 classes of drawn patterns and knows nothing about photographs.
        .Cm vgg11 ,
        .Cm vgg16
        and
        .Cm vgg19
        came a year after OverFeat; they classify better and take several times as long.
        See
        .Sx THE NETWORKS
        in
        .Xr overfeat_tools 7 .
        """,
    ),
]

Accurate = Annotated[
    bool,
    Option(
        "-l",
        help="The same as --net accurate.",
        manual="""
        The same as
        .Fl -net Cm accurate .
        It is an error to name another network as well.
        """,
    ),
]

Folder = Annotated[
    str | None,
    Option(
        "-d",
        metavar="DIR",
        help="Folder with the weights. [default: $OVERFEAT_DATA, else the user's data folder]",
        manual="""
        Look for the weight files in the folder
        .Ar DIR ,
        and nowhere else.
        The default is
        .Ev $OVERFEAT_DATA
        or, if that is not set, the user's data folder.
        See
        .Sx FILES .
        """,
    ),
]


@dataclass(eq=False, repr=False)
class EngineOptions:
    """Which network to run, and how: the options of every command that runs one."""

    net: Net = None
    accurate: Accurate = False
    folder: Folder = None
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Option(
            "--device",
            help="Where to compute.",
            manual="""
            Where to compute.
            The default,
            .Cm {default} ,
            uses an NVIDIA graphics card if cupy is installed and finds one that works, and the processor otherwise.
            If
            .Cm cuda
            is asked for and there is no such card, the program ends with status 1.
            See
            .Sx Graphics cards
            in
            .Xr overfeat_tools 7 .
            """,
        ),
    ] = "auto"
    threads: Annotated[
        int | None,
        Option(
            "--threads", metavar="N", min=1, max=1024,
            help="Number of threads. [default: all processors]",
            manual="""
            Compute on
            .Ar N
            threads, from {min} to {max}, and decode picture files on as many.
            The default is one for each processor that the program may run on.
            """,
        ),
    ] = None  # fmt: skip
    method: Annotated[
        Literal["auto", "gemm", "fft", "cook-toom"],
        Option(
            "--method",
            help="How to compute convolutions.",
            manual="""
            How to compute the convolutions.
            The default,
            .Cm {default} ,
            chooses the fastest method for every layer and batch.
            Any other method is used for the layers it can compute:
            .Cm fft
            for kernels larger than 1x1 with a stride of 1,
            .Cm cook-toom
            for kernels of 2x2 to 6x6 with a stride of 1,
            .Cm gemm
            for all.
            The remaining layers use
            .Cm gemm .
            Results differ only in their last digits; see
            .Sx NUMBERS
            in
            .Xr overfeat_tools 7 .
            """,
        ),
    ] = "auto"
    precision: Annotated[
        Literal["float32", "tf32", "half"],
        Option(
            "--precision",
            help="Digits of what a graphics card multiplies.",
            manual="""
            To how many bits a graphics card rounds the numbers that it multiplies in convolutions:
            .Cm float32 ,
            the default, keeps all 24 of them;
            .Cm tf32
            keeps 11, and
            .Cm half
            keeps 11 of numbers up to 65504, which are all that there may be.
            Sums are float32 in any case.
            Fewer bits are faster, on a card of compute capability 8.0 or higher, at the price of precision; see
            .Sx Graphics cards
            in
            .Xr overfeat_tools 7 .
            On a processor, anything but
            .Cm float32
            is refused.
            """,
        ),
    ] = "float32"
    reproducible: Annotated[
        bool,
        Option(
            "--reproducible",
            help="Give equal bytes for equal pixels, whatever the batch and the threads.",
            manual="""
            Give the same bytes for the same pixels, whatever the batch, the place in it, the number of threads and the
            run, as far as the version of the programs and the processor's vectors are the same.
            The fastest method for a few pictures is not the fastest for many, so this costs time where pictures come
            one by one; see
            .Sx NUMBERS
            in
            .Xr overfeat_tools 7 .
            Where it can't be had, on a graphics card or a processor that nothing is compiled for, it is refused.
            """,
        ),
    ] = False
    verbose: Annotated[
        bool,
        Option(
            "-v", "--verbose",
            help="Report methods and times on stderr.",
            manual="""
            At the end, report on standard error: the network, the device and the number of threads; the pictures
            answered, the pictures that failed and the batches they were computed in; the time that cores have spent on
            reading, decoding, fitting, computing and writing, and in all; and for each step of the network its time and
            the methods used.
            On a graphics card, the time shown for a step is the time it took to queue it.
            """,
        ),
    ] = False  # fmt: skip
    version: Version = False

    @property
    def name(self) -> str:
        """The network asked for."""
        return network_name(self.net, accurate=self.accurate)


@dataclass(eq=False, repr=False)
class NetworkOptions(EngineOptions, InputOptions):
    """The options of every command that runs a network on the pictures it is given."""


def network_name(net: str | None, *, accurate: bool) -> str:
    """Give the name of the network that the options `--net` and `-l` ask for.

    Raises
    ------
    UsageError
        They contradict each other.
    """
    if accurate and net not in (None, "accurate"):
        raise UsageError(f"-l means --net accurate; it can't go with --net {net}")
    return "accurate" if accurate else net or "fast"
