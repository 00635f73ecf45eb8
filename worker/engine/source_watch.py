"""Watches the sources while changes are sent: what they no longer want must not be sent any more.

Invariant: `check` raises for every change once a source has changed, for the changes of a driver once a row of the
driver has begun or ended, and for detaches while a source cannot be read. Neighbours: `plan_builder` starts the
watch with what it read, `membership_writer` checks before each attempt.
"""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence

import anyio
import structlog

from worker.core.model.desired import Desired
from worker.core.model.errors import ChangeWithheld, FleetSyncError, SourceError
from worker.core.model.identifiers import DriverId
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Clock, Source
from worker.core.model.problem import Problem
from worker.core.model.source_history import SourceRecord, Versioned
from worker.core.planning import merge_sources
from worker.engine import concurrency

log = structlog.get_logger()

_MIN_INTERVAL = 1.0
_INTERVAL_PER_DURATION = 10.0
"""The pause between two checks: 1 s, or ten times as long as a check takes."""

_MAX_READINGS = 3
"""Readings after which sources that change all the time are an error."""

_MAX_FAILURES = 2
"""Checks in a row that may fail before detaches are withheld."""


class SourceWatch:
    """The sources of one run, as they were when the run read them."""

    def __init__(
        self, sources: Sequence[Source], *, clock: Clock, compute: concurrency.Compute = concurrency.at_once
    ) -> None:
        """Take the sources. `read` must be called before `run_forever`; `compute` merges what large sources say."""
        self._sources = sources
        self._compute = compute
        self._clock = clock
        self._revisions: list[str | None] = []
        self._read_at = 0.0
        self._desired: Desired | None = None
        self._superseded = False
        self._duration = 0.0
        self._failures = 0
        self._failure: FleetSyncError | None = None
        self.boundaries: Mapping[DriverId, datetime.datetime] = {}
        """When the next row of each driver begins or ends: what the rows want changes then without a new source."""

    async def read(self) -> Desired:
        """Read every source completely, as all were at one moment, and merge them.

        Raises errors.SourceError, errors.DesiredError.
        """
        for _ in range(_MAX_READINGS):
            self._revisions = await self._peek()  # before reading: a change meanwhile must be noticed
            self._desired = await self._read()
            # A row that moved to a source that was read already would be in none of them.
            if len(self._sources) < 2 or await self._peek() == self._revisions:
                return self._desired
        message = "one of the sources changes while all are read: change them less often, or all at once"
        raise SourceError([Problem("sources", message)], code="source_changed")

    async def compare_versions(self, desired: Desired, records: Mapping[str, SourceRecord]) -> Desired:
        """Return what was read with the sources marked whose version does not descend from that of earlier runs.

        Raises errors.SourceError.
        """
        marked = []
        for source, revision in zip(self._sources, desired.sources, strict=True):
            before = records[revision.name].version if revision.name in records else ""
            if isinstance(source, Versioned) and before not in ("", revision.version) and revision.version:
                is_rewritten = not await source.descends(revision.version, before=before)
                revision = dataclasses.replace(revision, rewritten=before if is_rewritten else "")
            marked.append(revision)
        return dataclasses.replace(desired, sources=tuple(marked))

    def check(self, change: Change) -> None:
        """Raise errors.ChangeWithheld if the change must not be sent any more."""
        if self._superseded:
            raise ChangeWithheld("a source changed during the run")
        if change.driver in self.boundaries and self._clock.now() >= self.boundaries[change.driver]:
            raise ChangeWithheld("a row of the driver began or ended during the run")
        if self._failures >= _MAX_FAILURES and change.action is Action.DETACH and self._failure is not None:
            message = f"a source cannot be read any more: {self._failure.message}"
            raise ChangeWithheld(message, code=self._failure.code)

    async def run_forever(self) -> None:
        """Poll the sources again and again, until one of them says something else."""
        while self._sources and not self._superseded:
            await anyio.sleep(max(_MIN_INTERVAL, _INTERVAL_PER_DURATION * self._duration))
            await self.poll()

    async def poll(self) -> None:
        """Check whether the sources still say the same."""
        started = self._clock.uptime()
        try:
            await self._compare()
        finally:
            self._duration = self._clock.uptime() - started

    async def _compare(self) -> None:
        try:
            revisions = await self._peek()
            if revisions == self._revisions and not self._must_read(revisions):
                self._failures = 0
                return
            desired = await self._read()
        except FleetSyncError as error:
            self._failures, self._failure = self._failures + 1, error
            if self._failures == _MAX_FAILURES:
                log.warning("source_unconfirmed", error=error.message)
            return
        self._failures, self._revisions = 0, revisions
        if self._desired is None or not merge_sources.same_rows(desired, self._desired):
            self._superseded = True
            log.warning("source_superseded")

    def _must_read(self, revisions: Sequence[str | None]) -> bool:
        """Return whether a source without a cheap revision has not been read for its `poll_seconds`."""
        elapsed = self._clock.uptime() - self._read_at
        return any(
            revision is None and elapsed >= source.poll_seconds
            for source, revision in zip(self._sources, revisions, strict=True)
        )

    async def _peek(self) -> list[str | None]:
        return [await source.peek() for source in self._sources]

    async def _read(self) -> Desired:
        self._read_at = self._clock.uptime()
        readings = [await source.read() for source in self._sources]
        return await self._compute(lambda: merge_sources.merge(readings))
