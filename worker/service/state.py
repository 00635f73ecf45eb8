"""What the service knows of itself: kept while it runs, and given as a snapshot.

Invariant: every change is announced, so that whoever waits in `changed` sees the latest. Neighbours: `loop` writes
here, `core.status` is the snapshot, `status` shows it, `core.overview` makes sense of it.
"""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence

import anyio

import worker
from worker.core.model.desired import SourceRevision
from worker.core.model.errors import (
    ChargeError,
    DesiredError,
    FleetSyncError,
    JournalError,
    KeyRejected,
    ReadingError,
    SourceError,
)
from worker.core.model.identifiers import DriverId, RunId
from worker.core.model.ports import Clock, Stage
from worker.core.model.report import Report, RunResult
from worker.core.monitoring import fleet_counts, status
from worker.engine import plan_builder
from worker.service import composition

_WORKED: Mapping[status.Part | None, Sequence[status.Part]] = {
    status.Part.JOURNAL: (),
    status.Part.SOURCE: (status.Part.JOURNAL,),
    status.Part.CHARGE: (status.Part.JOURNAL, status.Part.SOURCE),
    status.Part.KEY: (status.Part.JOURNAL, status.Part.SOURCE),
    None: (status.Part.JOURNAL, status.Part.SOURCE, status.Part.CHARGE, status.Part.KEY),
}
"""What a run has shown to work where it failed at this part, or at none: it needs them in this order."""


class ServiceState:
    """Implements ports.Progress for the run in progress. To be made inside the event loop."""

    def __init__(self, *, clock: Clock) -> None:
        """Begin as a service that has just started."""
        self._clock = clock
        self._started = clock.now()
        self._changed, self._turned = anyio.Event(), anyio.Event()
        self._broken: dict[status.Part, status.Broken] = {}
        self._sources: dict[str, status.Source] = {}
        self._plan_result: plan_builder.PlanResult | None = None
        self._fleets: tuple[status.Fleet, ...] = ()
        self._names: Mapping[DriverId, str] = {}
        self.standing_by = ""
        self.running: status.Running | None = None
        self.last: Report | None = None
        self.last_trigger = ""
        self.last_success: datetime.datetime | None = None
        self.next_run: datetime.datetime | None = None
        self.journal_bytes: int | None = None
        self.settled = False
        """Whether a run has ended as it should, or somebody else is the one who runs."""

    # --- What happens -------------------------------------------------------------------------------------

    def stage(self, name: Stage, total: int | None) -> None:
        """Say what the run in progress begins now."""
        if self.running is not None:
            self.running = dataclasses.replace(self.running, stage=name, done=0, total=total)
            self.announce()

    def step(self, count: int = 1) -> None:
        """Say that so many steps of the present stage are done."""
        if self.running is not None:
            self.running = dataclasses.replace(self.running, done=self.running.done + count)
            self.announce()

    def stand_by(self, why: str) -> None:
        """Say who else is the writer; an empty text says that it is this process."""
        self.standing_by = why
        self.settled = self.settled or bool(why)
        self.mark_ok([status.Part.JOURNAL] if why else [])

    def begin(self, run: RunId, *, trigger: str) -> None:
        """Say that a run begins."""
        self._plan_result, self.next_run = None, None
        self.running = status.Running(run, trigger, self._clock.now())
        self.announce()

    def planned(self, plan_result: plan_builder.PlanResult) -> None:
        """Take what was read and judged."""
        self._plan_result = plan_result
        self._see(plan_result.desired.sources)

    def end(self, finished: Report | None, *, trigger: str) -> None:
        """Say how the run ended; `None` where it did not take place, as another process is the writer."""
        self.running = None
        if finished is not None:
            self._settle(finished, trigger=trigger)
        self._turn()

    def wait(self, seconds: float) -> None:
        """Say when the next run is due."""
        self.next_run = self._clock.now() + datetime.timedelta(seconds=seconds)
        self.announce()

    def mark_failed(self, part: status.Part, error: FleetSyncError) -> None:
        """Say that a part does not work, since now unless it was so before."""
        before = self._broken.get(part)
        self._broken[part] = status.Broken(part, before.since if before else self._clock.now(), error)
        self._turn()

    def mark_ok(self, parts: Sequence[status.Part]) -> None:
        """Say that these parts work."""
        for part in parts:
            self._broken.pop(part, None)
        self._turn()

    @property
    def broken(self) -> tuple[status.Broken, ...]:
        """Give what does not work, in the order of the parts."""
        return tuple(self._broken[part] for part in status.Part if part in self._broken)

    # --- What is shown ------------------------------------------------------------------------------------

    def announce(self) -> None:
        """Wake whoever waits for a change."""
        self._changed.set()
        self._changed = anyio.Event()

    async def changed(self) -> None:
        """Return at the next change."""
        await self._changed.wait()

    async def turned(self) -> None:
        """Return when next a run has ended, or a part broke or works again."""
        await self._turned.wait()

    def snapshot(self, account: composition.AccountRuntime) -> status.Status:
        """Give everything as it is now."""
        settings = account.settings
        return status.Status(
            now=self._clock.now(),
            started=self._started,
            version=worker.__version__,
            account=account.rules.account,
            interval=datetime.timedelta(seconds=settings.sync.interval_seconds),
            pace=account.rate,
            ceiling=settings.rate_limit.requests_per_second,
            standing_by=self.standing_by,
            running=self.running,
            last=self.last,
            last_trigger=self.last_trigger,
            last_success=self.last_success,
            next_run=self.next_run,
            fleets=self._fleets,
            broken=self.broken,
            sources=tuple(self._sources.values()),
            driver_names=self._names,
            journal_bytes=self.journal_bytes,
        )

    def unready(self) -> str:
        """Give the reason why the service is not ready, or nothing."""
        for part in (status.Part.SETTINGS, status.Part.JOURNAL):
            if part in self._broken:
                return f"{part}: {self._broken[part].error.message}"
        return "" if self.settled else "no run has ended well yet"

    # --- Inside -------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._turned.set()
        self._turned = anyio.Event()
        self.announce()

    def _settle(self, finished: Report, *, trigger: str) -> None:
        self.last, self.last_trigger = finished, trigger
        if finished.exit_code == 0:
            self.last_success = finished.finished
        if finished.result is not RunResult.FAILED:
            self.settled = True
        part = part_of(finished.error)
        self.mark_ok(_WORKED[part] if part or finished.error is None else ())
        if part is not None and finished.error is not None:
            self.mark_failed(part, finished.error)
        plan_result = self._plan_result
        if plan_result is not None:
            names = {fleet: shown.name for fleet, shown in plan_result.actual.fleets.items()}
            self._fleets = fleet_counts.count_fleets(
                names=names,
                members=plan_result.members,
                guarded=plan_result.guarded,
                results=finished.results,
                incomplete=plan_result.actual.incomplete,
            )
            concerned = {result.change.driver for result in finished.results}
            concerned |= {held.change.driver for held in plan_result.guarded.held}
            self._names = {
                driver: plan_result.actual.names[driver] for driver in concerned & plan_result.actual.names.keys()
            }
        self._plan_result = None

    def _see(self, sources: Sequence[SourceRevision]) -> None:
        before = self._sources
        self._sources = {}
        for each in sources:
            known = before.get(each.name)
            fresh = status.Source(each, self._clock.now())
            self._sources[each.name] = known if known is not None and known.source == each else fresh


def part_of(error: FleetSyncError | None) -> status.Part | None:
    """Tell which part an error speaks of, where it is one that is worth waiting for."""
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
