"""The records of a journal in memory, and how people look things up in them.

Invariant: reads like the durable journal's history. Neighbours: implements `ports.RunHistory`; `memory_journal` writes
the records.
"""

import collections
import dataclasses
import datetime
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from worker.core.model.identifiers import DriverId, FleetId, IntentKey, Membership, RunId
from worker.core.model.outcomes import OUTCOME_NAMES, Outcome
from worker.core.model.pauses import Pause
from worker.core.model.people import Person
from worker.core.model.plan import GuardedPlan
from worker.core.model.ports import JournalOwner, OpenIntent, PastApproval, PastChange, PastRun
from worker.core.model.report import Report
from worker.core.model.secret import redact
from worker.core.model.serialization import format_time, outcome_document, plan_document, report_document
from worker.core.model.source_history import SourceRecord
from worker.core.planning import references
from worker.journal import forgetting, row_codec


@dataclasses.dataclass(slots=True)
class Run:
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
class Store:
    """What outlives a process."""

    runs: dict[RunId, Run] = dataclasses.field(default_factory=dict)
    intents: dict[IntentKey, OpenIntent] = dataclasses.field(default_factory=dict)
    outcomes: dict[IntentKey, Outcome] = dataclasses.field(default_factory=dict)
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
    writer: object = None


class MemoryHistory:
    """Implements ports.RunHistory in memory."""

    def __init__(self, store: Store) -> None:
        """Read these records."""
        self._store = store
        self.outcomes = store.outcomes

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
        kept = [each for each in self._store.pauses if each.fleet != pause.fleet]
        self._store.pauses = [*kept, dataclasses.replace(pause, by=redact(pause.by), reason=redact(pause.reason))]

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
        self._store.approvals[digest] = now, until, redact(by)

    async def _as_stored(self, document: row_codec.Document) -> row_codec.Document:
        """Return a document without those who were forgotten."""
        stored: row_codec.Document = json.loads(json.dumps(document))
        named = {**stored, "names": await self.names(stored["names"])}
        whole: row_codec.Document = forgetting.erased(named, forgetting.eraser(self._store.erased))
        return whole

    def _ordered(self) -> list[tuple[RunId, Run]]:
        return sorted(self._store.runs.items(), key=lambda item: (item[1].started, item[0]))

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

    def _past_run(self, run: RunId, held: Run) -> PastRun:
        return PastRun(
            run=run,
            trigger=held.trigger,
            started=held.started,
            finished=held.finished.finished if held.finished else None,
            result=held.result,
            exit_code=held.finished.exit_code if held.finished else None,
            outcomes=held.finished.counts if held.finished else self._counts(run),
            approval=held.approval,
        )

    def _counts(self, run: RunId) -> Mapping[str, int]:
        names = [row["outcome"] for row in self._rows() if row["run"] == run]
        return {name: names.count(name) for name in OUTCOME_NAMES}

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
