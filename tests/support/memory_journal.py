"""A journal in memory, for tests.

Invariant: behaves like the durable journal, except that the records end with the process. One object stands for one
process: `crash` makes the next one on the same records. Neighbours: implements `ports.Journal` and `ports.RunHistory`;
`worker.journal.sql_journal` is the durable one, and `tests/journal` holds both to one contract.
"""

import collections
import dataclasses
import datetime
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from worker.core.model.errors import JournalBusy, JournalError
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey, Membership, Resolutions, RunId
from worker.core.model.outcomes import NOT_CONVERGING, OUTCOME_NAMES, Applied, Outcome, Unknown
from worker.core.model.pauses import Pause
from worker.core.model.people import Person
from worker.core.model.plan import Action, Change, GuardedPlan
from worker.core.model.ports import (
    Clock,
    Intent,
    JournalOwner,
    OpenIntent,
    OwnWrite,
    PastApproval,
    PastChange,
    PastRefusals,
    PastRun,
    RecentChanges,
)
from worker.core.model.report import LearnedRate, Report
from worker.core.model.serialization import format_time, outcome_document, plan_document, report_document
from worker.core.model.source_history import SourceRecord
from worker.core.planning import references
from worker.journal import forgetting, row_codec


@dataclasses.dataclass(slots=True)
class _Run:
    trigger: str
    started: datetime.datetime
    guarded: GuardedPlan | None
    finished: Report | None = None
    approval: PastApproval | None = None

    @property
    def end(self) -> datetime.datetime:
        """Return when it ended, or began if it has not."""
        return self.finished.finished if self.finished else self.started

    @property
    def result(self) -> str | None:
        """Return how it ended."""
        return self.finished.result.value if self.finished else None


@dataclasses.dataclass(slots=True)
class _Store:
    """What outlives a process."""

    runs: dict[RunId, _Run] = dataclasses.field(default_factory=dict)
    intents: dict[IntentKey, OpenIntent] = dataclasses.field(default_factory=dict)
    settled: dict[IntentKey, datetime.datetime] = dataclasses.field(default_factory=dict)
    repairs: set[IntentKey] = dataclasses.field(default_factory=set)
    owner: JournalOwner = dataclasses.field(default_factory=lambda: JournalOwner(None, {}))
    approvals: dict[str, tuple[datetime.datetime, datetime.datetime, str]] = dataclasses.field(default_factory=dict)
    source_approvals: dict[RunId, PastApproval] = dataclasses.field(default_factory=dict)
    resolutions: dict[str, DriverId | FleetId] = dataclasses.field(default_factory=dict)
    absences: dict[Membership, datetime.datetime] = dataclasses.field(default_factory=dict)
    people: dict[DriverId, tuple[Person, datetime.datetime]] = dataclasses.field(default_factory=dict)
    forgotten: list[dict[str, str]] = dataclasses.field(default_factory=list)
    erased: set[str] = dataclasses.field(default_factory=set)
    sources: dict[str, SourceRecord] = dataclasses.field(default_factory=dict)
    pauses: list[Pause] = dataclasses.field(default_factory=list)
    writer: "MemoryJournal | None" = None


class MemoryJournal:
    """Implements ports.Journal and ports.RunHistory in memory; tests may look at what it holds."""

    def __init__(self, *, clock: Clock | None = None, beside: "MemoryJournal | None" = None) -> None:
        """Start empty, or as another process on the journal of `beside`. Without a clock, plans say what time it is."""
        self._clock = clock
        self._dead = False
        self._store: _Store = beside._store if beside else _Store()
        self.plans: dict[RunId, GuardedPlan] = beside.plans if beside else {}
        self.intents: dict[IntentKey, Change] = beside.intents if beside else {}
        self.outcomes: dict[IntentKey, Outcome] = beside.outcomes if beside else {}
        self.reports: dict[RunId, Report] = beside.reports if beside else {}

    def crash(self) -> "MemoryJournal":
        """Kill this process, and return the next one: each further use of this one raises errors.JournalError."""
        self._dead = True
        if self._store.writer is self:
            self._store.writer = None
        return MemoryJournal(clock=self._clock, beside=self)

    # --- As a run writes it -------------------------------------------------------------------------------

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
        self._store.runs[run] = _Run(trigger=trigger, started=now, guarded=guarded)
        self.plans[run] = guarded
        self._keep_names(guarded, now)
        self._store.runs[run].approval = self._use_approval(spent) or self._store.source_approvals.get(run)
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
        run = self._store.runs.setdefault(finished.run, _Run(trigger, finished.started, finished.guarded))
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

    async def approved(self, digest: str, *, now: datetime.datetime) -> bool:
        """Return whether the held changes of this plan have a valid approval."""
        return digest in await self.approvals(now=now)

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
        approved, _, by = self._store.approvals.pop(spent, (None, None, ""))
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

    # --- As people look things up -------------------------------------------------------------------------

    async def runs(
        self, *, limit: int | None = None, before: RunId | None = None, result: str | None = None
    ) -> tuple[PastRun, ...]:
        """Return past runs, the newest first."""
        ordered = self._ordered()[::-1]
        if before is not None:
            ids = [run for run, _ in ordered]
            ordered = ordered[ids.index(before) + 1 :] if before in ids else []
        found = [(run, held) for run, held in ordered if result in (None, held.result)]
        return tuple(self._past_run(run, held) for run, held in found[:limit])

    async def changes_a_day(self, *, since: datetime.datetime) -> Mapping[datetime.date, Mapping[str, int]]:
        """Return how many changes had each outcome, by the day on which their run started."""
        days = collections.defaultdict[datetime.date, collections.Counter[str]](collections.Counter)
        for row in self._rows():
            started = self._store.runs[row["run"]].started
            if started >= since and row["outcome"] is not None:
                days[started.date()][row["outcome"]] += 1
        return days

    async def runs_after(self, run: RunId | None, *, limit: int) -> tuple[PastRun, ...]:
        """Return the runs that were recorded after this one, the oldest first."""
        recorded = list(self._store.runs.items())
        start = next((at + 1 for at, (each, _) in enumerate(recorded) if each == run), 0)
        return tuple(self._past_run(each, held) for each, held in recorded[start : start + limit])

    async def run(self, run: RunId) -> PastRun | None:
        """Return one past run."""
        held = self._store.runs.get(run)
        return self._past_run(run, held) if held else None

    async def run_ids(self, beginning: str, *, limit: int) -> tuple[RunId, ...]:
        """Return the first ids that begin so."""
        return tuple(sorted(run for run in self._store.runs if run.startswith(beginning))[:limit])

    async def documents(self, run: RunId) -> tuple[row_codec.Document | None, row_codec.Document | None]:
        """Return the plan and the report of a run, as they would be read back from a file."""
        held = self._store.runs.get(run)
        if held is None:
            return (None, None)
        plan = await self._as_stored(plan_document(held.guarded)) if held.guarded else None
        report = await self._as_stored(report_document(held.finished)) if held.finished else None
        return plan, None if report is None else {**report, "plan": plan}

    async def changes(
        self,
        *,
        run: RunId | None = None,
        driver: DriverId | None = None,
        fleet: FleetId | None = None,
        limit: int | None = None,
    ) -> tuple[PastChange, ...]:
        """Return past writes that match, the oldest first; `limit` keeps the newest."""
        fitting = [
            each
            for each in self._store.intents.values()
            if run in (None, each.run)
            and driver in (None, each.intent.change.driver)
            and fleet in (None, each.intent.change.fleet)
        ]
        return tuple(map(self._past_change, fitting[-limit:] if limit else fitting))

    async def pauses(self, *, now: datetime.datetime) -> tuple[Pause, ...]:
        """Return the pauses in force, the oldest first."""
        return tuple(pause for pause in self._store.pauses if pause.is_active(now))

    async def pause(self, pause: Pause) -> None:
        """Begin a pause, instead of the one of the same fleet or of all fleets."""
        self._store.pauses = [each for each in self._store.pauses if each.fleet != pause.fleet] + [pause]

    async def resume(self, *, now: datetime.datetime, by: str, fleet: FleetId | None = None) -> tuple[Pause, ...]:
        """End the pause of a fleet, or all pauses, and return those that were in force."""
        ended = tuple(pause for pause in await self.pauses(now=now) if fleet in (None, pause.fleet))
        self._store.pauses = [each for each in self._store.pauses if each not in ended]
        return ended

    async def names(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return the names of those of these drivers and fleets that are known, sorted by id."""
        known: dict[str, str] = {driver: person.shown for driver, (person, _) in self._store.people.items()}
        known.update((fleet, name) for fleet, name in self._store.owner.fleets.items())
        return dict(sorted((id, known[id]) for id in ids if known.get(id)))

    async def fleets(self) -> Mapping[FleetId, str]:
        """Return the known fleets with their names, sorted by id."""
        return dict(sorted(self._store.owner.fleets.items()))

    async def drivers_named(self, text: str, *, limit: int) -> tuple[DriverId, ...]:
        """Return drivers by a part of their name or address, or by the address that once referred to them."""
        wanted = row_codec.folded(text)
        if not wanted:
            return ()
        people = sorted(
            (row_codec.folded(person.name), row_codec.folded(person.email), driver)
            for driver, (person, _) in self._store.people.items()
        )
        exact = [driver for name, email, driver in people if wanted in (name, email)]
        exact += [
            DriverId(id)
            for reference, id in self._store.resolutions.items()
            if reference == references.lower_ascii(text.strip()) and id.startswith("drv_")
        ]
        found = exact or [driver for name, email, driver in people if wanted in name or wanted in email]
        return tuple(dict.fromkeys(found))[:limit]

    async def forget(self, driver: DriverId, *, now: datetime.datetime) -> bool:
        """Erase a driver's name and addresses, and do not store them again."""
        person, _ = self._store.people.pop(driver, (Person(), now))
        referred = {each for each, id in self._store.resolutions.items() if id == driver and "@" in each}
        addresses = referred | ({person.email} if person.email else set())
        for reference in referred:
            del self._store.resolutions[reference]
        self._store.forgotten += [
            {"driver": driver, "digest": forgetting.digest(driver, each) if each else ""} for each in addresses or {""}
        ]
        self._store.erased |= addresses | {person.name}
        return True

    async def approve(self, digest: str, *, now: datetime.datetime, until: datetime.datetime, by: str = "") -> None:
        """Allow the held changes of exactly this plan until then. Any process may."""
        self._store.approvals[digest] = now, until, by

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

    async def _as_stored(self, document: row_codec.Document) -> row_codec.Document:
        """Return a document without those who were forgotten."""
        stored: row_codec.Document = json.loads(json.dumps(document))
        return forgetting.erased(  # type: ignore[return-value] # a document stays one
            {**stored, "names": await self.names(stored["names"])}, forgetting.eraser(self._store.erased)
        )

    def _ordered(self) -> list[tuple[RunId, _Run]]:
        return sorted(self._store.runs.items(), key=lambda item: (item[1].started, item[0]))

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

    def _rows(self) -> Iterator[row_codec.Row]:
        """Yield every intent as a row of the durable journal."""
        for key, each in self._store.intents.items():
            change = each.intent.change
            yield {
                "run": each.run,
                "action": change.action.value,
                "driver": change.driver,
                "fleet": change.fleet,
                "fingerprint": change.row,
                "settled": format_time(self._store.settled[key]) if key in self._store.settled else None,
                **(outcome_document(self.outcomes[key]) if key in self.outcomes else dict.fromkeys(_DETAILS)),
            }

    def _past_run(self, run: RunId, held: _Run) -> PastRun:
        names = [row["outcome"] for row in self._rows() if row["run"] == run]
        return PastRun(
            run=run,
            trigger=held.trigger,
            started=held.started,
            finished=held.finished.finished if held.finished else None,
            result=held.result,
            exit_code=held.finished.exit_code if held.finished else None,
            outcomes=held.finished.counts if held.finished else {name: names.count(name) for name in OUTCOME_NAMES},
            approval=held.approval,
        )

    def _past_change(self, each: OpenIntent) -> PastChange:
        key = each.intent.key
        details: dict[str, Any] = dict.fromkeys(_DETAILS)
        if key in self.outcomes:
            details |= outcome_document(self.outcomes[key])
            details["message"] = forgetting.eraser(self._store.erased)(details["message"] or "") or details["message"]
        return PastChange(
            run=each.run,
            trigger=self._store.runs[each.run].trigger,
            recorded=each.recorded,
            key=key,
            change=each.intent.change,
            **{**details, "attempts": details["attempts"] or 0},
        )


_DETAILS = ("outcome", "attempts", "request_id", "code", "message")
