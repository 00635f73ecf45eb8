"""A journal in memory, for tests.

Invariant: behaves like the durable journal, except that the records end with the process. One object stands for one
process: `crash` makes the next one on the same records. Neighbours: implements `ports.Journal`, and `memory_history`
`ports.RunHistory`; `worker.journal.sql_journal` is the durable one, and `tests/journal` holds both to one contract.
"""

import collections
import dataclasses
import datetime
from collections.abc import Collection, Iterator, Mapping, Sequence

from tests.support import memory_history
from worker.core.model.errors import JournalBusy, JournalError
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey, Membership, Resolutions, RunId
from worker.core.model.outcomes import NOT_CONVERGING, Applied, Outcome, Unknown
from worker.core.model.plan import Action, Change, GuardedPlan
from worker.core.model.ports import (
    Clock,
    Intent,
    JournalOwner,
    OpenIntent,
    OwnWrite,
    PastApproval,
    PastRefusals,
    RecentChanges,
)
from worker.core.model.report import LearnedRate, Report
from worker.core.model.source_history import SourceRecord
from worker.journal import forgetting, row_codec


class MemoryJournal(memory_history.MemoryHistory):
    """Implements ports.Journal and ports.RunHistory in memory; tests may look at what it holds."""

    def __init__(self, *, clock: Clock | None = None, beside: "MemoryJournal | None" = None) -> None:
        """Start empty, or as another process on the journal of `beside`. Without a clock, plans say what time it is."""
        self._clock = clock
        self._dead = False
        super().__init__(beside._store if beside else memory_history.Store())
        self.plans: dict[RunId, GuardedPlan] = beside.plans if beside else {}
        self.intents: dict[IntentKey, Change] = beside.intents if beside else {}
        self.reports: dict[RunId, Report] = beside.reports if beside else {}

    def crash(self) -> "MemoryJournal":
        """Kill this process, and return the next one: each further use of this one raises errors.JournalError."""
        self._dead = True
        if self._store.writer is self:
            self._store.writer = None
        return MemoryJournal(clock=self._clock, beside=self)

    async def open(self) -> tuple[OpenIntent, ...]:
        """Become the one writer, and return the open intents."""
        self._ensure_writer()
        return tuple(self._open_intents())

    async def check(self) -> None:
        """Raise errors.JournalError unless this process is the one writer."""
        if self._dead or self._store.writer is not self:
            raise JournalError("this process may not write to the journal any more", code="journal_lost")

    async def owner(self) -> JournalOwner:
        """Return the account that the journal belongs to, and the fleets that it knows."""
        return self._store.owner

    async def claim(self, account: Account, *, fleets: Mapping[FleetId, str], managed: Collection[FleetId]) -> None:
        """Record whose journal this is, and its fleets."""
        self._ensure_writer()
        known = self._store.owner if self._store.owner.account == account else JournalOwner(account, {})
        named = {**known.fleets, **fleets}
        kept = frozenset(fleet for fleet in managed if fleet in named)
        self._store.owner = JournalOwner(account, named, kept, known.learned)

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
        """Record the run, its plan and its intents."""
        self._ensure_writer()
        if run in self._store.runs or not self._are_new(intents):
            raise JournalError(f"the journal already contains the run {run} or one of its idempotency keys")
        now = self._clock.now() if self._clock else guarded.created
        self._store.runs[run] = memory_history.Run(trigger=trigger, started=now, guarded=guarded)
        self.plans[run] = guarded
        self._keep_names(guarded, now)
        used, before = self._use_approval(spent), self._store.source_approvals.get(run)
        self._store.runs[run].approval = used if used and (before is None or before.digest != spent) else before
        self._add(run, intents, now)
        for key in resent:
            self._store.intents[key] = dataclasses.replace(self._store.intents[key], resent=True)

    async def add_intents(self, run: RunId, intents: Sequence[Intent]) -> None:
        """Record further intents of a run that has begun."""
        self._ensure_writer()
        if run not in self._store.runs or not self._are_new(intents):
            raise JournalError(f"the run {run} has not begun, or the journal already contains one of its keys")
        self._add(run, intents, self._clock.now() if self._clock else self._store.runs[run].started)
        self._store.repairs |= {each.key for each in intents}

    async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
        """Record outcomes: all of them, or none where one contradicts what is recorded."""
        self._ensure_writer()
        group_outcomes: dict[IntentKey, Outcome] = {}
        for key, outcome in group:
            if key not in self.intents:
                raise JournalError(f"no intent in the journal has the idempotency key {key}")
            known = self.outcomes.get(key)
            unclear = isinstance(known, Unknown) or isinstance(outcome, Unknown)
            if known not in (None, outcome) and not unclear:
                raise JournalError(f"the intent {key} ended already, and cannot end as {outcome.name} too")
            group_outcomes[key] = outcome
        self.outcomes.update(group_outcomes)
        for key, outcome in group_outcomes.items():
            if key not in self._store.settled or isinstance(outcome, Unknown):
                self._store.settled[key] = self._time_of(key)

    async def finish(self, finished: Report, *, trigger: str) -> None:
        """Record the end of the run."""
        self._ensure_writer()
        run = self._store.runs.setdefault(finished.run, memory_history.Run(trigger, finished.started, finished.guarded))
        if run.finished:
            raise JournalError(f"the journal already contains the run {finished.run}")
        run.approval = run.approval or self._store.source_approvals.get(finished.run)
        run.finished, run.started, run.guarded = finished, finished.started, finished.guarded or run.guarded
        self.reports[finished.run] = finished
        if finished.guarded and finished.learned_rate is not None:
            learned = LearnedRate(finished.learned_rate, finished.finished)
            self._store.owner = dataclasses.replace(self._store.owner, learned=learned)
        if finished.guarded:
            self._keep_names(finished.guarded, finished.finished)

    async def approvals(self, *, now: datetime.datetime) -> frozenset[str]:
        """Return the digests of all plans whose approval is valid at `now`."""
        valid = ((digest, span) for digest, span in self._store.approvals.items() if span[0] <= now < span[1])
        return frozenset(digest for digest, _ in valid)

    async def resolutions(self) -> Resolutions:
        """Return what each reference resolved to."""
        return dict(self._store.resolutions)

    async def remember(self, resolutions: Resolutions) -> None:
        """Record what these references resolve to."""
        self._ensure_writer()
        known = self._tombstones()
        self._store.resolutions.update({each: id for each, id in resolutions.items() if not known.knows_address(each)})

    async def source_records(self) -> Mapping[str, SourceRecord]:
        """Return how much each source said in earlier runs."""
        return dict(self._store.sources)

    async def remember_sources(
        self, records: Mapping[str, SourceRecord], *, run: RunId, spent: str | None = None
    ) -> None:
        """Record how much sources said, and use up an approval."""
        self._ensure_writer()
        self._store.sources.update(records)
        if approval := self._use_approval(spent):
            self._store.source_approvals[run] = approval

    def _use_approval(self, spent: str | None) -> PastApproval | None:
        if spent is None:
            return None
        approved, until, by = self._store.approvals.pop(spent, (None, None, ""))
        if approved and until and self._clock and not approved <= self._clock.now() < until:
            return PastApproval(spent)
        return PastApproval(spent, by, approved)

    async def unconfirmed_writes(self, *, since: datetime.datetime) -> Mapping[row_codec.Write, int]:
        """Return how many writes of each change, in a row, were accepted but not seen by a reading."""
        return row_codec.unconfirmed(
            row for row in self._rows() if self._store.runs[row["run"]].started >= since and row["outcome"]
        )

    async def refusals(self, drivers: Collection[DriverId]) -> Mapping[row_codec.Write, PastRefusals]:
        """Return the changes of these drivers whose newest write was refused, or accepted and never seen."""
        counts = ("applied", "already", "refused")
        return row_codec.refusals(
            row
            for row in self._rows()
            if row["driver"] in drivers and (row["outcome"] in counts or row["code"] == NOT_CONVERGING)
        )

    async def recent_changes(self, *, since: datetime.datetime) -> tuple[RecentChanges, ...]:
        """Return how many of our writes since then took effect or may have, for each run, fleet and action."""
        counts = collections.Counter[tuple[FleetId, Action, datetime.datetime, bool]]()
        for key, each in self._store.intents.items():
            counts_at_all = each.recorded >= since and key not in self._store.repairs
            if counts_at_all and isinstance(self.outcomes.get(key), Applied | Unknown | None):
                change = each.intent.change
                counts[change.fleet, change.action, each.recorded, each.intent.approved] += 1
        ordered = sorted(counts.items(), key=lambda item: (item[0][2], *item[0]))
        return tuple(RecentChanges(*group[:3], count, group[3]) for group, count in ordered)

    async def latest(self, drivers: Collection[DriverId], *, most: int) -> Mapping[Membership, tuple[OwnWrite, ...]]:
        """Return our newest writes to each membership of these drivers that took effect."""
        found: dict[Membership, tuple[OwnWrite, ...]] = {}
        for change, each in ((each.intent.change, each) for each in reversed(self._store.intents.values())):
            if change.driver in drivers and isinstance(self.outcomes.get(each.intent.key), Applied):
                write = OwnWrite(change.action, change.row, each.recorded, self._store.runs[each.run].started)
                found[change.driver, change.fleet] = (*found.get((change.driver, change.fleet), ()), write)[:most]
        return found

    async def newest_entry(self) -> datetime.datetime | None:
        """Return the time of the newest entry about a run."""
        if not self._store.runs:
            return None
        run, newest = max(self._store.runs.items(), key=lambda item: item[1].started)
        intents = {key: each for key, each in self._store.intents.items() if each.run == run}
        settled = [self._store.settled[key] for key in intents if key in self._store.settled]
        return max([newest.started, newest.end, *(each.recorded for each in intents.values()), *settled])

    async def absences(self) -> Mapping[Membership, datetime.datetime]:
        """Return since when each membership is absent from the sources."""
        return dict(self._store.absences)

    async def note_absences(
        self,
        *,
        newly_absent: Collection[Membership],
        since: datetime.datetime,
        returned: Collection[Membership],
    ) -> None:
        """Record what is absent since then, and forget what has returned."""
        self._ensure_writer()
        for membership in returned:
            self._store.absences.pop(membership, None)
        self._store.absences.update(dict.fromkeys(newly_absent, since))

    async def prune(self, *, before: datetime.datetime) -> None:
        """Delete old runs, except those with open intents."""
        self._ensure_writer()
        waiting = {each.run for each in self._open_intents()}
        for run, held in list(self._store.runs.items()):
            if held.started < before and held.end < before and run not in waiting:
                for key in [key for key, each in self._store.intents.items() if each.run == run]:
                    del self._store.intents[key], self.intents[key], self.outcomes[key], self._store.settled[key]
                del self._store.runs[run]
                self.plans.pop(run, None)
                self.reports.pop(run, None)
                self._store.people = {
                    driver: known for driver, known in self._store.people.items() if known[1] >= before
                }

    async def aclose(self) -> None:
        """Release the lock."""
        if self._store.writer is self:
            self._store.writer = None

    # --- Inside -------------------------------------------------------------------------------------------

    def _ensure_writer(self) -> None:
        if self._dead:
            raise JournalError("this process has ended", code="journal_lost")
        if self._store.writer not in (None, self):
            raise JournalBusy("another fleet-sync writes to this journal")
        self._store.writer = self

    def _tombstones(self) -> forgetting.Tombstones:
        return forgetting.Tombstones(self._store.forgotten)

    def _keep_names(self, guarded: GuardedPlan, now: datetime.datetime) -> None:
        known = self._tombstones()
        self._store.people |= {
            driver: (person, now) for driver, person in guarded.people.items() if driver not in known
        }

    def _are_new(self, intents: Sequence[Intent]) -> bool:
        return len({intent.key for intent in intents} - self.intents.keys()) == len(intents)

    def _add(self, run: RunId, intents: Sequence[Intent], now: datetime.datetime) -> None:
        for intent in intents:
            self.intents[intent.key] = intent.change
            self._store.intents[intent.key] = OpenIntent(intent=intent, run=run, recorded=now)

    def _time_of(self, key: IntentKey) -> datetime.datetime:
        return self._clock.now() if self._clock else self._store.intents[key].recorded

    def _open_intents(self) -> Iterator[OpenIntent]:
        for key, each in self._store.intents.items():
            outcome = self.outcomes.get(key)
            if outcome is None:
                yield each
            elif isinstance(outcome, Unknown):
                yield dataclasses.replace(
                    each, attempts=outcome.attempts, last_attempt=self._store.settled[key], code=outcome.code
                )
