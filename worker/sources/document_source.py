"""A source whose documents a fetcher fetches: reads them, checks that they are complete, and adds them up.

Invariant: a reading is whole. One document that is invalid, empty, incomplete or too old fails the source.
Neighbours: `document_reader` reads one document, the kinds of sources fetch them.
"""

import dataclasses
import datetime
import hashlib
import time
from collections.abc import Callable, Sequence

from anyio import to_thread

from worker.core.model.desired import SourceReading, SourceRevision
from worker.core.model.errors import SourceError
from worker.core.model.problem import Problem
from worker.core.model.rows import Rows
from worker.core.model.secret import redact
from worker.core.monitoring import humanize
from worker.sources import completeness, document_reader, fetching, membership_document, positions

_HOUR = 3600.0


@dataclasses.dataclass(frozen=True, slots=True)
class DocumentSource:
    """Implements ports.Source. `now` returns the seconds since the epoch."""

    kind: str
    name: str
    fetcher: fetching.Fetcher
    options: document_reader.DocumentOptions = dataclasses.field(default_factory=document_reader.DocumentOptions)
    poll_seconds: float = 30.0
    now: Callable[[], float] = time.time

    async def read(self) -> SourceReading:
        """Fetch and read every document. Raises errors.SourceError with the problems of all of them."""
        fetched = await self.fetcher.fetch()
        return await to_thread.run_sync(self._read, fetched, abandon_on_cancel=True)

    async def peek(self) -> str | None:
        """Return the fetcher's cheap revision, or None. Raises errors.SourceError."""
        return await self.fetcher.peek()

    async def descends(self, version: str, *, before: str) -> bool:
        """Return whether a version comes after another one; True if the kind has no history."""
        from worker.core.model.source_history import Versioned  # imported late: most kinds have no versions

        return not isinstance(self.fetcher, Versioned) or await self.fetcher.descends(version, before=before)

    def _read(self, fetched: fetching.Fetched) -> SourceReading:
        self._check_age(fetched.documents)
        read = [self._contents(document) for document in fetched.documents]
        if problems := [problem for contents in read for problem in contents.problems]:
            for document, contents in zip(fetched.documents, read, strict=True):
                if document.hint and contents.problems and contents.code == positions.INVALID:
                    problems.append(Problem(document.name, redact(document.hint)))
            codes = {contents.code for contents in read if contents.problems}
            raise SourceError(problems, code=codes.pop() if len(codes) == 1 else positions.INVALID)
        count = sum(contents.count for contents in read)
        self._check_rows(count)
        fleets = tuple(fleet for contents in read for fleet in contents.fleets)
        rows = Rows.chained([contents.rows for contents in read])
        notices = tuple(notice for contents in read for notice in contents.notices)
        revision = SourceRevision(
            self.kind,
            self.name,
            fetched.revision or _hash(fetched.documents),
            rows=count,
            proof=self._proof(read, fetched.proof),
            modified=_modified(fetched.documents),
            version=fetched.version,
        )
        return SourceReading(revision, fleets, rows, notices)

    def _contents(self, document: fetching.Document) -> membership_document.Contents:
        contents = document_reader.read(
            document.name,
            document.suffix,
            document.data,
            self.options,
            media_type=document.media_type,
            manifest=document.manifest,
        )
        if not document.secrets:
            return contents
        problems, notices = (
            tuple(
                dataclasses.replace(problem, message=fetching.mask(problem.message, document.secrets))
                for problem in problems
            )
            for problems in (contents.problems, contents.notices)
        )
        return dataclasses.replace(contents, problems=problems, notices=notices)

    def _check_age(self, documents: Sequence[fetching.Document]) -> None:
        checks = self.options.checks
        if checks is None or checks.max_age_hours is None:
            return
        for document in documents:
            if document.modified is None:
                message = "the source does not say when it was last changed, so max_age_hours cannot be checked"
                raise fetching.failure(document.name, message, code="source_stale")
            hours = (self.now() - document.modified) / _HOUR
            if hours < -fetching.MAX_CLOCK_SKEW_SECONDS / _HOUR:  # otherwise it would never become too old
                message = f"its last change is {-hours:.1f} hours in the future, so max_age_hours cannot be checked: "
                message = f"{message}correct the clock of the system that writes it, or that of this machine"
                raise fetching.failure(document.name, message, code="source_stale")
            if hours > checks.max_age_hours:
                message = f"the file is {hours:.1f} hours old, older than max_age_hours = {checks.max_age_hours:g}"
                raise fetching.failure(document.name, message, code="source_stale")

    def _proof(self, read: Sequence[membership_document.Contents], transfer: str) -> str:
        checks = self.options.checks or completeness.Completeness()
        return completeness.weakest([each.proof for each in read], transfer=transfer, min_rows=checks.min_rows)

    def _check_rows(self, count: int) -> None:
        checks = self.options.checks
        if checks and count < checks.min_rows:
            message = f"the source has {humanize.count(count, 'row')}, fewer than min_rows = {checks.min_rows}"
            raise fetching.failure(self.name, message, code="source_incomplete")


def _modified(documents: Sequence[fetching.Document]) -> datetime.datetime | None:
    """Return when the oldest document was last changed; None if that is not known of every one."""
    moments = [document.modified for document in documents]
    try:
        oldest = min(moment for moment in moments if moment is not None)
        return None if None in moments else datetime.datetime.fromtimestamp(oldest, datetime.UTC)
    except (ValueError, OverflowError, OSError):  # no document, or a time outside of the calendar
        return None


def _hash(documents: Sequence[fetching.Document]) -> str:
    """Return the hash of the only document, or of the names and hashes of several."""
    hashes = [(document.name, hashlib.sha256(document.data).hexdigest()) for document in documents]
    if len(hashes) == 1:
        return f"sha256:{hashes[0][1]}"
    listing = "".join(f"{name}\0{digest}\n" for name, digest in hashes)
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"
