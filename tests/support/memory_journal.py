"""A journal that forgets: for tests, and for the demonstration.

Invariant: behaves as the durable one does, but for durability; what is stored outlives a life, not the process.
Neighbours: implements `core.ports.Journal` and `core.ports.Record`; `sql` is the one for real accounts.
"""

import dataclasses
import datetime
import json
from collections.abc import Collection, Iterator, Mapping, Sequence

from worker.core.model.errors import JournalBusy, JournalError
from worker.core.model.identifiers import DriverId, FleetId, IntentKey, Membership, Resolutions, RunId
from worker.core.model.outcomes import OUTCOME_NAMES, Applied, Outcome, Unknown
from worker.core.model.plan import Change, GuardedPlan
from worker.core.model.ports import Clock, Intent, OpenIntent, OwnWrite, PastChange, PastRun
from worker.core.model.report import Report
from worker.core.model.serialization import outcome_document, plan_document, report_document
from worker.journal import lookups, rows


@dataclasses.dataclass(slots=True)
class _Run:
    trigger: str
    started: datetime.datetime
    guarded: GuardedPlan | None
    finished: Report | None = None

    @property
    def end(self) -> datetime.datetime:
        """Give when it ended, as far as is known."""
        return self.finished.finished if self.finished else self.started

    @property
    def result(self) -> str | None:
        """Give how it ended."""
        return self.finished.result.value if self.finished else None


@dataclasses.dataclass(slots=True)
class _Store:
    """What outlives a life."""

    runs: dict[RunId, _Run] = dataclasses.field(default_factory=dict)
    intents: dict[IntentKey, OpenIntent] = dataclasses.field(default_factory=dict)
    approvals: dict[str, datetime.datetime] = dataclasses.field(default_factory=dict)
    resolutions: dict[str, DriverId | FleetId] = dataclasses.field(default_factory=dict)
    absences: dict[Membership, datetime.datetime] = dataclasses.field(default_factory=dict)
    writer: "MemoryJournal | None" = None


class MemoryJournal:
    """Implements ports.Journal and ports.Record in memory; what it holds may be looked at."""

    def __init__(self, *, clock: Clock | None = None, beside: "MemoryJournal | None" = None) -> None:
        """Start empty, or as another process on the journal of `beside`. Without a clock, plans tell the time."""
        self._clock = clock
        self._dead = False
        self._store: _Store = beside._store if beside else _Store()
        self.plans: dict[RunId, GuardedPlan] = beside.plans if beside else {}
        self.intents: dict[IntentKey, Change] = beside.intents if beside else {}
        self.outcomes: dict[IntentKey, Outcome] = beside.outcomes if beside else {}
        self.reports: dict[RunId, Report] = beside.reports if beside else {}

    def crash(self) -> "MemoryJournal":
        """End this life without a word, and give the next one: whoever still uses this one gets a JournalError."""
        self._dead = True
        if self._store.writer is self:
            self._store.writer = None
        return MemoryJournal(clock=self._clock, beside=self)

    # --- As a run writes it -------------------------------------------------------------------------------

    async def open(self) -> tuple[OpenIntent, ...]:
        """Become the one writer, and give what is open."""
        self._hold()
        held = self._store.intents.values()
        return tuple(each for each in held if each.intent.key not in self.outcomes)

    async def check(self) -> None:
        """Raise errors.JournalError unless this life is the one writer."""
        if self._dead or self._store.writer is not self:
            raise JournalError("this process may not write to the journal any more", code="journal_lost")

    async def begin(
        self,
        run: RunId,
        *,
        trigger: str,
        guarded: GuardedPlan,
        intents: Sequence[Intent],
        spent: str | None = None,
    ) -> None:
        """Record the run, its plan and its intents."""
        self._hold()
        keys = [intent.key for intent in intents]
        if run in self._store.runs or len({*keys} - self.intents.keys()) != len(intents):
            raise JournalError(f"the run {run} or one of its idempotency keys is in the journal already")
        now = self._clock.now() if self._clock else guarded.created
        self._store.runs[run] = _Run(trigger=trigger, started=now, guarded=guarded)
        self.plans[run] = guarded
        self._store.approvals.pop(spent or "", None)
        for intent in intents:
            self.intents[intent.key] = intent.change
            self._store.intents[intent.key] = OpenIntent(intent=intent, run=run, recorded=now)

    async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
        """Record outcomes: all of them, or none where one contradicts what is recorded."""
        self._hold()
        newly_absent: dict[IntentKey, Outcome] = {}
        for key, outcome in group:
            if key not in self.intents:
                raise JournalError(f"no intent in the journal has the idempotency key {key}")
            known = newly_absent.get(key) or self.outcomes.get(key)
            incompleteness_reason = isinstance(known, Unknown) or isinstance(outcome, Unknown)
            if known not in (None, outcome) and not incompleteness_reason:
                raise JournalError(f"the intent {key} ended already, and cannot end as {outcome.name} too")
            newly_absent[key] = outcome
        self.outcomes.update(newly_absent)

    async def finish(self, finished: Report, *, trigger: str) -> None:
        """Record the end of the run."""
        self._hold()
        run = self._store.runs.setdefault(finished.run, _Run(trigger, finished.started, finished.guarded))
        run.finished, run.started, run.guarded = finished, finished.started, finished.guarded or run.guarded
        self.reports[finished.run] = finished

    async def approved(self, digest: str, *, now: datetime.datetime) -> bool:
        """Tell whether the held changes of this plan were approved, and still are."""
        until = self._store.approvals.get(digest)
        return until is not None and until > now

    async def approvals(self, *, now: datetime.datetime) -> frozenset[str]:
        """Return the digests of all plans whose approval is valid at `now`."""
        return frozenset(digest for digest, until in self._store.approvals.items() if until > now)

    async def resolutions(self) -> Resolutions:
        """Give whom each reference led to."""
        return dict(self._store.resolutions)

    async def remember(self, resolutions: Resolutions) -> None:
        """Record whom these references lead to."""
        self._hold()
        self._store.resolutions.update(resolutions)

    async def unconfirmed_writes(self, *, since: datetime.datetime) -> Mapping[lookups.Write, int]:
        """Count how often in a row each write was answered as done, and yet not seen."""
        recent = (run for run, held in self._ordered() if held.started >= since)
        return lookups.unseen(write for run in recent for write in self._writes(run))

    async def latest(self, drivers: Collection[DriverId], *, most: int) -> Mapping[Membership, tuple[OwnWrite, ...]]:
        """Give our newest writes to each membership of these drivers that took effect."""
        found: dict[Membership, tuple[OwnWrite, ...]] = {}
        newest_first = sorted(self._store.intents.values(), key=lambda each: (each.recorded, each.run), reverse=True)
        for change, each in ((each.intent.change, each) for each in newest_first):
            if change.driver in drivers and isinstance(self.outcomes.get(each.intent.key), Applied):
                write = OwnWrite(change.action, change.row, each.recorded, self._store.runs[each.run].started)
                found[change.driver, change.fleet] = (*found.get((change.driver, change.fleet), ()), write)[:most]
        return found

    async def absences(self) -> Mapping[Membership, datetime.datetime]:
        """Give since when each membership is absent from the sources."""
        return dict(self._store.absences)

    async def note_absences(
        self,
        *,
        newly_absent: Collection[Membership],
        since: datetime.datetime,
        returned: Collection[Membership],
    ) -> None:
        """Record what is absent since then, and forget what is not any more."""
        self._hold()
        for membership in returned:
            self._store.absences.pop(membership, None)
        self._store.absences.update(dict.fromkeys(newly_absent, since))

    async def prune(self, *, before: datetime.datetime) -> None:
        """Forget old runs, but for what is open."""
        self._hold()
        waiting = {each.run for key, each in self._store.intents.items() if key not in self.outcomes}
        for run, held in list(self._store.runs.items()):
            if held.started < before and held.end < before and run not in waiting:
                for key in [key for key, each in self._store.intents.items() if each.run == run]:
                    del self._store.intents[key], self.intents[key], self.outcomes[key]
                del self._store.runs[run]
                self.plans.pop(run, None)
                self.reports.pop(run, None)

    # --- As people look things up -------------------------------------------------------------------------

    async def runs(self, *, limit: int | None = None) -> tuple[PastRun, ...]:
        """Give past runs, the newest first."""
        return tuple(self._past_run(run, held) for run, held in self._ordered()[::-1][:limit])

    async def run(self, run: RunId) -> PastRun | None:
        """Give one past run."""
        held = self._store.runs.get(run)
        return self._past_run(run, held) if held else None

    async def run_ids(self, beginning: str, *, limit: int) -> tuple[RunId, ...]:
        """Give the ids that begin so."""
        return tuple(sorted(run for run in self._store.runs if run.startswith(beginning))[:limit])

    async def documents(self, run: RunId) -> rows.Documents:
        """Give a run's plan and report, as they would be read back from a file."""
        held = self._store.runs.get(run)
        if held is None:
            return (None, None)
        plan = json.loads(json.dumps(plan_document(held.guarded))) if held.guarded else None
        return plan, json.loads(json.dumps(report_document(held.finished))) if held.finished else None

    async def changes(
        self,
        *,
        run: RunId | None = None,
        driver: DriverId | None = None,
        fleet: FleetId | None = None,
        limit: int | None = None,
    ) -> tuple[PastChange, ...]:
        """Give past writes that fit, the oldest first; `limit` keeps the newest."""
        fitting = [
            each
            for each in self._store.intents.values()
            if run in (None, each.run)
            and driver in (None, each.intent.change.driver)
            and fleet in (None, each.intent.change.fleet)
        ]
        return tuple(map(self._past_change, fitting[-limit:] if limit else fitting))

    async def approve(self, digest: str, *, now: datetime.datetime, until: datetime.datetime) -> None:
        """Allow the held changes of exactly this plan until then."""
        self._store.approvals[digest] = until

    async def aclose(self) -> None:
        """Let go of the lock."""
        if self._store.writer is self:
            self._store.writer = None

    # --- Inside -------------------------------------------------------------------------------------------

    def _hold(self) -> None:
        if self._dead:
            raise JournalError("this process has ended", code="journal_lost")
        if self._store.writer not in (None, self):
            raise JournalBusy("another fleet-sync writes to this journal")
        self._store.writer = self

    def _ordered(self) -> list[tuple[RunId, _Run]]:
        return sorted(self._store.runs.items(), key=lambda item: (item[1].started, item[0]))

    def _writes(self, run: RunId) -> Iterator[tuple[lookups.Write, str | None, str | None]]:
        for each in (held.intent for held in self._store.intents.values() if held.run == run):
            shown = outcome_document(self.outcomes[each.key]) if each.key in self.outcomes else dict.fromkeys(_DETAILS)
            yield (each.change.action, each.change.driver, each.change.fleet), shown["outcome"], shown["code"]

    def _past_run(self, run: RunId, held: _Run) -> PastRun:
        names = [name for _, name, _ in self._writes(run)]
        return PastRun(
            run=run,
            trigger=held.trigger,
            started=held.started,
            finished=held.finished.finished if held.finished else None,
            result=held.result,
            exit_code=held.finished.exit_code if held.finished else None,
            outcomes=held.finished.counts if held.finished else {name: names.count(name) for name in OUTCOME_NAMES},
        )

    def _past_change(self, each: OpenIntent) -> PastChange:
        key = each.intent.key
        details = outcome_document(self.outcomes[key]) if key in self.outcomes else dict.fromkeys(_DETAILS)
        return PastChange(
            run=each.run,
            trigger=self._store.runs[each.run].trigger,
            recorded=each.recorded,
            key=key,
            change=each.intent.change,
            **{**details, "attempts": details["attempts"] or 0},
        )


_DETAILS = ("outcome", "attempts", "request_id", "code", "message")
