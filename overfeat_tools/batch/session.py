"""One process at work on shards: what is there is left, the rest read ahead, computed and written, shard by shard."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby
from typing import Any

from overfeat_tools.batch.ahead import Piece
from overfeat_tools.batch.computing import Work
from overfeat_tools.batch.job import Job, Outcome, key, key_of, rows_by_file
from overfeat_tools.batch.listing import is_archive
from overfeat_tools.batch.output import Output, open_output
from overfeat_tools.batch.plan import Shard
from overfeat_tools.batch.reader import Task
from overfeat_tools.batch.readers import Readers
from overfeat_tools.batch.rows import DAMAGED, OK, UNREADABLE, Record, Row
from overfeat_tools.batch.shard_work import ShardWork, Writing, Written
from overfeat_tools.batch.storage import StorageError, fetch, is_remote, stream
from overfeat_tools.errors import ImageError, UsageError, reason
from overfeat_tools.networks.tables import describe_plans
from overfeat_tools.pictures.kinds import GZIP_MARK
from overfeat_tools.pictures.supply import Supply, from_descriptor, unpacked
from overfeat_tools.pictures.tar import Member, members
from overfeat_tools.results.table import table

_MOST_FILE_BYTES = 1 << 30
_ROWS_UNWRITTEN = 64  # while the next are computed


@dataclass(frozen=True)
class _Begin:
    shard: Shard
    old: Record | None


@dataclass(frozen=True)
class _Rows:
    rows: list[Row]
    kept: bool


@dataclass(frozen=True)
class _End:
    fault: str | None = None


_Sign = _Begin | _Rows | _End | Outcome | None


class Session:
    """A process's share of a job: its network, its readers and its output, opened when they are needed.

    Parameters
    ----------
    job : Job
    output : Output, optional
        By default the job's own is opened; standard output if that is `-`.
    on_row : callable
        Called for each picture.
    """

    def __init__(self, job: Job, output: Output | None = None, on_row: Callable[[Row], None] = lambda _: None) -> None:
        self._job, self._on_row = job, on_row
        self._own = None if output or job.output == "-" else open_output(job.output)
        self._output = output or self._own
        self._sink = job.open_sink(self._output)

    @cached_property
    def _network(self) -> Any:  # noqa: ANN401 -- a Network; mypy takes the property for one of Any
        return self._job.open_network()

    @cached_property
    def _work(self) -> Work:
        return self._job.layers.on(self._network)

    @cached_property
    def _readers(self) -> Readers:
        job = self._job
        most_ahead = max(2 * (job.batch or 64), 4 * job.processes)
        return Readers(job.reading, job.processes, most_ahead, remote=job.remote)

    def close(self) -> None:
        """End the readers, and remove what is unfinished."""
        if "_readers" in self.__dict__:
            self._readers.close()
        if self._own:
            self._own.close()

    def process(self, shards: Iterable[Shard]) -> Iterator[Outcome]:
        """Do shards; give what became of each."""
        return self._carry_out(chain.from_iterable(map(self._pieces, shards)))

    def process_stream(self, size: int) -> Iterator[Outcome]:
        """Do the members of an archive that comes on standard input; so many of them are a shard."""
        return self._carry_out(self._pieces_of_stream(Supply(from_descriptor(0)), size))

    def told(self) -> list[str]:
        """Tell what was computed where, if anything was."""
        if "_network" not in self.__dict__:
            return []
        network = self._network
        return [f"{network.topology.name} on {network.backend}", *table(describe_plans(network)).splitlines()]

    def _carry_out(self, pieces: Iterator[Piece[_Sign]]) -> Iterator[Outcome]:
        writing, shards = Writing(), list[ShardWork]()
        try:
            for sign, found in self._readers.read(pieces):
                match sign:
                    case Outcome():
                        yield sign
                    case _Begin():
                        shards = [*(shard for shard in shards if shard.is_open), self._begin(sign, writing)]
                    case _Rows():
                        shards[-1].take(sign.rows, kept=sign.kept)
                    case _End():
                        shards[-1].end(sign.fault)
                    case _ if found is not None:
                        shards[-1].compute(found)
                yield from self._told(writing.written(_ROWS_UNWRITTEN))
            yield from self._told(writing.finish())
        finally:
            writing.close()
            for shard in shards:
                shard.abandon()

    def _begin(self, sign: _Begin, writing: Writing) -> ShardWork:
        return ShardWork(self._job, self._work, self._network.backend.ahead, self._sink, writing, sign.shard, sign.old)

    def _told(self, written: Iterator[Written]) -> Iterator[Outcome]:
        """Tell of rows that were written; give what became of shards."""
        for each in written:
            if isinstance(each, Outcome):
                yield each
            else:
                for row in each:
                    self._on_row(row)

    def _pieces(self, shard: Shard) -> Iterator[Piece[_Sign]]:
        """Give what is to be done for a shard; run in the feeder's thread."""
        record = self._sink.record(shard)
        kept: dict[str, list[Row]] = {}
        if record is not None:
            self._job.check(record.made_with, f"{self._job.output}: {shard.title}")
            redo = self._outdated(shard, record)
            if redo is not None and not redo:
                yield Piece(_outcome(shard, record))
                return
            kept = rows_by_file(row for row in record.rows if redo is not None and key(row) not in redo)
        yield Piece(_Begin(shard, record if kept else None))
        try:
            if is_archive(shard.names[0]):
                yield from self._members(shard, kept)
            else:
                yield from self._files(shard, kept)
        except StorageError as error:
            yield Piece(_End(str(error)))
        else:
            yield Piece(_End())

    def _files(self, shard: Shard, kept: dict[str, list[Row]]) -> Iterator[Piece[_Sign]]:
        for name, stamp in zip(shard.names, shard.stamps, strict=True):
            if rows := kept.get(key_of(name)):
                yield Piece(_Rows(rows, kept=True))
            else:
                naming = self._job.naming
                yield Piece(None, Task(name, naming.place_of(name), None, naming.is_given(name)), _written(stamp))

    def _members(self, shard: Shard, kept: dict[str, list[Row]]) -> Iterator[Piece[_Sign]]:
        archive, stamp = shard.names[0], _written(shard.stamps[0])
        try:
            supply = _archive(Supply(stream(self._job.naming.place_of(archive))))
            for member in _files_in(supply):
                name = f"{archive}/{member.name}"
                if rows := kept.get(key_of(name)):
                    yield Piece(_Rows(rows, kept=True))
                else:
                    yield _member(name, member, supply, stamp)
        except ImageError as error:
            yield Piece(_Rows([Row(archive, DAMAGED, str(error), stamp=stamp)], kept=False))
        except OSError as error:
            yield Piece(_Rows([Row(archive, UNREADABLE, reason(error), stamp=stamp)], kept=False))

    def _pieces_of_stream(self, supply: Supply, size: int) -> Iterator[Piece[_Sign]]:
        supply = _archive(supply)
        for number, group in groupby(enumerate(_files_in(supply)), key=lambda entry: entry[0] // size):
            shard = Shard(number, [], [])
            record = self._sink.record(shard)
            if record:
                self._job.check(record.made_with, f"{self._job.output}: {shard.title}")
                names = {key_of(member.name) for _, member in group}
                if not all(key(row) in names for row in record.rows):
                    raise UsageError(f"{self._job.output} was made of another archive; choose another, or --force")
                yield Piece(_outcome(shard, record))
                continue
            yield Piece(_Begin(shard, None))
            try:
                for _, member in group:
                    yield _member(member.name, member, supply, None)
            except ImageError as error:
                yield Piece(_Rows([Row("-", DAMAGED, str(error))], kept=False))
            yield Piece(_End())

    def _outdated(self, shard: Shard, record: Record) -> set[str] | None:
        """Tell which files of a shard are to be done again, None for all of them."""
        # What could not be read may be there again: a server's fault is not the picture's.
        redo = {key_of(path) for path in record.gone} | {key(row) for row in record.rows if row.status == UNREADABLE}
        if self._job.retry_failed:
            redo |= {key(row) for row in record.rows if row.status != OK}
        recorded = {key(row): row for row in record.rows}
        if is_archive(shard.names[0]):
            return None if record.rows and self._archive_has_changed(shard, recorded) else redo
        for name, stamp in zip(shard.names, shard.stamps, strict=True):
            row = recorded.get(key_of(name))
            if row and stamp is not None and self._has_changed(name, stamp, row):
                redo.add(key(row))
        return redo

    def _has_changed(self, name: str, stamp: int, row: Row) -> bool:
        if not (self._job.checksum and row.sha256):
            return row.stamp != _written(stamp)
        place = self._job.naming.place_of(name)
        try:
            if is_remote(place):
                return hashlib.sha256(fetch(place)).hexdigest() != row.sha256
            with open(place, "rb") as file:  # noqa: PTH123 -- a path of any bytes
                return hashlib.file_digest(file, "sha256").hexdigest() != row.sha256
        except OSError:
            return False  # what was made of it is better than nothing

    def _archive_has_changed(self, shard: Shard, recorded: dict[str, Row]) -> bool:
        archive, stamp = shard.names[0], shard.stamps[0]
        if not self._job.checksum:
            return stamp is not None and next(iter(recorded.values())).stamp != _written(stamp)
        supply = _archive(Supply(stream(self._job.naming.place_of(archive))))
        sums = {row.sha256 for row in recorded.values() if row.sha256}
        try:
            found = {hashlib.sha256(supply.read(member.size)).hexdigest() for member in _files_in(supply)}
        except ImageError:
            return True
        return not sums <= found


def _outcome(shard: Shard, record: Record) -> Outcome:
    outcome = Outcome(shard.number)
    for row in record.rows:
        outcome.tally.add(row, kept=True)
    return outcome


def _written(stamp: int | None) -> str | None:
    return None if stamp is None else f"{stamp:016x}"


def _archive(supply: Supply) -> Supply:
    return Supply(unpacked(supply)) if GZIP_MARK.match(supply.peek(lambda first: len(first) > 2)) else supply  # noqa: PLR2004


def _files_in(supply: Supply) -> Iterator[Member]:
    return (member for member in members(supply) if member.is_file and not member.is_folder)


def _member(name: str, member: Member, supply: Supply, stamp: str | None) -> Piece[_Sign]:
    if member.is_sparse or member.size > _MOST_FILE_BYTES:
        what = "a sparse file in an archive isn't supported" if member.is_sparse else "larger than 1 GiB"
        return Piece(_Rows([Row(name, DAMAGED, what, stamp=stamp)], kept=False))
    return Piece(None, Task(name, None, supply.read(member.size), named=False), stamp)
