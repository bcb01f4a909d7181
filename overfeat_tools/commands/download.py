"""of-download: get the weights, check and install them."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from overfeat_tools import cli
from overfeat_tools.cli.streams import file_text
from overfeat_tools.errors import OverfeatError, UsageError, WeightsError

if TYPE_CHECKING:
    from overfeat_tools.download.sources import WeightFile

PROGRAM = "of-download"


@dataclass(eq=False, repr=False)
class Options:
    """The options of of-download."""

    networks: Annotated[
        list[str] | None,
        cli.Argument("NET", help="fast, accurate, vgg11, vgg16, vgg19. [default: fast and accurate]"),
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
            (http or https) is the address of such a file; if it ends with a slash, of a folder with the weight files,
            under the names of
            .Sx FILES .
            It must have the weights of all the networks asked for.
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

    @property
    def pins(self) -> frozenset[str]:
        """The sums of which a file must have one, if there are any."""
        return frozenset(each.lower() for each in self.sums or ())


def download(options: Options) -> int:
    """Get the weights of the networks, check and install them.

    What is installed already is checked. A download that was cut off is resumed.
    """
    cli.started()
    for each in options.sums or ():
        if not re.fullmatch("[0-9a-fA-F]{64}", each):
            raise UsageError(f"--sha256 {each}: 64 hexadecimal digits expected")
    given = options.source is not None
    if (options.listed and (options.verify or given or options.sums)) or (options.verify and given):
        raise UsageError("--list, --verify and --from don't go together")
    from overfeat_tools.download.sources import published_files
    from overfeat_tools.networks.weights import weights_folder

    work = _list if options.listed else _verify if options.verify else _get
    return work(options, weights_folder(options.folder), published_files(options.networks))


def _get(options: Options, place: Path, files: "list[WeightFile]") -> int:
    from overfeat_tools.download import folder, installation, manifest, progress, sources

    report = progress.Reporter(lambda _: None) if options.quiet else progress.Reporter(_say, shows_progress=True)
    named = sources.chosen_source(options.source)
    asked = [file for file in files if options.networks or file.publication is sources.OVERFEAT]
    try:
        with folder.locked(place, report.log) as unfinished:
            records = manifest.read_manifest(place)
            run = installation.Installation(place, unfinished, records, options.pins, report)
            wanted = run.missing(asked)
            for publication in dict.fromkeys(file.publication for file in wanted):
                chosen = (named,) if named else publication.sources
                if any(each.is_url for each in chosen):
                    _say(publication.licence)
                    if publication.must_accept and not (options.yes or cli.agreed("Download the weights?")):
                        raise OverfeatError("nothing is downloaded")
                run.obtain(chosen, [file for file in wanted if file.publication == publication])
    except KeyboardInterrupt:
        report.log("stopped; run this again to resume")
        raise
    return 0


def _verify(options: Options, place: Path, files: "list[WeightFile]") -> int:
    """Check what is installed, or what was named; print a line on stdout for each file that is intact."""
    from overfeat_tools.download.manifest import read_manifest
    from overfeat_tools.download.verification import check

    records = read_manifest(place)
    chosen = [file for file in files if options.networks or file.name in records or (place / file.name).exists()]
    if not chosen:
        raise WeightsError(f"{place}: no weights here; get them with `{PROGRAM}`, or name their folder with -d")
    status = 0
    for file in chosen:
        try:
            digest = check(place / file.name, file, records, options.pins)
        except WeightsError as error:
            _say(str(error))
            status = error.exit_status
        else:
            known = "" if file.name in records else ", not recorded yet"
            path = file_text(str(place / file.name))
            line = f"{file.network}: {path}: intact, sha256 {digest}{known}\n"
            cli.write(line.encode(errors="surrogateescape"))
    return status


def _list(_: Options, place: Path, files: "list[WeightFile]") -> int:
    """Print what is installed, and where weights can be had."""
    from overfeat_tools.download.manifest import read_manifest
    from overfeat_tools.download.sources import chosen_source
    from overfeat_tools.results.table import table

    records = read_manifest(place)
    rows: list[tuple[object, ...]] = [("network", "file", "bytes", "sha256", "installed")]
    for file in files:
        path, record = place / file.name, records.get(file.name)
        found: tuple[object, ...] = ("-", "-", "no")
        if path.is_file():
            size = path.stat().st_size
            state = f"{record.installed} from {file_text(record.source)}" if record else "by hand, not recorded"
            wrong = "" if file.may_have(size) else f"; {file.size} bytes expected: broken"
            found = (size, record.sha256 if record else "-", state + wrong)
        rows.append((file.network, file_text(str(path)), *found))
    named = chosen_source(None)
    known = [source for file in files for source in ((named,) if named else file.publication.sources)]
    sources = [("source", "what it is")] + [(each.label, each.description) for each in dict.fromkeys(known)]
    cli.write(f"{table(rows)}\n{table(sources)}".encode(errors="surrogateescape"))
    return 0


_say = functools.partial(cli.say, PROGRAM)
main = cli.program(PROGRAM, download, Options)
