"""The options of of-batch."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from overfeat_tools import cli
from overfeat_tools.errors import UsageError


@dataclass(eq=False, repr=False)
class Options(cli.NetworkOptions):
    """The options of of-batch."""

    sources: Annotated[
        list[str] | None,
        cli.Option(
            "-i", metavar="SOURCE",
            help="A folder, file, tar archive, address or pattern of pictures; may be repeated. - is a tar on stdin.",
            manual="""
            Read the pictures of
            .Ar SOURCE ,
            as if it were a
            .Ar FILE ;
            see
            .Sx SOURCES .
            The option may be repeated.
            """,
        ),
    ] = None  # fmt: skip
    output: Annotated[
        str,
        cli.Option(
            "-o", metavar="DIR",
            help="Folder, or address of one, for the results; - is standard output.",
            manual="""
            Put the results into the folder
            .Ar DIR ,
            which is made if it does not exist and may be elsewhere; see
            .Sx SOURCES .
            With
            .Ql -
            they are printed on standard output.
            This option is required.
            """,
        ),
    ] = ""  # fmt: skip
    form: Annotated[
        Literal["features", "npy", "parquet", "tsv", "json"] | None,
        cli.Option(
            "--format",
            help="What to write. [default: features; on standard output tsv]",
            manual="""
            What to write; see
            .Sx OUTPUT .
            The default is
            .Cm features ,
            and on standard output
            .Cm tsv .
            """,
        ),
    ] = None
    layers: Annotated[
        str | None,
        cli.Option(
            "-L", metavar="N,...",
            help="Layers to write, from one pass: numbers, features, scores, probabilities. [default: features]",
            manual="""
            Write layer
            .Ar N ,
            as
            .Xr of-layer 1
            does, instead of the features; or several layers, separated by commas, all from one pass.
            Besides numbers there are
            .Cm features ,
            .Cm scores
            .Pq before the softmax
            and
            .Cm probabilities .
            """,
        ),
    ] = None  # fmt: skip
    size: Annotated[
        str | None,
        cli.Option(
            "--size", metavar="S|input|none",
            help="Scale the shorter side to S, or to the network's input, then cut the centre square; none: only cut. "
            "[default: the picture as it is]",
            manual="""
            What to do to pictures before, as with
            .Xr of-features 1 .
            With
            .Cm input
            every picture gives one place, which is what most uses of features want.
            """,
        ),
    ] = None  # fmt: skip
    exact: cli.ExactDecode = False
    classes: Annotated[
        int,
        cli.Option(
            "--classes", metavar="N", min=0, max=1000,
            help="Add the N most probable classes of each picture.",
            manual="""
            Add the
            .Ar N
            most probable classes of each picture, with
            .Fl -format Cm parquet
            or
            .Cm json .
            Unless there are
            .Fl -views ,
            the
            .Fl -size
            must give one place.
            """,
        ),
    ] = 0  # fmt: skip
    views: Annotated[
        Literal["centre", "ten", "dense"],
        cli.Option(
            "--views",
            help="What to look at for --classes: the centre, ten parts, or everywhere at several scales.",
            manual="""
            What of a picture to look at for
            .Fl -classes ,
            as with
            .Xr of-classify 1 .
            The layers that are written are still those of the picture as
            .Fl -size
            has it.
            """,
        ),
    ] = "centre"
    shard: Annotated[
        str | None,
        cli.Option(
            "--shard", metavar="I/N",
            help="Do part I of N, counted from 1: one of N jobs.",
            manual="""
            Do each
            .Ar N Ns th
            shard only, from the
            .Ar I Ns th
            on, counted from 1: one of
            .Ar N
            jobs that together do all.
            They need not know of each other.
            """,
        ),
    ] = None  # fmt: skip
    dask: Annotated[
        str | None,
        cli.Option(
            "--dask", metavar="ADDRESS|local",
            help="Have the workers of a Dask scheduler do the work, or several processes here.",
            manual="""
            Have the work done by the workers of the Dask scheduler at
            .Ar ADDRESS ,
            or with
            .Cm local
            by several processes on this machine; see
            .Sx MANY MACHINES .
            """,
        ),
    ] = None  # fmt: skip
    shard_size: Annotated[
        int,
        cli.Option(
            "--shard-size", metavar="N", min=1, max=1_000_000,
            help="Pictures of a shard.",
            manual="""
            Put
            .Ar N
            pictures into a shard, {default} by default.
            It is what is lost at most if the program is killed, and with
            .Fl -format Cm parquet
            what is put into one file.
            An archive is a shard of its own, however many pictures it has.
            What has been cut into shards already stays as it is.
            """,
        ),
    ] = 1024  # fmt: skip
    retry_failed: Annotated[
        bool,
        cli.Option(
            "--retry-failed",
            help="Try those pictures again that failed before.",
            manual="""
            Try those pictures again that failed before, besides doing what is left.
            """,
        ),
    ] = False
    checksum: Annotated[
        bool,
        cli.Option(
            "--checksum",
            help="Tell by their content whether pictures have changed, not by size and time.",
            manual="""
            Tell whether a picture has changed by its content, of which the SHA-256 is recorded, and not by its size and
            the time of its last change.
            All pictures are read for that.
            """,
        ),
    ] = False
    force: Annotated[
        bool,
        cli.Option(
            "--force",
            help="Do everything anew, whatever is there.",
            manual="""
            Forget what is there, and do everything anew.
            """,
        ),
    ] = False
    readers: Annotated[
        int | None,
        cli.Option(
            "--readers", metavar="N", min=1, max=256,
            help="Processes that decode pictures. [default: one for each processor]",
            manual="""
            Decode pictures in
            .Ar N
            processes, from {min} to {max}.
            The default is one for each processor that the program may run on.
            """,
        ),
    ] = None  # fmt: skip
    quiet: Annotated[
        bool,
        cli.Option(
            "-q", "--quiet",
            help="Tell of faults only.",
            manual="""
            Tell neither how far the run is nor, at the end, what came of it.
            """,
        ),
    ] = False  # fmt: skip

    def check(self) -> None:
        """Refuse options that contradict each other; settle the format.

        Raises
        ------
        UsageError
            They do.
        """
        if not self.output:
            raise UsageError("where to? give -o DIR, or -o - for standard output")
        printed = self.output == "-"
        self.form = self.form or ("tsv" if printed else "features")
        if printed and self.form not in ("tsv", "json"):
            raise UsageError(f"-o - goes with --format tsv or json, not {self.form}")
        if not printed and self.form in ("tsv", "json"):
            raise UsageError(f"--format {self.form} goes with -o -, standard output")
        if printed and (self.dask or self.retry_failed or self.force or self.checksum):
            raise UsageError("-o - keeps nothing: --dask, --retry-failed, --force and --checksum need a folder")
        if self.classes and self.form not in ("parquet", "json"):
            raise UsageError(f"--classes goes with --format parquet or json, not {self.form}")
        if self.views != "centre" and not self.classes:
            raise UsageError("--views looks for classes: it goes with --classes N")
        if self.force and self.shard:
            raise UsageError("--force does everything anew; it can't go with --shard, of which there are others")
        self.part  # noqa: B018 -- refused here, if it is none

    @property
    def part(self) -> tuple[int, int]:
        """Which of how many parts to do."""
        if self.shard is None:
            return 1, 1
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", self.shard)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--shard {self.shard}: I/N, which of how many, as in 3/16, expected")
        return int(found[1]), int(found[2])
