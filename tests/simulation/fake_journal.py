"""The journal of a simulated account: a real journal in memory or in SQL, behind a slow disk that can fail.

Invariant: only a commit changes the journal, and all operations that wait at the same time share one commit. A death
before the commit loses them, or not, at random. Neighbours: implements `core.model.ports.Journal` in front of
that of `journal_storage`, which `oracles` and `final_checks` read.
"""

import datetime
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import trio

from tests.simulation import audit, fault_points, journal_storage
from worker.core.model.errors import JournalBusy, JournalError
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey, Membership, Resolutions, RunId
from worker.core.model.outcomes import Deferred, Outcome, Stale
from worker.core.model.pauses import Pause
from worker.core.model.plan import Action, GuardedPlan
from worker.core.model.ports import Intent, JournalOwner, OpenIntent, OwnWrite, PastRefusals, RecentChanges
from worker.core.model.report import Report
from worker.core.model.source_history import SourceRecord


class FakeJournal:
    """Implements ports.Journal for one process. `lost`, `full` and `stumbles` say what is wrong with its disk."""

    def __init__(
        self,
        storage: journal_storage.Storage,
        *,
        points: fault_points.FaultPoints,
        seen: audit.Audit,
        chance: random.Random,
        slowness: float,
        begun: Callable[[RunId, Sequence[Intent], Sequence[Intent], GuardedPlan], None],
        failed: Callable[[], None],
        planning: Callable[[], None],
        late_keys: Callable[[], frozenset[str]],
    ) -> None:
        """Use the journal of an account, which was opened anew.

        `begun` is called with the new and the resent intents of a run when they are on disk, `failed` after every
        error, and `planning` when the reading is done. `late_keys` are the keys of writes that are still on their way.
        """
        self._storage = storage
        self._journal = storage.journal
        self._points = points
        self._seen = seen
        self._chance = chance
        self._slowness = slowness
        self._begun = begun
        self._failed = failed
        self._planning = planning
        self._late_keys = late_keys
        self._waiting: list[Callable[[], Awaitable[None]]] | None = None
        self._committed = trio.Event()
        self.lost = False
        self.full = False
        self.stumbles = 0

    async def open(self) -> tuple[OpenIntent, ...]:
        """Return what earlier processes left open."""
        await self._ask("open")
        return await self._journal.open()

    async def check(self) -> None:
        """Raise if the lock is lost."""
        await self._ask("check")

    async def owner(self) -> JournalOwner:
        """Return the account that the journal belongs to."""
        await self._ask("owner")
        return await self._journal.owner()

    async def claim(self, account: Account, *, fleets: Mapping[FleetId, str], managed: Collection[FleetId]) -> None:
        """Put the account and its fleets on disk."""
        await self._commit("claim", lambda: self._journal.claim(account, fleets=fleets, managed=managed))

    async def begin(
        self,
        run: RunId,
        *,
        trigger: str,
        guarded: GuardedPlan,
        intents: Sequence[Intent],
        resent: Collection[IntentKey] = (),
        spent: str | None = None,
    ) -> None:
        """Put the run and its intents on disk."""

        async def write() -> None:
            await self._journal.begin(
                run, trigger=trigger, guarded=guarded, intents=intents, resent=resent, spent=spent
            )
            self._add(run, intents)
            for key in resent:
                self._storage.entries[key].runs.add(run)
            again = [self._storage.entries[key].intent for key in resent]
            self._begun(run, intents, again, guarded)

        await self._commit(f"begin {len(intents)}", write)

    async def add_intents(self, run: RunId, intents: Sequence[Intent]) -> None:
        """Put further intents of a run on disk: its repairs."""

        async def write() -> None:
            await self._journal.add_intents(run, intents)
            self._add(run, intents, repair=True)

        await self._commit(f"add_intents {len(intents)}", write)

    def _add(self, run: RunId, intents: Sequence[Intent], *, repair: bool = False) -> None:
        for intent in intents:
            if intent.key in self._storage.entries:
                self._seen.violated("rule 5", f"the key {intent.key} is given to a second write")
            self._storage.entries[intent.key] = journal_storage.Entry(intent, run, {run}, repair=repair)

    async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
        """Put outcomes on disk."""
        if not group:
            return

        async def write() -> None:
            await self._journal.record(group)
            for key, outcome in group:
                self._storage.entries[key].outcomes.append(outcome)
                self._storage.entries[key].settled = self._seen.order
                if key in self._late_keys() and isinstance(outcome, Deferred | Stale):
                    self._seen.violated("rule 5", f"{key} is recorded as not made, and is still on its way")

        await self._commit("record " + " ".join(f"{key}:{outcome.name}" for key, outcome in group), write)

    async def finish(self, finished: Report, *, trigger: str) -> None:
        """Put the report on disk."""
        await self._commit(
            f"finish {trigger} {finished.result}", lambda: self._journal.finish(finished, trigger=trigger)
        )

    async def approvals(self, *, now: datetime.datetime) -> frozenset[str]:
        """Return the digests that are approved."""
        await self._ask("approvals")
        return await self._journal.approvals(now=now)

    async def resolutions(self) -> Resolutions:
        """Return what each reference resolved to."""
        self._planning()
        await self._ask("resolutions")
        return await self._journal.resolutions()

    async def remember(self, resolutions: Resolutions) -> None:
        """Put what references resolve to on disk."""

        async def write() -> None:
            await self._journal.remember(resolutions)
            self._storage.resolutions.update(resolutions)

        if resolutions:
            await self._commit("remember", write)

    async def source_records(self) -> Mapping[str, SourceRecord]:
        """Return how much each source said."""
        await self._ask("source_records")
        return await self._journal.source_records()

    async def remember_sources(
        self, records: Mapping[str, SourceRecord], *, run: RunId, spent: str | None = None
    ) -> None:
        """Put how much sources said on disk."""

        async def write() -> None:
            await self._journal.remember_sources(records, run=run, spent=spent)
            if spent:
                self._storage.sizes.clear()
            for name, record in records.items():
                size = trio.current_time(), record.counts[-1].rows
                self._storage.sizes.setdefault(name, []).append(size)

        await self._commit("remember_sources", write)

    async def unconfirmed_writes(self, *, since: datetime.datetime) -> Mapping[tuple[Action, DriverId, FleetId], int]:
        """Count the writes that were accepted but not seen."""
        await self._ask("unconfirmed_writes")
        return await self._journal.unconfirmed_writes(since=since)

    async def refusals(self, drivers: Collection[DriverId]) -> Mapping[tuple[Action, DriverId, FleetId], PastRefusals]:
        """Return the refusals of these drivers' changes."""
        await self._ask("refusals")
        return await self._journal.refusals(drivers)

    async def latest(self, drivers: Collection[DriverId], *, most: int) -> Mapping[Membership, tuple[OwnWrite, ...]]:
        """Return the newest writes that took effect."""
        await self._ask("latest")
        return await self._journal.latest(drivers, most=most)

    async def recent_changes(self, *, since: datetime.datetime) -> tuple[RecentChanges, ...]:
        """Return the recent changes."""
        await self._ask("recent_changes")
        return await self._journal.recent_changes(since=since)

    async def pauses(self, *, now: datetime.datetime) -> tuple[Pause, ...]:
        """Return the pauses in force."""
        return await self._journal.pauses(now=now)

    async def newest_entry(self) -> datetime.datetime | None:
        """Return the time of the newest entry."""
        await self._ask("newest_entry")
        return await self._journal.newest_entry()

    async def absences(self) -> Mapping[Membership, datetime.datetime]:
        """Return the absences."""
        await self._ask("absences")
        return await self._journal.absences()

    async def note_absences(
        self,
        *,
        newly_absent: Collection[Membership],
        since: datetime.datetime,
        returned: Collection[Membership],
    ) -> None:
        """Put absences on disk."""
        await self._commit(
            "note_absences",
            lambda: self._journal.note_absences(newly_absent=newly_absent, since=since, returned=returned),
        )

    async def prune(self, *, before: datetime.datetime) -> None:
        """Keep everything: worlds are short."""
        await self._ask("prune")

    async def _ask(self, what: str) -> None:
        self._pass(what)
        await trio.sleep(question_seconds(self._slowness))
        self._points.point(f"{what} answered")

    async def _commit(self, what: str, write: Callable[[], Awaitable[None]]) -> None:
        """Wait for the next commit, even if cancelled: a thread does not stop for that either."""
        kind = what.partition(" ")[0]
        self._pass(kind)
        with trio.CancelScope(shield=True):
            if self._waiting is None:
                self._waiting = [write]
                await self._flush()
            else:
                self._waiting.append(write)
                await self._committed.wait()
        self._seen.note("disk", what)
        self._points.point(f"{kind} answered")

    async def _flush(self) -> None:
        await trio.sleep(self._slowness)
        waiting, self._waiting = self._waiting or [], None
        committed, self._committed = self._committed, trio.Event()
        if not self._points.dead or self._chance.random() < 0.5:
            for write in waiting:
                await self._write(write)
        committed.set()
        self._points.alive()

    async def _write(self, write: Callable[[], Awaitable[None]]) -> None:
        try:
            await write()
        except JournalError as error:
            self._seen.violated("journal", f"it refuses a write: {error.message}")

    def _pass(self, kind: str) -> None:
        self._points.point(kind)
        if self.lost:
            self._fail(JournalBusy("another process writes to the journal"))
        if kind == "check":
            return
        if self.full or self.stumbles:
            self.stumbles = max(0, self.stumbles - 1)
            self._fail(JournalError("no space left on device"))

    def _fail(self, error: JournalError) -> None:
        self._seen.note("disk", f"fails: {error.message}")
        self._failed()
        raise error


def question_seconds(slowness: float) -> float:
    """Return how long a query takes on a disk on which a commit takes this long."""
    return slowness / 10
