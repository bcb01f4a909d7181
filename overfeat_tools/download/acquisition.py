"""From sources to installed weights: what is tried, and what has to hold before anything is installed."""

import datetime as dt
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from overfeat_tools.download import manifest
from overfeat_tools.download.archive import HEAD_BYTES, guess, unpack
from overfeat_tools.download.fetch import Fetch, Patience
from overfeat_tools.download.inspection import Inspection, WeightFile
from overfeat_tools.download.manifest import Record
from overfeat_tools.download.progress import Progress
from overfeat_tools.download.sources import Source
from overfeat_tools.download.store import Part, Store, disk, puncher
from overfeat_tools.download.transport import shown
from overfeat_tools.errors import DownloadError, OverfeatError, UsageError, WeightsError

_SLACK = 16 << 20  # free space that is left alone
_EXTRA = 256 << 20  # an archive may hold this much besides, and twice the weights
_READ = 1 << 20
_AHEAD = 8  # chunks decompressed before they are written
_SUBFOLDERS = ("", "data/default", "default")  # where the original kept them


class _SumError(WeightsError):
    """A file may well be whole, but has not got the sum that it should have."""


@dataclass(frozen=True)
class _Finished:
    """A file that is whole and checked, but has not got its name yet."""

    file: WeightFile
    path: Path
    digest: str


@dataclass
class Download:
    """A run: what is wanted, where it goes, and how to tell of it.

    Parameters
    ----------
    files : sequence of WeightFile
        What is wanted.
    store : Store
        Where it goes.
    tell : callable
        Prints a line.
    progress : Progress
        Shows how far it is.
    pins : collection of str
        If any: the SHA-256 that a file may have.
    patience : Patience
        How often to try.
    """

    files: Sequence[WeightFile]
    store: Store
    tell: Callable[[str], None]
    progress: Progress
    pins: frozenset[str] = frozenset()
    patience: Patience = field(default_factory=Patience)

    def missing(self) -> list[WeightFile]:
        """Check what is installed, record what isn't yet, and give the files that have to be fetched."""
        records = manifest.read_manifest(self.store.folder)
        wanted = []
        for file in self.files:
            path = self.store.folder / file.name
            if not path.exists():
                wanted.append(file)
                continue
            try:
                digest = check(path, file, records, self.pins, self.progress)
            except WeightsError as error:
                self.tell(f"{error}; getting it anew")
                wanted.append(file)
                continue
            if file.name not in records:
                records[file.name] = _record(file, digest, "found installed")
                self.store.record(records)
            self.tell(f"{file.network}: {path} is installed, and whole")
        self.store.sweep([file.name for file in wanted])
        return wanted

    def obtain(self, sources: Sequence[Source], wanted: Sequence[WeightFile], *, partly: bool = False) -> None:
        """Install what is wanted from the first sources that have it.

        Parameters
        ----------
        sources : sequence of Source
            In the order to try.
        wanted : sequence of WeightFile
            What is missing.
        partly : bool
            Be content with a part of it: nobody asked for every file by name.

        Raises
        ------
        DownloadError, WeightsError
            It can't be had: one source's own reason, or that none had it.
        OverfeatError
            The disk is full, or can't be written.
        """
        left = list(wanted)
        for source in sources if wanted else ():
            self.tell(f"from {source.shown} ({source.what})")
            try:
                done = self._from_source(source, left, partly=partly)
            except (DownloadError, WeightsError) as error:
                if len(sources) == 1:
                    raise
                self.tell(f"{source.shown}: {error}")
                continue
            left = [file for file in left if file not in done]
            if not left or (partly and done):
                self.store.clear()
                break
        missing = " and ".join(file.name for file in left)
        if not left:
            return
        if len(left) < len(wanted) and partly:
            self.tell(f"{missing} was not in there")
            return
        if len(sources) == 1:
            message = f"{sources[0].shown}: {missing} isn't in there"
            raise WeightsError(message)
        message = f"none of {len(sources)} sources gave {missing}; name a file, folder or URL that has it with --from"
        raise DownloadError(message)

    def _from_source(self, source: Source, files: Sequence[WeightFile], *, partly: bool) -> list[WeightFile]:
        """Install what a source has; give what that was."""
        if not source.remote:
            self._room(None, 0, files)
            finished = self._unpacked(_local_streams(Path(source.place), files), source.shown, files)
            return self._install(finished, str(Path(source.place).absolute()))
        if source.place.endswith("/"):
            return self._from_folder(source.place, files, partly=partly)
        return self._from_url(source.place, files)

    def _from_folder(self, url: str, files: Sequence[WeightFile], *, partly: bool) -> list[WeightFile]:
        done: list[WeightFile] = []
        problem: OverfeatError | None = None
        for file in files:
            try:
                done += self._from_url(url + file.name, [file])
            except (DownloadError, WeightsError) as error:
                self.tell(f"{file.name}: {error}")
                problem = error
        if problem is not None and not (done and partly):
            raise problem
        return done

    def _from_url(self, url: str, files: Sequence[WeightFile]) -> list[WeightFile]:
        part = self.store.part(url, [file.name for file in files])
        self._room(None, part.size, files)
        fetch = Fetch(
            url, part, frozenset(file.size for file in files), 2 * sum(file.size for file in self.files) + _EXTRA,
            lambda coming, here: self._room(coming, here, files), self.patience, self.tell, self.progress,
        )  # fmt: skip
        for last in (False, True):
            joined = fetch.run()
            try:
                done = self._install(self._from_part(part, shown(url), files), shown(url))
            except _SumError:
                # All of it came: it is kept, in case that it was the sum that was wrong.
                if last or not joined:
                    raise
                part.clear()
                self.tell("these are not the weights expected; fetching them once more")
            except WeightsError as error:
                part.clear()
                if last or not joined:
                    raise
                # It was put together from pieces: they may not have belonged together.
                self.tell(f"{error}; fetching it once more in one piece")
            else:
                part.clear()
                return done
        raise AssertionError

    def _from_part(self, part: Part, where: str, files: Sequence[WeightFile]) -> list[_Finished]:
        """Get the files out of a finished download, which may itself be one."""
        with disk(part.path), part.path.open("rb") as content:
            kind = guess(content.read(HEAD_BYTES))
        bare = next((file for file in files if file.size == part.size and not kind), None)
        if bare is not None:
            records = manifest.read_manifest(self.store.folder)
            digest = check(part.path, bare, records, self.pins, self.progress, where)
            part.keep()
            return [_Finished(bare, part.path, digest)]
        release = None
        need = sum(file.size for file in files) + _SLACK
        if self.store.free() < need:
            with disk(part.path):
                release = puncher(part.path)
            if release is None or self.store.free() + part.size < need:
                raise self._no_room(need)
            self.tell("little room: giving the archive's back while it is unpacked")
            part.give_up()
        return self._unpacked(unpack(part.path, files, where, release), where, files)

    def _room(self, coming: int | None, here: int, files: Sequence[WeightFile]) -> None:
        """Check that there is room for the rest of the archive and, as it is unpacked, for the weights.

        Raises
        ------
        OverfeatError
            There isn't.
        """
        weights = sum(file.size for file in files)
        need = max(coming or 0, weights - here) + _SLACK
        if self.store.free() < need:
            raise self._no_room(need)

    def _no_room(self, need: int) -> OverfeatError:
        return OverfeatError(
            f"{self.store.folder}: {self.store.free() / 1e6:.0f} MB free, {need / 1e6:.0f} MB needed; make room, "
            "or name another folder with -d"
        )

    def _unpacked(
        self, stream: Iterator[tuple[WeightFile, bytes]], where: str, files: Sequence[WeightFile]
    ) -> list[_Finished]:
        """Write a stream of files, and check them as they are written."""
        records = manifest.read_manifest(self.store.folder)
        finished = []
        written = 0
        self.progress.begin("unpacking", sum(file.size for file in files), brief=True)
        try:
            with closing(_Ahead(stream)) as ahead:
                item = next(ahead, None)
                while item is not None:
                    file = item[0]
                    place = f"{where}: {file.name}"
                    inspection = Inspection(file, place)
                    with self.store.writing(file.name) as (path, write):
                        while item is not None and item[0] is file:
                            write(item[1])
                            inspection.feed(item[1])
                            written += len(item[1])
                            self.progress.reach(written)
                            item = next(ahead, None)
                        digest = inspection.finish()
                    _compare(file, digest, place, records, self.pins)
                    finished.append(_Finished(file, path, digest))
        finally:
            self.progress.end()
        return finished

    def _install(self, finished: Sequence[_Finished], where: str) -> list[WeightFile]:
        """Install files that are checked."""
        records = manifest.read_manifest(self.store.folder)
        for one in finished:
            self.store.install(one.path, one.file.name)
            records.setdefault(one.file.name, _record(one.file, one.digest, where))
        if finished:
            self.store.record(records)
        for one in finished:
            self.tell(f"{one.file.network}: installed {self.store.folder / one.file.name}, sha256 {one.digest}")
        return [one.file for one in finished]


def check(
    path: Path, file: WeightFile, records: dict[str, Record], pins: frozenset[str], progress: Progress,
    where: str | None = None,
) -> str:  # fmt: skip
    """Check an installed file; give its SHA-256.

    Raises
    ------
    WeightsError
        It isn't what it should be.
    """
    where = where or str(path)
    inspection = Inspection(file, where)
    progress.begin(f"checking {file.name}", file.size, brief=True)
    try:
        with path.open("rb") as content:
            done = 0
            while chunk := content.read(_READ):
                inspection.feed(chunk)
                done += len(chunk)
                progress.reach(done)
    except OSError as error:
        message = f"{path}: {(error.strerror or str(error)).lower()}; get it with `of-download {file.network}`"
        raise WeightsError(message) from error
    finally:
        progress.end()
    digest = inspection.finish()
    _compare(file, digest, where, records, pins)
    return digest


def _compare(file: WeightFile, digest: str, where: str, records: dict[str, Record], pins: frozenset[str]) -> None:
    """Compare with what was asked for, and with what was there first."""
    if pins and digest not in pins:
        message = f"{where}: sha256 {digest}, not as given with --sha256"
        raise _SumError(message)
    record = records.get(file.name)
    if record is not None and record.sha256 != digest:
        message = (
            f"{where}: sha256 {digest}, but {record.sha256} was installed on {record.installed}; if you trust the new "
            f"one, delete {manifest.NAME} beside the weights"
        )
        raise _SumError(message)


def _record(file: WeightFile, digest: str, source: str) -> Record:
    day = dt.datetime.now(dt.UTC).date().isoformat()
    return Record(file.size, digest, source, day)


def _local_streams(place: Path, files: Sequence[WeightFile]) -> Iterator[tuple[WeightFile, bytes]]:
    """Give what a file or folder of the user's holds."""
    if not place.exists():
        message = f"--from {place}: no such file or folder, nor a URL of http or https"
        raise UsageError(message)
    if not place.is_dir():
        yield from unpack(place, files, str(place))
        return
    for file in files:
        for subfolder in _SUBFOLDERS:
            path = place / subfolder / file.name
            if path.is_file():
                yield from unpack(path, [file], str(path))
                break


class _Ahead:
    """An iterator that a thread of its own is ahead of: decompressing and checking take turns otherwise."""

    def __init__(self, stream: Iterator[tuple[WeightFile, bytes]]) -> None:
        self._queue: queue.Queue[tuple[WeightFile, bytes] | BaseException | None] = queue.Queue(_AHEAD)
        self._stop = False
        self._thread = threading.Thread(target=self._work, args=(stream,), daemon=True)
        self._thread.start()

    def _work(self, stream: Iterator[tuple[WeightFile, bytes]]) -> None:
        last: BaseException | None = None
        try:
            for item in stream:
                self._queue.put(item)
                if self._stop:
                    break
        except BaseException as error:  # noqa: BLE001 -- it is raised again in the other thread
            last = error
        self._queue.put(last)

    def __iter__(self) -> "_Ahead":
        return self

    def __next__(self) -> tuple[WeightFile, bytes]:
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            raise StopIteration
        return item

    def close(self) -> None:
        """Stop the thread, and wait for it."""
        self._stop = True
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
