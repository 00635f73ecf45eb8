"""A journal that survives lives: what is on disk, and the handle through which one life writes it.

Invariant: only a commit changes what is on disk, and all operations that wait at the same moment share one; a death
before the commit loses them, or not, as chance will have it. Neighbours: implements `core.ports.Journal`, as
`journal.sql` does for real.
"""

import collections
import dataclasses
import datetime
import random
from collections.abc import Callable, Collection, Mapping, Sequence

import trio

from tests.simulation import audit, fault_points
from worker.core.model.errors import JournalBusy, JournalError
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey, Membership, Resolutions, RunId
from worker.core.model.outcomes import Already, Applied, Outcome, Unknown
from worker.core.model.plan import Action, Change, GuardedPlan
from worker.core.model.ports import Intent, JournalOwner, OpenIntent, OwnWrite, PastRefusals, RecentChanges
from worker.core.model.report import Report

Write = tuple[Action, DriverId, FleetId]

_DONE = ("in_sync", "converged")


@dataclasses.dataclass
class Entry:
    """An intent with all outcomes that were ever recorded of it, and whether recovery recorded the last one."""

    intent: Intent
    run: RunId
    recorded: datetime.datetime
    ends: list[Outcome] = dataclasses.field(default_factory=list)
    order: int = 0
    attempted: datetime.datetime | None = None
    resent: bool = False
    repair: bool = False

    @property
    def outcome(self) -> Outcome | None:
        """Give the outcome that counts."""
        return self.ends[-1] if self.ends else None

    @property
    def open(self) -> bool:
        """Tell whether it is for the next reading to settle: nobody knows yet what came of it."""
        return isinstance(self.outcome, Unknown | None)

    def as_open_intent(self) -> OpenIntent:
        """Return the intent as a later run finds it."""
        last = self.outcome if isinstance(self.outcome, Unknown) else None
        return OpenIntent(
            self.intent,
            self.run,
            self.recorded,
            attempts=last.attempts if last else 0,
            last_attempt=self.attempted if last else None,
            code=last.code if last else None,
            resent=self.resent,
        )


@dataclasses.dataclass
class Begun:
    """A run on disk."""

    trigger: str
    guarded: GuardedPlan
    started: datetime.datetime
    finished: Report | None = None


@dataclasses.dataclass
class Storage:
    """What is on disk."""

    entries: dict[IntentKey, Entry] = dataclasses.field(default_factory=dict)
    runs: dict[RunId, Begun] = dataclasses.field(default_factory=dict)
    reports: dict[RunId, Report] = dataclasses.field(default_factory=dict)
    resolutions: dict[str, DriverId | FleetId] = dataclasses.field(default_factory=dict)
    approvals: dict[str, datetime.datetime] = dataclasses.field(default_factory=dict)
    owner: JournalOwner = dataclasses.field(default_factory=lambda: JournalOwner(None, {}))
    absences: dict[Membership, datetime.datetime] = dataclasses.field(default_factory=dict)
    allowed: list[frozenset[Write]] = dataclasses.field(default_factory=list)

    def approve(self, guarded: GuardedPlan, until: datetime.datetime) -> None:
        """Allow what is held of a plan; `allowed` keeps these changes."""
        self.approvals[guarded.held_digest] = until
        self.allowed.append(frozenset(_write(each.change) for each in guarded.held))

    def approved(self, guarded: GuardedPlan) -> bool:
        """Return whether a plan contains all changes of an approval."""
        planned = {_write(change) for change in (*guarded.changes, *(each.change for each in guarded.held))}
        return any(allowed and allowed <= planned for allowed in self.allowed)

    def recent_changes(self, since: datetime.datetime) -> tuple[RecentChanges, ...]:
        """Return the changes that took effect or may have."""
        return tuple(
            RecentChanges(change.fleet, change.action, entry.recorded, 1, entry.intent.approved)
            for entry in sorted(self.entries.values(), key=lambda entry: entry.recorded)
            if entry.recorded >= since and isinstance(entry.outcome, Applied | Unknown | None)
            for change in [entry.intent.change]
        )

    def latest(self, drivers: Collection[DriverId], most: int) -> dict[Membership, tuple[OwnWrite, ...]]:
        """Give the newest writes that took effect."""
        found: dict[Membership, tuple[OwnWrite, ...]] = {}
        for entry in sorted(self.entries.values(), key=lambda entry: entry.recorded, reverse=True):
            change = entry.intent.change
            if change.driver in drivers and isinstance(entry.outcome, Applied):
                ended = self.reports.get(entry.run)
                began = ended.started if ended else self.runs[entry.run].started
                write = OwnWrite(change.action, change.row, entry.recorded, began)
                found[change.driver, change.fleet] = (*found.get((change.driver, change.fleet), ()), write)[:most]
        return found

    def unconfirmed_writes(self, since: datetime.datetime) -> dict[Write, int]:
        """Count the writes that were answered as done and planned again."""
        counts: collections.Counter[Write] = collections.Counter()
        for run, finished in self.reports.items():
            if finished.started < since:
                continue
            if finished.result in _DONE:
                planned = {result.change for result in finished.results}
                counts = collections.Counter(
                    {write: n for write, n in counts.items() if any(_write(change) == write for change in planned)}
                )
            for entry in self.entries.values():
                if entry.run == run and isinstance(entry.outcome, Applied | Already):
                    counts[_write(entry.intent.change)] += 1
                    counts.pop(_opposite(entry.intent.change), None)
        return dict(counts)


class FakeJournal:
    """Implements ports.Journal for one life. `lost` and `full` say what is wrong with it by now."""

    def __init__(
        self,
        disk: Storage,
        *,
        life: fault_points.FaultPoints,
        seen: audit.Audit,
        chance: random.Random,
        now: Callable[[], datetime.datetime],
        slowness: float,
        landed: Callable[[RunId, Sequence[Intent], GuardedPlan], None],
        failed: Callable[[], None],
        planning: Callable[[], None],
    ) -> None:
        """Take what is on disk; `landed` is told of intents as they get there, `failed` of every error.

        `planning` is told when the reading is returned.
        """
        self._disk = disk
        self._fate = life
        self._seen = seen
        self._chance = chance
        self._now = now
        self._slowness = slowness
        self._landed = landed
        self._failed = failed
        self._planning = planning
        self._waiting: list[Callable[[], None]] | None = None
        self._committed = trio.Event()
        self.lost = False
        self.full = False
        self.stumbles = 0

    async def open(self) -> tuple[OpenIntent, ...]:
        """Give what earlier lives left open."""
        await self._ask("open")
        return tuple(entry.as_open_intent() for entry in self._disk.entries.values() if entry.open)

    async def check(self) -> None:
        """Raise where the lock is lost."""
        await self._ask("check")

    async def owner(self) -> JournalOwner:
        """Return the account that the journal belongs to, and the fleets that it knows."""
        return self._disk.owner

    async def claim(self, account: Account, *, fleets: Mapping[FleetId, str]) -> None:
        """Record whose journal this is, and its fleets."""
        self._disk.owner = JournalOwner(account, {**self._disk.owner.fleets, **fleets})

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

        def write() -> None:
            self._disk.runs[run] = Begun(trigger, guarded, self._now())
            self._disk.approvals.pop(spent or "", None)
            for key in resent:
                self._disk.entries[key].resent = True
            self._add(run, intents)
            self._landed(run, [*intents, *(self._disk.entries[key].intent for key in resent)], guarded)

        await self._commit(f"begin {len(intents)}", write)

    async def add_intents(self, run: RunId, intents: Sequence[Intent]) -> None:
        """Put further intents of a run on disk."""
        await self._commit(f"add_intents {len(intents)}", lambda: self._add(run, intents, repair=True))

    def _add(self, run: RunId, intents: Sequence[Intent], *, repair: bool = False) -> None:
        for intent in intents:
            if intent.key in self._disk.entries:
                self._seen.violated("rule 5", f"the key {intent.key} is given to a second write")
            self._disk.entries[intent.key] = Entry(intent, run, self._now(), order=self._seen.next(), repair=repair)

    async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
        """Put outcomes on disk."""
        if not group:
            return

        def write() -> None:
            for key, outcome in group:
                entry = self._disk.entries[key]
                entry.ends.append(outcome)
                entry.order = self._seen.next()
                if isinstance(outcome, Unknown) or entry.attempted is None:
                    entry.attempted = self._now()

        await self._commit("record " + " ".join(f"{key}:{outcome.name}" for key, outcome in group), write)

    async def finish(self, finished: Report, *, trigger: str) -> None:
        """Put the report on disk."""

        def write() -> None:
            self._disk.reports[finished.run] = finished

        await self._commit(f"finish {trigger} {finished.result}", write)

    async def approved(self, digest: str, *, now: datetime.datetime) -> bool:
        """Tell whether the plan is approved."""
        await self._ask("approved")
        return self._disk.approvals.get(digest, now) > now

    async def approvals(self, *, now: datetime.datetime) -> frozenset[str]:
        """Return the digests of all plans whose approval is valid at `now`."""
        await self._ask("approvals")
        return frozenset(digest for digest, until in self._disk.approvals.items() if until > now)

    async def resolutions(self) -> Resolutions:
        """Give whom references led to."""
        self._planning()
        await self._ask("resolutions")
        return dict(self._disk.resolutions)

    async def remember(self, resolutions: Resolutions) -> None:
        """Put on disk whom references lead to."""
        if resolutions:
            await self._commit("remember", lambda: self._disk.resolutions.update(resolutions))

    async def unconfirmed_writes(self, *, since: datetime.datetime) -> Mapping[Write, int]:
        """Count fruitless writes."""
        await self._ask("fruitless")
        return self._disk.unconfirmed_writes(since)

    async def refusals(self, drivers: Collection[DriverId]) -> Mapping[Write, PastRefusals]:
        """Return no refusals: worlds are short, and a postponed change would not come to rest in time."""
        await self._ask("refusals")
        return {}

    async def latest(self, drivers: Collection[DriverId], *, most: int) -> Mapping[Membership, tuple[OwnWrite, ...]]:
        """Give the newest writes that took effect."""
        await self._ask("latest")
        return self._disk.latest(drivers, most)

    async def recent_changes(self, *, since: datetime.datetime) -> tuple[RecentChanges, ...]:
        """Return the changes that took effect or may have."""
        await self._ask("recent_changes")
        return self._disk.recent_changes(since)

    async def absences(self) -> Mapping[Membership, datetime.datetime]:
        """Give what is absent."""
        await self._ask("absences")
        return dict(self._disk.absences)

    async def note_absences(
        self,
        *,
        newly_absent: Collection[Membership],
        since: datetime.datetime,
        returned: Collection[Membership],
    ) -> None:
        """Put on disk what is absent."""

        def write() -> None:
            for membership in returned:
                self._disk.absences.pop(membership, None)
            self._disk.absences.update(dict.fromkeys(newly_absent, since))

        await self._commit("note_absences", write)

    async def prune(self, *, before: datetime.datetime) -> None:
        """Forget nothing: worlds are short."""
        await self._ask("prune")

    async def _ask(self, what: str) -> None:
        self._pass(what)
        await trio.sleep(asking(self._slowness))
        self._fate.point(f"{what} answered")

    async def _commit(self, what: str, write: Callable[[], None]) -> None:
        """Wait for the next commit, whoever is cancelled meanwhile: a thread does not stop for that either."""
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
        self._fate.point(f"{kind} answered")

    async def _flush(self) -> None:
        await trio.sleep(self._slowness)
        waiting, self._waiting = self._waiting or [], None
        committed, self._committed = self._committed, trio.Event()
        if not self._fate.dead or self._chance.random() < 0.5:
            for write in waiting:
                write()
        committed.set()
        self._fate.alive()

    def _pass(self, kind: str) -> None:
        self._fate.point(kind)
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


def asking(slowness: float) -> float:
    """Give the seconds that a question takes on a disk on which a commit takes so many."""
    return slowness / 10


def _write(change: Change) -> Write:
    return change.action, change.driver, change.fleet


def _opposite(change: Change) -> Write:
    attach = change.action is Action.ATTACH
    return (Action.DETACH if attach else Action.ATTACH), change.driver, change.fleet
