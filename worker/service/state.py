"""What the service knows about itself: updated while it runs, and read as snapshots.

Invariant: every change is announced, so that a task waiting in `changed` or `transitioned` never misses the latest
state. Neighbours: `scheduler` updates it, `core.monitoring.status` is the snapshot, `web` and `notifications` report
it.
"""

import dataclasses
import datetime
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import anyio

import worker
from worker.core.model.actual import Actual
from worker.core.model.desired import SourceRevision
from worker.core.model.errors import (
    ChargeError,
    ClockNotTrusted,
    DesiredError,
    FleetSyncError,
    JournalError,
    KeyRejected,
    ReadingError,
    SourceError,
)
from worker.core.model.identifiers import DriverId, RunId
from worker.core.model.pauses import Pause
from worker.core.model.plan import Action
from worker.core.model.ports import Clock, Stage
from worker.core.model.report import Report, RunResult
from worker.core.monitoring import fleet_counts, status
from worker.core.planning import inventory
from worker.engine import plan_builder
from worker.service import composition
from worker.settings import model

_PROVEN_BY_FAILURE: Mapping[status.Part | None, Sequence[status.Part]] = {
    status.Part.JOURNAL: (),
    status.Part.SOURCE: (status.Part.JOURNAL,),
    status.Part.CHARGE: (status.Part.JOURNAL, status.Part.SOURCE),
    status.Part.KEY: (status.Part.JOURNAL, status.Part.SOURCE),
    None: (status.Part.JOURNAL, status.Part.SOURCE, status.Part.CHARGE, status.Part.KEY),
}
"""The parts that a run has shown to work, by the part at which it failed (None: it did not fail).

A run uses the parts in this order, so a failure at one proves the ones before it.
"""


MOST_DRIVERS = inventory.MOST_NAMED
"""Drivers of a reading that are kept for the page to the next run; of a larger account only those concerned."""


class ServiceState:
    """The state of the service. Implements ports.Progress for the run in progress. Create it inside the event loop."""

    def __init__(self, *, clock: Clock) -> None:
        """Start as a service without a run."""
        self._clock = clock
        self._started = clock.now()
        self._changed, self._transitioned = anyio.Event(), anyio.Event()
        self._broken: dict[status.Part, status.Broken] = {}
        self._sources: dict[str, status.Source] = {}
        self._plan_result: plan_builder.PlanResult | None = None
        self._fleets: tuple[status.Fleet, ...] = ()
        self._driver_names: Mapping[DriverId, str] = {}
        self._reading = status.Reading()
        self.standing_by = ""
        self.pauses: tuple[Pause, ...] = ()
        self.running: status.Running | None = None
        self.last: Report | None = None
        self.last_success: datetime.datetime | None = None
        self.next_run: datetime.datetime | None = None
        self.journal_bytes: int | None = None
        self.has_been_ready = False
        """Whether a run has ended without failing, or the service has stood by for another writer."""

    # --- Updates ------------------------------------------------------------------------------------------

    def stage(self, name: Stage, total: int | None) -> None:
        """Record that the run in progress enters a stage of `total` steps."""
        if self.running is not None:
            self.running = dataclasses.replace(self.running, stage=name, done=0, total=total)
            self._announce_change()

    def step(self, count: int = 1) -> None:
        """Record that `count` steps of the present stage are done."""
        if self.running is not None:
            self.running = dataclasses.replace(self.running, done=self.running.done + count)
            self._announce_change()

    def stand_by(self, writer: str) -> None:
        """Record which other process is the journal's writer; empty: this process is."""
        self.standing_by = writer
        self.has_been_ready = self.has_been_ready or bool(writer)
        self.mark_ok([status.Part.JOURNAL] if writer else [])

    def begin(self, run: RunId, *, trigger: str) -> None:
        """Record the start of a run."""
        self._plan_result, self.next_run = None, None
        self.running = status.Running(run, trigger, self._clock.now())
        self._announce_change()

    def planned(self, plan_result: plan_builder.PlanResult) -> None:
        """Record the plan of the run in progress and the source revisions that it read."""
        self._plan_result = plan_result
        self.pauses = plan_result.pauses
        self._update_sources(plan_result.desired.sources)

    def end(self, finished: Report | None) -> None:
        """Record the end of a run; None: it did not take place, because another process is the writer."""
        self.running = None
        if finished is not None:
            self._record_report(finished)
        self._announce_transition()

    def wait(self, seconds: float) -> None:
        """Record that the next run is due in `seconds`."""
        self.next_run = self._clock.now() + datetime.timedelta(seconds=seconds)
        self._announce_change()

    def set_pauses(self, pauses: tuple[Pause, ...]) -> bool:
        """Record the pauses in force, and return whether they are others than before."""
        before, self.pauses = self.pauses, pauses
        if pauses != before:
            self._announce_change()
        return pauses != before

    def mark_failed(self, part: status.Part, error: FleetSyncError) -> None:
        """Record that a part does not work; if it was failing already, the earlier start is kept."""
        before = self._broken.get(part)
        self._broken[part] = status.Broken(part, before.since if before else self._clock.now(), error)
        self._announce_transition()

    def mark_ok(self, parts: Sequence[status.Part]) -> None:
        """Record that these parts work."""
        for part in parts:
            self._broken.pop(part, None)
        self._announce_transition()

    # --- Reports ------------------------------------------------------------------------------------------

    @property
    def broken(self) -> tuple[status.Broken, ...]:
        """Return the parts that do not work, in the order of `status.Part`."""
        return tuple(self._broken[part] for part in status.Part if part in self._broken)

    async def changed(self) -> None:
        """Wait for the next change, progress included."""
        await self._changed.wait()

    async def transitioned(self) -> None:
        """Wait until a run ends, or a part fails or works again."""
        await self._transitioned.wait()

    def snapshot(self, account: composition.AccountRuntime) -> status.Status:
        """Return the present state."""
        settings = account.settings
        return status.Status(
            now=self._clock.now(),
            started=self._started,
            version=worker.__version__,
            account=account.rules.account,
            rate=account.rate,
            ceiling=settings.rate_limit.requests_per_second,
            standing_by=self.standing_by,
            running=self.running,
            last=self.last,
            last_success=self.last_success,
            next_run=self.next_run,
            fleets=self._fleets,
            broken=self.broken,
            sources=tuple(_with_max_ages(self._sources.values(), settings)),
            driver_names=self._driver_names,
            reading=self._reading,
            pauses=tuple(pause for pause in self.pauses if pause.is_active(self._clock.now())),
            journal_bytes=self.journal_bytes,
            account_name=settings.account,
        )

    def unready_reason(self) -> str:
        """Return why the service is not ready, or an empty text if it is."""
        for part in (status.Part.SETTINGS, status.Part.JOURNAL):
            if part in self._broken:
                return f"{part}: {self._broken[part].error.message}"
        return "" if self.has_been_ready else "no run has succeeded yet"

    # --- Inside -------------------------------------------------------------------------------------------

    def _announce_change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _announce_transition(self) -> None:
        self._transitioned.set()
        self._transitioned = anyio.Event()
        self._announce_change()

    def _record_report(self, finished: Report) -> None:
        self.last = finished
        if finished.exit_code == 0:
            self.last_success = finished.finished
        if finished.result is not RunResult.FAILED:
            self.has_been_ready = True
        part = failed_part(finished.error)
        self.mark_ok(_PROVEN_BY_FAILURE[part] if part or finished.error is None else ())
        if part is not None and finished.error is not None:
            self.mark_failed(part, finished.error)
        self._record_clock(finished)
        if self._plan_result is not None:
            self._record_fleets(self._plan_result, finished)
        self._plan_result = None

    def _record_clock(self, finished: Report) -> None:
        """Record whether the run trusted the clock; a run without a plan may not have checked it."""
        planned = finished.guarded.problems if finished.guarded else ()
        wrong = [each for each in (*planned, *finished.problems) if each.code == ClockNotTrusted.code]
        if wrong:
            self.mark_failed(status.Part.CLOCK, ClockNotTrusted(wrong[0].message))
        elif finished.guarded is not None:
            self.mark_ok([status.Part.CLOCK])

    def _record_fleets(self, plan_result: plan_builder.PlanResult, finished: Report) -> None:
        """Count the fleets after the run, and keep the names of the drivers it was about."""
        actual = plan_result.actual
        self._fleets = fleet_counts.count_fleets(
            names={fleet: shown.name for fleet, shown in actual.fleets.items()},
            members=plan_result.members,
            guarded=plan_result.guarded,
            results=finished.results,
            incomplete=actual.incomplete,
            left_out=plan_result.unselected,
        )
        drivers = {result.change.driver for result in finished.results}
        drivers |= {held.change.driver for held in plan_result.guarded.held}
        self._driver_names = {driver: actual.people[driver].shown for driver in drivers & actual.people.keys()}
        self._reading = reading_after(actual, drivers, finished)

    def _update_sources(self, sources: Sequence[SourceRevision]) -> None:
        before = self._sources
        self._sources = {}
        for revision in sources:
            known = before.get(revision.name)
            is_same = known is not None and known.source.revision == revision.revision
            since = known.since if known and is_same else self._clock.now()
            self._sources[revision.name] = status.Source(revision, since)


def _with_max_ages(sources: Iterable[status.Source], settings: model.Settings) -> Iterator[status.Source]:
    """Yield the sources with how old the settings allow each to be."""
    checks = {each.title: each.completeness for each in settings.sources}
    for source in sources:
        limit = check.max_age_hours if (check := checks.get(source.source.name)) else None
        yield source if limit is None else dataclasses.replace(source, max_age=datetime.timedelta(hours=limit))


def reading_after(actual: Actual, concerned: Collection[DriverId], finished: Report) -> status.Reading:
    """Return what was read, with what the run has changed since; of a very large account only those concerned."""
    is_whole = len(actual.memberships) <= MOST_DRIVERS
    kept = (
        actual.memberships
        if is_whole
        else {each: actual.memberships[each] for each in sorted(concerned) if each in actual.memberships}
    )
    memberships = dict(kept)
    for result in finished.results:
        if result.done and (before := memberships.get(result.change.driver)) is not None:
            fleet = frozenset({result.change.fleet})
            attached = result.change.action is Action.ATTACH
            memberships[result.change.driver] = before | fleet if attached else before - fleet
    people = actual.people if is_whole else {each: actual.people[each] for each in memberships if each in actual.people}
    return status.Reading(people, memberships, is_whole)


def failed_part(error: FleetSyncError | None) -> status.Part | None:
    """Return the part that an error is about, or None if it is about no part that a later run can find working."""
    match error:
        case SourceError() | DesiredError() | ReadingError(code="too_many_unresolved"):
            return status.Part.SOURCE
        case JournalError():
            return status.Part.JOURNAL
        case KeyRejected():
            return status.Part.KEY
        case ChargeError() | ReadingError():
            return status.Part.CHARGE
        case _:
            return None
