"""of-download: get the weights, surely."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from overfeat_tools import cli
from overfeat_tools.errors import OverfeatError, UsageError, WeightsError

if TYPE_CHECKING:
    from overfeat_tools.download.inspection import WeightFile

PROGRAM = "of-download"
NETWORKS = ("fast", "accurate")  # whose weights New York University published
LICENCE = (
    "the weights are Copyright 2013 New York University, all rights reserved: free of charge for your internal "
    "research and evaluation only; not to be passed on or modified; without any warranty. "
    "Their licence, https://github.com/sermanet/OverFeat/blob/master/LICENSE, counts as accepted by the download"
)


@dataclass(eq=False, repr=False)
class Options:
    """The options of of-download."""

    networks: Annotated[
        list[str] | None,
        cli.Argument("NET", help="fast, accurate, or both. [default: both]"),
    ] = None
    source: Annotated[
        str | None,
        cli.Option(
            "--from", metavar="FILE|DIR|URL",
            help="An archive or weight file, a folder, or another server. [default: $OVERFEAT_URL, else those known]",
            manual="""
            Take the weights from here, and nowhere else.
            .Ar FILE
            is an archive (tar, tgz or zip) with the weight files anywhere inside it, or a weight file itself, which is
            recognised by its size.
            .Ar DIR
            is a folder with the weight files in it, or in
            .Pa data/default
            below it, where the original program kept them.
            .Ar URL
            (http or https) is the address of such a file; if it ends with a slash, of a folder with
            .Pa net_weight_0
            and
            .Pa net_weight_1 .
            If no
            .Ar NET
            is named, a source that has only one of the two files is enough.
            """,
        ),
    ] = None  # fmt: skip
    listed: Annotated[
        bool,
        cli.Option(
            "--list",
            help="Show what is installed, and the sources known.",
            manual="""
            Print what is installed, with its size, SHA-256, date and origin, and the known sources.
            """,
        ),
    ] = False
    verify: Annotated[
        bool,
        cli.Option(
            "--verify",
            help="Check what is installed; fetch nothing.",
            manual="""
            Check the weights that are installed, or those of the networks named, as they are checked when they are
            installed, and print a line for each file that is intact.
            Nothing is fetched or written.
            """,
        ),
    ] = False
    sums: Annotated[
        list[str] | None,
        cli.Option(
            "--sha256", metavar="HEX",
            help="Accept only weight files with this sum; may be repeated.",
            manual="""
            Accept only weight files with this SHA-256.
            The option may be repeated; a file must then match one of the sums.
            They are the sums of the weight files, as
            .Fl -list
            prints them, and not the sum of an archive.
            """,
        ),
    ] = None  # fmt: skip
    yes: Annotated[
        bool,
        cli.Option(
            "--yes",
            help="Accept the licence without asking.",
            manual="""
            Accept the licence without asking.
            """,
        ),
    ] = False
    quiet: Annotated[
        bool,
        cli.Option(
            "-q", "--quiet",
            help="Show errors only, and the licence.",
            manual="""
            Print nothing but errors and the licence.
            """,
        ),
    ] = False  # fmt: skip
    folder: Annotated[
        str | None,
        cli.Option(
            "-d", metavar="DIR",
            help="Folder to install in. [default: $OVERFEAT_DATA, else the user's data folder]",
            manual="""
            Install the weights in the folder
            .Ar DIR ,
            which is made if it does not exist.
            The default is
            .Ev $OVERFEAT_DATA
            or, if that is not set, the user's data folder.
            """,
        ),
    ] = None  # fmt: skip
    version: cli.Version = False


def download(options: Options) -> int:
    """Get the weights of the networks, check and install them.

    What is installed already is checked. A download that was cut off goes on where it stopped.
    """
    cli.started()
    pins = _pins(options.sums)
    given = options.source is not None
    if (options.listed and (options.verify or given or pins)) or (options.verify and given):
        message = "--list, --verify and --from don't go together"
        raise UsageError(message)
    from overfeat_tools.networks.weights import weights_folder

    place = weights_folder(None if options.folder is None else Path(options.folder))
    files = known_files(options.networks)
    named = bool(options.networks)
    if options.listed:
        return _list(place, files)
    if options.verify:
        return _verify(place, files, pins, named=named, quiet=options.quiet)
    _get(place, files, pins, options.source, named=named, yes=options.yes, quiet=options.quiet)
    return 0


def known_files(networks: Sequence[str] | None) -> "list[WeightFile]":
    """Give the weight files of networks: of all, if none is named."""
    from overfeat_tools.download.inspection import WeightFile
    from overfeat_tools.networks.network import TOPOLOGIES

    for name in networks or ():
        if name not in NETWORKS:
            message = f"no weights of {name} are to be fetched, only those of {' and '.join(NETWORKS)}"
            raise UsageError(message)
    return [
        WeightFile(topology.name, topology.weight_file, topology.kernel_shapes)
        for topology in (TOPOLOGIES[name] for name in NETWORKS if not networks or name in networks)
    ]


def _pins(sums: Sequence[str] | None) -> frozenset[str]:
    for each in sums or ():
        if len(each) != 64 or set(each.lower()) - set("0123456789abcdef"):  # noqa: PLR2004 -- SHA-256 in hex
            message = f"--sha256 {each}: 64 hexadecimal digits expected"
            raise UsageError(message)
    return frozenset(each.lower() for each in sums or ())


def _get(
    place: Path, files: "Sequence[WeightFile]", pins: frozenset[str], source: str | None, *, named: bool, yes: bool,
    quiet: bool,
) -> None:  # fmt: skip
    from overfeat_tools.download.acquisition import Download
    from overfeat_tools.download.progress import choose
    from overfeat_tools.download.sources import chosen_sources
    from overfeat_tools.download.store import Store

    tell = _teller(quiet=quiet)
    sources, given = chosen_sources(source)
    with Store(place, tell) as store:
        run = Download(files, store, tell, choose(tell, quiet=quiet), pins)
        try:
            wanted = run.missing()
            if not wanted:
                return
            if any(each.remote for each in sources):
                cli.say(PROGRAM, LICENCE)
                if not (yes or cli.agreed("Download the weights?")):
                    message = "nothing is downloaded"
                    raise OverfeatError(message)
            run.obtain(sources, wanted, partly=given and not named)
        except KeyboardInterrupt:
            tell("stopped; run this again to go on")
            raise


def _verify(place: Path, files: "Sequence[WeightFile]", pins: frozenset[str], *, named: bool, quiet: bool) -> int:
    """Check what is installed, or what was named; a line on stdout for each that is well."""
    from overfeat_tools.download import manifest
    from overfeat_tools.download.acquisition import check
    from overfeat_tools.download.progress import choose

    tell = _teller(quiet=quiet)
    records = manifest.read_manifest(place)
    status = checked = 0
    for file in files:
        path = place / file.name
        if not (named or path.exists() or file.name in records):
            continue
        checked += 1
        try:
            digest = check(path, file, records, pins, choose(tell, quiet=quiet))
        except WeightsError as error:
            cli.say(PROGRAM, str(error))
            status = error.exit_status
        else:
            known = "" if file.name in records else ", not recorded yet"
            cli.write(f"{file.network}: {path}: whole, sha256 {digest}{known}\n".encode(errors="surrogateescape"))
    if not checked:
        message = f"{place}: no weights here; get them with `{PROGRAM}`, or name their folder with -d"
        raise WeightsError(message)
    return status


def _list(place: Path, files: "Sequence[WeightFile]") -> int:
    """Print what is installed, and where the weights may be had."""
    from overfeat_tools.download import manifest
    from overfeat_tools.download.sources import chosen_sources
    from overfeat_tools.results.table import table

    records = manifest.read_manifest(place)
    rows = [("network", "file", "bytes", "sha256", "installed")]
    for file in files:
        path, record = place / file.name, records.get(file.name)
        if not path.is_file():
            rows.append((file.network, str(path), "-", "-", "no"))
            continue
        size = path.stat().st_size
        state = f"{record.installed} from {record.source}" if record else "by hand, not recorded"
        wrong = "" if size == file.size else f"; {file.size} bytes expected: broken"
        rows.append((file.network, str(path), str(size), record.sha256 if record else "-", state + wrong))
    sources = [("source", "what it is")] + [(each.shown, each.what) for each in chosen_sources(None)[0]]
    cli.write(f"{table(rows)}\n{table(sources)}".encode(errors="surrogateescape"))
    return 0


def _teller(*, quiet: bool) -> Callable[[str], None]:
    return (lambda _: None) if quiet else functools.partial(cli.say, PROGRAM)


main = cli.program(PROGRAM, download, Options)

if __name__ == "__main__":
    main()
