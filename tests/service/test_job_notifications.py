"""The notifications of a job: each state once, although every run is a process of its own."""

import dataclasses
import datetime
import json

import httpx
import pytest

from tests.support import clocks, doubles, memory_journal
from worker.core.model.errors import FleetSyncError, JournalBusy, SourceError
from worker.core.model.identifiers import Account, DriverId, FleetId, RunId
from worker.core.model.outcomes import ChangeResult, Refused
from worker.core.model.plan import Action, Change, HeldChange
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.report import Report
from worker.core.model.secret import Secret
from worker.core.model.source_history import ShrunkSource
from worker.core.monitoring import notifications, status
from worker.notifications import webhook
from worker.service import job_notifications, state

pytestmark = pytest.mark.anyio

NOON = clocks.NOON
CHANGE = Change(Action.DETACH, DriverId("drv_A"), FleetId("flt_V"))
GONE = SourceError([Problem("people.csv", "it is gone")])


def report(number: int, *, held: bool = False, refused: bool = False, error: FleetSyncError | None = None) -> Report:
    began = NOON + datetime.timedelta(minutes=number)
    plan = doubles.guarded((CHANGE,) if refused else ())
    plan = dataclasses.replace(plan, held=(HeldChange(CHANGE, "max_detach_fraction", "…"),) if held else ())
    results = (ChangeResult(CHANGE, Refused(1, "blocked", "no")),) if refused else ()
    return Report(RunId(f"run_{number}"), began, began, None if error else plan, results=results, error=error)


async def told(
    *reports: Report,
    events: frozenset[notifications.Kind] = frozenset(notifications.Kind),
    meanwhile: Report | None = None,
    applied: frozenset[int] = frozenset(),
    killed: frozenset[int] = frozenset(),
) -> list[list[str]]:
    """Return the kinds that jobs with these reports tell, one process after the other.

    Another process records a run `meanwhile`, before the last one tells anything. Those at the positions `applied` are
    of `apply`, those at `killed` begin only.
    """
    journal, kinds = memory_journal.MemoryJournal(clock=clocks.Still()), list[list[str]]()

    def receive(request: httpx.Request) -> httpx.Response:
        kinds[-1].append(json.loads(request.content)["kind"])
        return httpx.Response(202)

    for position, each in enumerate(reports):
        kinds.append([])
        if position in killed and each.guarded is not None:
            await journal.begin(each.run, trigger="once", guarded=each.guarded, intents=[])
            continue
        if position in applied:
            await journal.finish(each, trigger="apply")
            continue
        await journal.finish(each, trigger="once")
        if meanwhile is not None and each is reports[-1]:
            await journal.finish(meanwhile, trigger="interval")
        part = state.failed_part(each.error)
        broken = (status.Broken(part, NOON, each.error),) if part and each.error else ()
        present = status.Status(
            NOON, NOON, "0", Account("https://charge.test/v1", "live"), 1.0, 1.0, last=each, broken=broken
        )
        hook = webhook.Webhook(
            Secret("https://hooks.test/x"),
            user_agent="fleet-sync/test",
            transport=lambda: httpx.MockTransport(receive),
            receiver=webhook.Receiver(events=events),
        )
        await job_notifications.notify(present, journal, [hook])
    return kinds


async def test_each_state_is_reported_when_it_begins_and_when_it_ends() -> None:
    held, refused = report(1, held=True), report(5, refused=True)
    runs = (held, report(2, held=True), report(3), refused, report(6, refused=True), report(7))
    assert await told(*runs) == [["held"], [], ["recovered"], ["refused"], [], ["recovered"]]


async def test_what_is_broken_in_run_after_run_is_reported_once() -> None:
    runs = [report(number, error=GONE) for number in (1, 2, 3)]
    assert await told(*runs, report(4)) == [["broken"], [], [], ["recovered"]]


async def test_a_source_that_lost_rows_and_a_fleet_that_vanished_are_reported_once_and_when_they_are_back() -> None:
    """Neither holds a change, or is an error: every run of a job told them again."""
    shrunk = ShrunkSource("people.csv", 10, 20, "source people.csv has 10 rows instead of 20")
    vanished = Problem("flt_V", "no source names it any more", code=ProblemCode.SCOPE_SHRANK)

    def found(number: int) -> Report:
        sound = report(number)
        assert sound.guarded is not None
        return dataclasses.replace(
            sound, guarded=dataclasses.replace(sound.guarded, shrunk=(shrunk,), problems=(vanished,), unsettled=True)
        )

    assert await told(found(1), found(2), report(3), report(4)) == [["broken", "held"], [], ["recovered"], []]


async def test_a_plan_that_was_applied_between_two_runs_is_not_the_run_before() -> None:
    """`apply` tells nobody anything."""
    assert await told(report(1, held=True), report(2), report(3, held=True), applied=frozenset({1})) == [
        ["held"],
        [],
        [],
    ]


async def test_a_run_that_was_killed_has_notified_no_one() -> None:
    """What it found held would have been told by no run."""
    assert await told(report(0, held=True), report(1, held=True), killed=frozenset({0})) == [[], ["held"]]


async def test_a_run_that_another_worker_made_meanwhile_is_not_the_one_before() -> None:
    """Story: both runs found the same changes held, each took the other for the one that had told it."""
    assert await told(report(1), report(2, held=True), meanwhile=report(3, held=True)) == [[], ["held"]]


async def test_a_receiver_gets_only_what_it_asked_for() -> None:
    only = frozenset({notifications.Kind.BROKEN})
    assert await told(report(1, held=True), report(2, error=GONE), events=only) == [[], ["broken"]]


async def test_a_job_beside_a_running_service_sends_no_notifications() -> None:
    assert await told(report(1, error=JournalBusy("the service writes to it"))) == [[]]
