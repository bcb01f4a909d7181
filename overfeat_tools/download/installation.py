"""From sources to installed weights: nothing is installed before it has been checked."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from overfeat_tools.download.archive import bare_file, unpack
from overfeat_tools.download.fetch import Fetch
from overfeat_tools.download.folder import install, require_space
from overfeat_tools.download.manifest import Record, write_manifest
from overfeat_tools.download.progress import Reporter
from overfeat_tools.download.sources import Source, WeightFile
from overfeat_tools.download.verification import check
from overfeat_tools.errors import DownloadError, UsageError, WeightsError, reason

_SUBFOLDERS = ("default", "data/default", "")  # where the original kept them; the last one that has a file counts


@dataclass
class Installation:
    """A run of of-download on a folder that is locked; `records` are those of its manifest, and kept up to date."""

    folder: Path
    unfinished: Path
    records: dict[str, Record]
    pins: frozenset[str]
    report: Reporter

    def missing(self, files: Sequence[WeightFile]) -> list[WeightFile]:
        """Check what is installed, record what was put there by hand, and give the files that must be fetched."""
        wanted = []
        for file in files:
            path = self.folder / file.name
            try:
                digest = check(path, file, self.records, self.pins)
            except WeightsError as error:
                if path.exists():
                    self.report.log(f"{error}; fetching it again")
                wanted.append(file)
            else:
                self._record(file, digest, "found installed")
                self.report.log(f"{file.network}: {path} is installed and intact")
        return wanted

    def obtain(self, sources: Sequence[Source], wanted: Sequence[WeightFile]) -> None:
        """Install files from the first source that has them all.

        Raises
        ------
        DownloadError, WeightsError
            The only source does not have them, or none of several.
        OverfeatError
            They can't be written.
        """
        require_space(self.unfinished, wanted, here=sum(path.stat().st_size for path in self.unfinished.iterdir()))
        for source in sources:
            self.report.log(f"trying {source.label} ({source.description})")
            try:
                (self._from_url if source.is_url else self._from_disk)(source, wanted)
            except (DownloadError, WeightsError) as error:
                message = f"{source.label}: {error}"
                if len(sources) == 1:
                    raise type(error)(message) from error
                self.report.log(message)
            else:
                return
        names = " and ".join(map(str, wanted))
        raise DownloadError(
            f"none of {len(sources)} sources gave {names}; if you can get them elsewhere, put them in {self.folder}, "
            f"or name their folder, an archive (tar, tgz or zip) or a URL with --from{wanted[0].publication.way_on}"
        )

    def _from_url(self, source: Source, wanted: Sequence[WeightFile]) -> None:
        url = source.place
        parts = [(url + file.name, [file]) for file in wanted] if url.endswith("/") else [(url, wanted)]
        archives = [Fetch(each, files, self.unfinished, self.report).run() for each, files in parts]
        try:
            self._install(archives, wanted, source.label)
        except WeightsError:
            for archive in archives:
                archive.unlink()
            raise

    def _from_disk(self, source: Source, wanted: Sequence[WeightFile]) -> None:
        place = Path(source.place)
        inside = (place / subfolder / file.name for subfolder in _SUBFOLDERS for file in wanted)
        try:
            place.stat()
            archives = {path.name: path for path in (place, *inside) if path.is_file()}
            problem = "" if archives or place.is_dir() else "neither a file nor a folder"
        except OSError as error:
            problem = reason(error)
        if problem:
            raise UsageError(f"{place}: {problem}; a file, a folder or an http(s) URL expected")
        self._install(archives.values(), wanted, str(place.absolute()))

    def _install(self, archives: Iterable[Path], wanted: Sequence[WeightFile], origin: str) -> None:
        """Install the weight files in archives, and bare ones, when all of them are checked."""
        found: dict[str, Path] = {}
        for archive in archives:
            with archive.open("rb") as content:
                bare = bare_file(content, wanted)
            if bare and archive.parent == self.unfinished:
                found[bare.name] = archive
                continue
            require_space(self.unfinished, wanted)
            with self.report.progress("unpacking", sum(file.size for file in wanted)) as advance:
                found |= unpack(archive, wanted, self.unfinished, advance)
        if missing := [file.name for file in wanted if file.name not in found]:
            raise WeightsError(f"{' and '.join(missing)} not found; to get one file only, name its network")
        digests = [check(found[file.name], file, self.records, self.pins) for file in wanted]
        for file in wanted:
            install(found[file.name], self.folder / file.name)
        for file, digest in zip(wanted, digests, strict=True):
            self._record(file, digest, origin)
            self.report.log(f"{file.network}: installed {self.folder / file.name}, sha256 {digest}")

    def _record(self, file: WeightFile, digest: str, origin: str) -> None:
        if file.name not in self.records:
            today = dt.datetime.now(dt.UTC).date().isoformat()
            size = (self.folder / file.name).stat().st_size
            self.records[file.name] = Record(size, digest, origin, today)
            write_manifest(self.folder, self.unfinished, self.records)
