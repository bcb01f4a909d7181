"""Fetch a URL completely, however often the connection breaks.

A part that is here already is resumed if the server says that the file is still the same (If-Range), and if the last
bytes of the part come again.
"""

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tenacity

from overfeat_tools.download import transport
from overfeat_tools.download.archive import kind_of
from overfeat_tools.download.folder import require_space
from overfeat_tools.download.progress import Reporter
from overfeat_tools.download.sources import WeightFile, file_of_size
from overfeat_tools.errors import DownloadError

ATTEMPTS = 10  # that may fail in a row, before it is given up
FIRST_ATTEMPTS = 3  # the same while nothing has come: the server may not exist any more
PROGRESS_BYTES = 1 << 20  # an attempt that brings so much is no failure
FIRST_WAIT_SECONDS = 1.0  # it doubles with each failure
_LONGEST_WAIT_SECONDS = 30.0
_OVERLAP_BYTES = 4096
_EXTRA_BYTES = 256 << 20  # an archive may hold this much besides, and twice the weights


@dataclass
class Fetch:
    """A URL, the weight files that it is to give, and the folder for it: whatever can't be this is refused.

    What is here of it has the suffix `.part` until it is complete.
    """

    url: str
    files: Sequence[WeightFile]
    folder: Path
    report: Reporter

    def run(self) -> Path:
        """Fetch what is missing; give the file.

        Raises
        ------
        DownloadError
            It can't be had, or not now: the part remains.
        OverfeatError
            There is no room for it.
        """
        path = self.folder / hashlib.sha256(self.url.encode(errors="surrogateescape")).hexdigest()[:16]
        self._part, self._validator = path.with_suffix(".part"), path.with_suffix(".validator")
        self._most = 2 * sum(file.size for file in self.files) + _EXTRA_BYTES
        self._furthest = self._here()
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(transport.TransientError), before_sleep=self._log_retry,
            stop=lambda state: state.attempt_number >= (ATTEMPTS if self._furthest or self._here() else FIRST_ATTEMPTS),
            wait=tenacity.wait_exponential(FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS),
        )  # fmt: skip
        try:
            while not path.exists():
                retrying(self._attempt)
        except tenacity.RetryError as error:
            last = error.last_attempt
            raise DownloadError(f"{last.exception()}; gave up after {last.attempt_number} attempts") from error
        return path

    def _here(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _log_retry(self, state: tenacity.RetryCallState) -> None:
        problem = state.outcome and state.outcome.exception()
        self.report.log(f"{problem}; {self._here()} bytes are here; trying again in {state.upcoming_sleep:.0f} s")

    def _attempt(self) -> None:
        """Request what is missing; a connection that broke after a good deal of progress is no failure."""
        try:
            self._request()
        except transport.TransientError as error:
            if isinstance(error, transport.RangeError):
                self._part.unlink()
            if self._here() < self._furthest + PROGRESS_BYTES:
                raise
            self._furthest = self._here()
            self.report.log(f"{error}; resuming")

    def _request(self) -> None:
        here = self._here()
        start = max(here - _OVERLAP_BYTES, 0)
        validator = self._validator.read_text() if start and self._validator.exists() else ""
        with transport.get(self.url, start, validator) as response:
            head = next(response.chunks, b"")
            if response.start:
                self.report.log(f"resuming after the {here / 1e6:.1f} MB that are here already")
            else:
                self._refuse_junk(head, response)  # before anything is given up for it
                self._part.write_bytes(b"")
                self._validator.write_text(response.validator)
            require_space(self.folder, self.files, response.total, self._here())
            self._write(itertools.chain([head], response.chunks), response)
        if response.total not in (None, self._here()):
            raise transport.TransientError("the connection was closed early")
        self._part.replace(self._part.with_suffix(""))
        self._validator.unlink()

    def _refuse_junk(self, head: bytes, response: transport.Response) -> None:
        total, kind = response.total, response.content_type
        known = kind_of(head) or file_of_size(total, self.files) or (total is None and not kind.startswith("text/"))
        if not known or (total or 0) > self._most:
            what = f"{kind or 'a file'} of {'unknown size' if total is None else f'{total} bytes'}"
            raise DownloadError(f"what came, {what}, is neither a tar, tgz or zip archive nor a weight file")

    def _write(self, chunks: Iterable[bytes], response: transport.Response) -> None:
        """Write what comes, after comparing it with what is here of it."""
        with (
            self.report.progress("downloading", response.total, response.start) as advance,
            self._part.open("r+b") as part,
        ):
            part.seek(response.start)
            for chunk in chunks:
                known = part.read(len(chunk))
                if not chunk.startswith(known):
                    raise transport.RangeError("the file on the server has changed")
                part.write(chunk[len(known) :])
                advance(len(chunk))
                if part.tell() > self._most:
                    self._part.unlink()
                    raise DownloadError(f"more than {self._most} bytes came: too many for the weights")
