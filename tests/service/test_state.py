"""The service's state: which part is broken since when, and whether the service is ready."""

import dataclasses

import anyio
import pytest

from tests.service.service_states import NOON, Clock, Part, broken, ended
from tests.support import doubles
from worker.core.model.actual import Actual
from worker.core.model.errors import (
    DesiredError,
    FleetSyncError,
    JournalError,
    KeyRejected,
    ProcessSuspended,
    ReadingError,
    SettingsError,
    SourceError,
    Stopped,
    Unreachable,
)
from worker.core.model.identifiers import DriverId, FleetId, RunId
from worker.core.model.outcomes import Applied, ChangeResult, Refused
from worker.core.model.people import Person
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Stage
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.report import Report
from worker.core.monitoring import status
from worker.service import state

pytestmark = pytest.mark.anyio

CLOCK = Problem("clock", "this machine's clock is 2 days ahead of Charge's", code=ProblemCode.CLOCK_NOT_TRUSTED)


@pytest.mark.parametrize("found_late", [False, True])
async def test_a_run_by_a_wrong_clock_marks_it_until_a_run_trusts_it(found_late: bool) -> None:
    """Whether the plan or only the end of the run shows it; a run that failed may not have compared it."""
    service_state = state.ServiceState(clock=Clock())
    problems = {True: ((), (CLOCK,)), False: ((CLOCK,), ())}[found_late]
    guarded = dataclasses.replace(doubles.guarded([]), problems=problems[0], unsettled=True)
    service_state.begin(RunId("run_1"), trigger="interval")
    service_state.end(Report(RunId("run_1"), NOON, NOON, guarded, problems=problems[1]))
    [shown] = service_state.broken
    assert (shown.part, shown.error.code, shown.error.message) == (
        Part.CLOCK,
        "clock_not_trusted",
        CLOCK.message,
    )
    assert shown.error.remedy
    ended(service_state, Unreachable("no answer"))
    assert broken(service_state) == {Part.CLOCK, Part.CHARGE}
    ended(service_state)
    assert broken(service_state) == set()


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (SourceError([Problem("membership.yaml:1:1", "it is empty")]), Part.SOURCE),
        (DesiredError([Problem("membership.yaml:1:1", "two modes")]), Part.SOURCE),
        (JournalError("the disk is full"), Part.JOURNAL),
        (KeyRejected("401"), Part.KEY),
        (Unreachable("no answer"), Part.CHARGE),
        (ReadingError("many references", code="too_many_unresolved"), Part.SOURCE),
        (ReadingError("the list of fleets breaks off"), Part.CHARGE),
    ],
)
async def test_a_failed_run_marks_a_part_as_broken_until_a_run_succeeds(error: FleetSyncError, part: Part) -> None:
    service_state = state.ServiceState(clock=Clock())
    ended(service_state, error)
    assert broken(service_state) == {part}
    (first,) = service_state.broken
    ended(service_state, error)
    assert service_state.broken[0].since == first.since
    ended(service_state)
    assert broken(service_state) == set()


async def test_a_run_that_fails_later_than_the_one_before_clears_the_earlier_parts() -> None:
    service_state = state.ServiceState(clock=Clock())
    for error, part in (
        (JournalError("the disk is full"), Part.JOURNAL),
        (SourceError([Problem("membership.yaml", "gone")]), Part.SOURCE),
        (Unreachable("no answer"), Part.CHARGE),
        (KeyRejected("401"), Part.KEY),
    ):
        ended(service_state, error)
        assert broken(service_state) >= {part}
    assert broken(service_state) == {Part.CHARGE, Part.KEY}


async def test_an_unreachable_charge_does_not_prove_that_the_key_works() -> None:
    service_state = state.ServiceState(clock=Clock())
    ended(service_state, KeyRejected("401"))
    ended(service_state, Unreachable("no answer"))
    assert broken(service_state) == {Part.CHARGE, Part.KEY}


async def test_a_journal_with_another_writer_is_not_broken() -> None:
    service_state = state.ServiceState(clock=Clock())
    ended(service_state, JournalError("the disk is full"))
    service_state.stand_by("process 7 writes")
    assert broken(service_state) == set()
    assert service_state.unready_reason() == ""


async def test_broken_settings_are_cleared_only_by_valid_settings() -> None:
    service_state = state.ServiceState(clock=Clock())
    service_state.mark_failed(Part.SETTINGS, SettingsError([Problem("sync.mode", "wrong")]))
    ended(service_state)
    assert broken(service_state) == {Part.SETTINGS}
    assert service_state.unready_reason().startswith("settings: ")
    service_state.mark_ok([Part.SETTINGS])
    assert service_state.unready_reason() == ""


async def test_it_is_ready_after_a_run_that_did_not_fail_or_while_standing_by() -> None:
    first, second = state.ServiceState(clock=Clock()), state.ServiceState(clock=Clock())
    assert first.unready_reason()
    ended(first, Unreachable("no answer"))
    assert first.unready_reason()
    ended(first)
    assert first.unready_reason() == ""
    ended(first, Unreachable("no answer"))
    assert first.unready_reason() == ""
    ended(first, JournalError("the disk is full"))
    assert "disk is full" in first.unready_reason()
    second.stand_by("process 7 writes")
    assert second.unready_reason() == ""


async def test_a_requested_stop_marks_nothing_as_broken() -> None:
    service_state = state.ServiceState(clock=Clock())
    ended(service_state, Stopped("SIGTERM", exit_code=143))
    ended(service_state, ProcessSuspended("stood still"))
    assert broken(service_state) == set()


async def test_changed_wakes_for_every_change_and_transitioned_only_for_transitions() -> None:
    service_state, seen = state.ServiceState(clock=Clock()), list[str]()

    async def watch(name: str) -> None:
        while True:
            await (service_state.changed() if name == "changed" else service_state.transitioned())
            seen.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, "changed")
        tasks.start_soon(watch, "transitioned")
        await anyio.sleep(1)
        service_state.begin(RunId("run_1"), trigger="interval")
        await anyio.sleep(1)
        service_state.stage(Stage.READING_FLEETS, None)
        await anyio.sleep(1)
        service_state.step()
        await anyio.sleep(1)
        assert seen == ["changed"] * 3
        service_state.end(None)
        await anyio.sleep(1)
        assert sorted(seen) == ["changed"] * 4 + ["transitioned"]
        tasks.cancel_scope.cancel()
    assert service_state.running is None


def test_the_page_knows_who_was_read_and_what_the_run_changed_since() -> None:
    ann, bob, vans = DriverId("drv_A"), DriverId("drv_B"), FleetId("flt_V")
    actual = Actual(fleets={}, memberships={ann: frozenset(), bob: frozenset({vans})}, people={ann: Person("Ann")})
    made = (Change(Action.ATTACH, ann, vans), Change(Action.DETACH, bob, vans))
    results = (ChangeResult(made[0], Applied(1)), ChangeResult(made[1], Refused(1, "blocked", "no")))
    finished = Report(RunId("run_1"), NOON, NOON, doubles.guarded(made), results=results)
    found = state.reading_after(actual, {ann}, finished)
    assert found == status.Reading({ann: Person("Ann")}, {ann: frozenset({vans}), bob: frozenset({vans})})
    many = {DriverId(f"drv_{number}"): frozenset[FleetId]() for number in range(state.MOST_DRIVERS)} | {
        ann: frozenset()
    }
    huge = state.reading_after(dataclasses.replace(actual, memberships=many), {ann, bob}, finished)
    assert (set(huge.memberships), set(huge.people), huge.is_whole) == ({ann}, {ann}, False)
