"""of-download: get the weights, check and install them."""

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from overfeat_tools import cli
from overfeat_tools.errors import OverfeatError, UsageError, WeightsError

if TYPE_CHECKING:
    from overfeat_tools.download.manifest import Record
    from overfeat_tools.download.sources import Source, WeightFile

PROGRAM = "of-download"
LICENCE = (
    "the weights are Copyright 2013 New York University, all rights reserved: free of charge for your internal "
    "research and evaluation only; not to be passed on or modified; without any warranty. "
    "By downloading them you accept their licence, https://github.com/sermanet/OverFeat/blob/master/LICENSE"
)
_SHA256_DIGITS = 64


def download(
    networks: cli.Networks = None,
    source: cli.WeightSource = None,
    listed: cli.ListInstalled = False,  # noqa: FBT002 -- an option, never positional
    verify: cli.Verify = False,  # noqa: FBT002
    sums: cli.Sha256 = None,
    yes: cli.Yes = False,  # noqa: FBT002
    quiet: cli.Quiet = False,  # noqa: FBT002
    folder: cli.Folder = None,
) -> int:
    """Get the weights of the networks, check and install them.

    What is installed already is checked. A download that was cut off is resumed.
    """
    cli.started()
    pins = _pins(sums)
    if (listed and (verify or source is not None or pins)) or (verify and source is not None):
        message = "--list, --verify and --from don't go together"
        raise UsageError(message)
    from overfeat_tools.download import manifest, sources
    from overfeat_tools.networks.weights import weights_folder

    place = weights_folder(folder)
    files = sources.published_files(networks)
    if listed:
        return _list(place, files, manifest.read_manifest(place))
    if verify:
        return _verify(place, files, manifest.read_manifest(place), pins, named=bool(networks))
    return _get(place, files, pins, sources.chosen_sources(source), yes=yes, quiet=quiet)


def _pins(sums: Sequence[str] | None) -> frozenset[str]:
    for each in sums or ():
        if len(each) != _SHA256_DIGITS or set(each.lower()) - set("0123456789abcdef"):
            message = f"--sha256 {each}: {_SHA256_DIGITS} hexadecimal digits expected"
            raise UsageError(message)
    return frozenset(each.lower() for each in sums or ())


def _get(
    place: Path, files: "Sequence[WeightFile]", pins: frozenset[str], sources: "Sequence[Source]", *, yes: bool,
    quiet: bool,
) -> int:  # fmt: skip
    from overfeat_tools.download import folder, installation, manifest, progress

    report = (
        progress.Reporter(lambda _: None)
        if quiet
        else progress.Reporter(_say, sys.stderr is not None and sys.stderr.isatty())
    )
    try:
        with folder.locked(place, report.log) as unfinished:
            run = installation.Installation(place, unfinished, manifest.read_manifest(place), pins, report)
            if wanted := run.missing(files):
                if any(each.is_url for each in sources):
                    _accept_licence(yes=yes)
                run.obtain(sources, wanted)
    except KeyboardInterrupt:
        report.log("stopped; run this again to resume")
        raise
    return 0


def _accept_licence(*, yes: bool) -> None:
    _say(LICENCE)
    if not (yes or cli.agreed("Download the weights?")):
        message = "nothing is downloaded"
        raise OverfeatError(message)


def _verify(
    place: Path, files: "Sequence[WeightFile]", records: "Mapping[str, Record]", pins: frozenset[str], *, named: bool
) -> int:
    """Check what is installed, or what was named; print a line on stdout for each file that is intact."""
    from overfeat_tools.download.verification import check

    output = cli.Output()
    chosen = [file for file in files if named or file.name in records or (place / file.name).exists()]
    if not chosen:
        message = f"{place}: no weights here; get them with `{PROGRAM}`, or name their folder with -d"
        raise WeightsError(message)
    status = 0
    for file in chosen:
        try:
            digest = check(place / file.name, file, records, pins)
        except WeightsError as error:
            _say(str(error))
            status = error.exit_status
        else:
            known = "" if file.name in records else ", not recorded yet"
            _print(output, f"{file.network}: {place / file.name}: intact, sha256 {digest}{known}\n")
    return status


def _list(place: Path, files: "Sequence[WeightFile]", records: "Mapping[str, Record]") -> int:
    """Print what is installed, and where weights can be had."""
    from overfeat_tools.download.sources import chosen_sources
    from overfeat_tools.results.output import table

    output = cli.Output()
    rows = [("network", "file", "bytes", "sha256", "installed")]
    for file in files:
        path, record = place / file.name, records.get(file.name)
        if path.is_file():
            size, digest = path.stat().st_size, record.sha256 if record else "-"
            state = f"{record.installed} from {record.source}" if record else "by hand, not recorded"
            wrong = "" if size == file.size else f"; {file.size} bytes expected: broken"
            rows.append((file.network, str(path), str(size), digest, state + wrong))
        else:
            rows.append((file.network, str(path), "-", "-", "no"))
    sources = [("source", "what it is")] + [(each.label, each.description) for each in chosen_sources(None)]
    _print(output, f"{table(rows)}\n{table(sources)}")
    return 0


def _print(output: cli.Output, text: str) -> None:
    output.write(text.encode(errors="surrogateescape"))
    output.flush()


_say = functools.partial(cli.say, PROGRAM)
main = cli.entry(PROGRAM, download)

if __name__ == "__main__":
    main()
