"""The durable journal: one commit a call, in one thread beside the event loop.

Invariants: a method returns when its commit is on disk; a commit that was begun is finished, whatever is cancelled.
Neighbours: implements `core.ports.Journal` and `core.ports.Record` with `keeper`, which loads SQLAlchemy when there
is something to write.
"""

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import anyio
import anyio.to_thread

from worker.core.model.identifiers import DriverId, FleetId, IntentKey, Membership, Resolutions, RunId
from worker.core.model.outcomes import Outcome
from worker.core.model.plan import GuardedPlan
from worker.core.model.ports import Clock, Intent, OpenIntent, OwnWrite, PastChange, PastRun
from worker.core.model.report import Report
from worker.journal import address as addresses
from worker.journal import keeper, lookups, rows

Result = TypeVar("Result")


class SqlJournal:
    """Implements ports.Journal and ports.Record on SQLite or PostgreSQL; opened at the first use."""

    def __init__(self, url: str, *, clock: Clock) -> None:
        """Take the database's address, `sqlite:///…` or `postgresql://…`. Raises errors.JournalError."""
        self._now = clock.now
        self._keeper = keeper.Keeper(addresses.parse(url), clock=clock)
        self._begun: set[RunId] = set()
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._checking = anyio.Lock()

    # --- As a run writes it -------------------------------------------------------------------------------

    async def open(self) -> tuple[OpenIntent, ...]:
        """Become the one writer, and give what is open."""

        def work() -> tuple[OpenIntent, ...]:
            self._keeper.open()
            return self._keeper.open_intents()

        return await self._do(work)

    async def check(self) -> None:
        """Raise errors.JournalError unless this process still is the one writer."""
        if self._keeper.sure():
            return
        async with self._checking:  # who waits here finds it checked
            if not self._keeper.sure():
                await self._do(self._keeper.check)

    async def begin(
        self,
        run: RunId,
        *,
        trigger: str,
        guarded: GuardedPlan,
        intents: Sequence[Intent],
        spent: str | None = None,
    ) -> None:
        """Record the run, its plan, sources and intents in one commit, which uses an approval up too."""

        def work() -> None:
            now = self._now()
            began, lists = rows.began(run, trigger=trigger, guarded=guarded, now=now)
            sources, written = rows.sources(run, guarded), rows.intents(run, intents, now=now)
            self._keeper.write(lambda database: database.begin(began, lists, sources, written, spent=spent))
            self._begun.add(run)

        await self._do(work)

    async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
        """Record outcomes in one commit."""

        def work() -> None:
            settled = rows.settled(group, now=self._now())
            self._keeper.write(lambda database: database.record(settled))

        await self._do(work)

    async def finish(self, finished: Report, *, trigger: str) -> None:
        """Record the end of the run, and its report."""

        def work() -> None:
            process_shutdown, lists = rows.finished(finished, trigger=trigger)
            sources = rows.sources(finished.run, finished.guarded)
            glance = self._keeper.glance()
            if glance is not None and finished.run not in self._begun:
                glance.finish(process_shutdown, lists, sources)
            else:
                self._keeper.write(lambda database: database.finish(process_shutdown, lists, sources))
            self._begun.discard(finished.run)

        await self._do(work)

    async def approved(self, digest: str, *, now: datetime.datetime) -> bool:
        """Tell whether the held changes of this plan were approved, and still are."""
        return await self._do(lambda: self._keeper.look().approved(digest, now=now))

    async def approvals(self, *, now: datetime.datetime) -> frozenset[str]:
        """Return the digests of all plans whose approval is valid at `now`."""
        return await self._do(lambda: self._keeper.look().approvals(now=now))

    async def resolutions(self) -> Resolutions:
        """Give whom each reference led to."""
        return await self._do(lambda: self._keeper.look().resolutions())

    async def remember(self, resolutions: Resolutions) -> None:
        """Record whom these references lead to, where that is new."""
        await self._do(lambda: self._keeper.remember(resolutions))

    async def unconfirmed_writes(self, *, since: datetime.datetime) -> Mapping[lookups.Write, int]:
        """Count how often in a row each write was answered as done, and not seen by a clean run after it."""
        return await self._do(lambda: self._keeper.look().unconfirmed_writes(since=since))

    async def latest(self, drivers: Collection[DriverId], *, most: int) -> Mapping[Membership, tuple[OwnWrite, ...]]:
        """Give our newest writes to each membership of these drivers that took effect."""
        return await self._do(lambda: self._keeper.look().latest(drivers, most=most))

    async def absences(self) -> Mapping[Membership, datetime.datetime]:
        """Give since when each membership is absent from the sources."""
        return await self._do(lambda: self._keeper.look().absences())

    async def note_absences(
        self,
        *,
        newly_absent: Collection[Membership],
        since: datetime.datetime,
        returned: Collection[Membership],
    ) -> None:
        """Record what is absent since then, and forget what is not any more, in one commit."""
        await self._do(
            lambda: self._keeper.write(
                lambda database: database.note_absences(newly_absent, since=since, returned=returned)
            )
        )

    async def prune(self, *, before: datetime.datetime) -> None:
        """Forget old runs, where there are any."""

        def work() -> None:
            if self._keeper.look().anything_before(before):
                self._keeper.write(lambda database: database.prune(before=before))

        await self._do(work)

    # --- As people look things up -------------------------------------------------------------------------

    async def runs(self, *, limit: int | None = None) -> tuple[PastRun, ...]:
        """Give past runs, the newest first."""
        return await self._do(lambda: self._keeper.read(lambda database: database.runs(limit=limit), ()))

    async def run(self, run: RunId) -> PastRun | None:
        """Give one past run."""
        return await self._do(lambda: self._keeper.read(lambda database: database.run(run), None))

    async def run_ids(self, beginning: str, *, limit: int) -> tuple[RunId, ...]:
        """Give the ids that begin so."""
        return await self._do(lambda: self._keeper.read(lambda database: database.run_ids(beginning, limit=limit), ()))

    async def documents(self, run: RunId) -> rows.Documents:
        """Give a run's plan and report."""
        return await self._do(lambda: self._keeper.read(lambda database: database.documents(run), _NONE))

    async def changes(
        self,
        *,
        run: RunId | None = None,
        driver: DriverId | None = None,
        fleet: FleetId | None = None,
        limit: int | None = None,
    ) -> tuple[PastChange, ...]:
        """Give past writes that fit, the oldest first; `limit` keeps the newest."""
        return await self._do(
            lambda: self._keeper.read(
                lambda database: database.changes(run=run, driver=driver, fleet=fleet, limit=limit), ()
            )
        )

    async def approve(self, digest: str, *, now: datetime.datetime, until: datetime.datetime) -> None:
        """Allow the held changes of exactly this plan until then."""
        await self._do(lambda: self._keeper.use(lambda database: database.approve(digest, now=now, until=until)))

    async def aclose(self) -> None:
        """Close the journal and let go of the lock: at any time, any number of times."""
        with anyio.CancelScope(shield=True):
            await self._do(self._keeper.close)

    async def _do(self, work: Callable[[], Result]) -> Result:
        # Not abandoned on cancellation: a commit that was begun is finished before the cancellation goes on.
        return await anyio.to_thread.run_sync(work, limiter=self._one_at_a_time)


_NONE: rows.Documents = (None, None)
