"""What a run does, in short: changes, plans, intents, reports.

Neighbours: `backends` opens the journals.
"""

import dataclasses
import datetime
import time
from collections.abc import Sequence

from worker.core.model.desired import Origin, SourceRevision
from worker.core.model.errors import FleetSyncError
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey, RunId
from worker.core.model.outcomes import Applied, ChangeResult, Outcome
from worker.core.model.plan import Action, Change, Cost, GuardedPlan, HeldChange
from worker.core.model.ports import Intent, Journal
from worker.core.model.problem import Problem
from worker.core.model.report import Report

NOON = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC)
DONE = Applied(attempts=1, request_id="req_1")
RUN = RunId("run_1")
APRIL = RunId("run_april")
MAY = RunId("run_may")


def minutes(number: float) -> datetime.datetime:
    """Return the moment so many minutes after noon."""
    return NOON + datetime.timedelta(minutes=number)


class Clock:
    """Implements ports.Clock: a test sets the time."""

    def __init__(self) -> None:
        """Start at noon."""
        self.moment = NOON

    def now(self) -> datetime.datetime:
        """Return the present moment."""
        return self.moment

    def uptime(self) -> float:
        """Return the time that passes in truth: it is what another process's deeds take."""
        return time.monotonic()

    def cpu_time(self) -> float:
        """Return the processors' seconds."""
        return time.process_time()


def change(
    driver: str = "ann", fleet: str = "vans", *, action: str = "attach", line: int = 4, row: str = "abc"
) -> Change:
    """Make a change that a row of a source asks for."""
    return Change(
        action=Action(action),
        driver=DriverId(f"drv_{driver}"),
        fleet=FleetId(f"flt_{fleet}"),
        origin=Origin("teams/a:b.yaml", line, 9),
        row=row,
    )


def many(number: int) -> list[Change]:
    """Make so many changes, each of a driver of its own."""
    return [change(f"{index:05}", line=index + 1) for index in range(number)]


def intents(changes: Sequence[Change], *, run: RunId = RUN) -> list[Intent]:
    """Return each change a key: that of its run and its place."""
    return [Intent(key=key(index, run=run), change=change) for index, change in enumerate(changes)]


def key(index: int = 0, *, run: RunId = RUN) -> IntentKey:
    """Return the key of a run's change."""
    return IntentKey(f"fleet-sync-{run}-{index}")


def guarded(changes: Sequence[Change] = (), *, created: datetime.datetime = NOON) -> GuardedPlan:
    """Make a guarded plan of these changes."""
    return GuardedPlan(
        account=Account(base_url="https://charge.test/v1", mode="test"),
        created=created,
        sources=(
            SourceRevision(kind="file", name="teams", revision="sha256:1"),
            SourceRevision(kind="file", name="guests.csv", revision="sha256:2"),
        ),
        changes=tuple(changes),
        held=(),
        problems=(Problem(where="teams/a:b.yaml:7:1", message="nobody has this address"),),
        in_sync=3,
        fleets=1,
        drivers=3,
        cost=Cost(requests=2, seconds=0.5),
        digest="sha256:plan",
    )


async def begin(journal: Journal, changes: Sequence[Change], *, run: RunId = RUN, at: datetime.datetime = NOON) -> None:
    """Begin a run with these changes."""
    plan = guarded(changes, created=at)
    await journal.begin(run, trigger="start", guarded=plan, intents=intents(changes, run=run))


def ended(
    changes: Sequence[Change] = (),
    outcome: Outcome = DONE,
    *,
    run: RunId = RUN,
    at: datetime.datetime = NOON,
    error: FleetSyncError | None = None,
) -> Report:
    """Report the end of a run, a minute after it began."""
    return Report(
        run=run,
        started=at,
        finished=at + datetime.timedelta(minutes=1),
        guarded=None if error else guarded(changes, created=at),
        results=tuple(ChangeResult(change, outcome) for change in changes),
        error=error,
    )


def held(changes: Sequence[Change], *, run: RunId, at: datetime.datetime) -> Report:
    """Report the end of a run that wrote nothing, as a guard holds these changes."""
    kept = tuple(HeldChange(change, "max_detach_fraction", "too many would be detached") for change in changes)
    quiet = ended(run=run, at=at)
    return dataclasses.replace(quiet, guarded=dataclasses.replace(guarded(created=at), held=kept))


async def whole(
    journal: Journal,
    changes: Sequence[Change] = (),
    outcome: Outcome = DONE,
    *,
    run: str,
    at: datetime.datetime,
) -> None:
    """Run from the beginning to the end; a run without changes never begins."""
    name = RunId(run)
    if changes:
        await begin(journal, changes, run=name, at=at)
        await journal.record([(key(index, run=name), outcome) for index in range(len(changes))])
    await journal.finish(ended(changes, outcome, run=name, at=at), trigger="interval")
