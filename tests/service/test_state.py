"""The service's state: which part is broken since when, and whether the service is ready."""

import dataclasses
import datetime
from collections.abc import Sequence
from typing import cast

import anyio
import pytest

from tests.support import doubles
from worker.core.model.actual import Actual, Fleet
from worker.core.model.desired import Desired, SourceRevision
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
from worker.core.model.identifiers import Account, DriverId, FleetId, RunId
from worker.core.model.outcomes import Applied, ChangeResult, Refused
from worker.core.model.pauses import Pause
from worker.core.model.people import Person
from worker.core.model.plan import Action, Change, HeldChange
from worker.core.model.ports import Stage
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.report import Report
from worker.core.monitoring import status
from worker.engine import plan_builder
from worker.service import composition, state
from worker.settings import model

pytestmark = pytest.mark.anyio

NOON = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
Part = status.Part


class Clock:
    """A clock that advances a second each time it is read."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime.datetime:
        self.time += datetime.timedelta(seconds=1)
        return self.time

    def uptime(self) -> float:
        return self.time.timestamp()

    cpu_time = uptime


def ended(service_state: state.ServiceState, error: FleetSyncError | None = None) -> None:
    """Begin and end a run, with an error or in sync."""
    guarded = None if error else doubles.guarded([])
    service_state.begin(RunId("run_1"), trigger="interval")
    finished = Report(RunId("run_1"), NOON, NOON, guarded, error=error)
    service_state.end(finished)


def broken(service_state: state.ServiceState) -> set[Part]:
    return {each.part for each in service_state.broken}


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
    assert (shown.part, shown.error.code, shown.error.message) == (Part.CLOCK, "clock_not_trusted", CLOCK.message)
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


@dataclasses.dataclass
class Rules:
    """What a snapshot takes from plan_builder.Rules."""

    account: Account


class ShownAccount:
    """What a snapshot takes from composition.AccountRuntime."""

    def __init__(self, *, max_age_hours: float | None = None) -> None:
        completeness = {} if max_age_hours is None else {"completeness": {"max_age_hours": max_age_hours}}
        sources = [{"path": "a.yaml", **completeness}, {"path": "b.yaml"}]
        self.settings = model.Settings.model_validate({"sources": sources})
        self.rules = Rules(Account("https://charge.test/v1", "test"))
        self.rate = 12.5


def shown(service_state: state.ServiceState, *, max_age_hours: float | None = None) -> status.Status:
    return service_state.snapshot(cast("composition.AccountRuntime", ShownAccount(max_age_hours=max_age_hours)))


def planned(*revisions: str, pauses: Sequence[Pause] = ()) -> plan_builder.PlanResult:
    """Make the plan of a run that has read a.yaml, b.yaml … with these revisions."""
    sources = tuple(SourceRevision("file", f"{name}.yaml", each) for name, each in zip("abc", revisions, strict=False))
    return plan_builder.PlanResult(Desired(sources, (), ()), Actual({}, {}), doubles.guarded([]), pauses=tuple(pauses))


async def test_a_new_service_shows_that_nothing_has_happened_yet() -> None:
    found = shown(state.ServiceState(clock=Clock()))
    assert found.started == NOON + datetime.timedelta(seconds=1)
    assert (found.reading, found.standing_by, found.running, found.last) == (status.Reading(), "", None, None)
    assert (found.fleets, found.sources, found.broken, found.pauses) == ((), (), (), ())


async def test_progress_counts_the_steps_of_each_stage_anew() -> None:
    service_state = state.ServiceState(clock=Clock())
    service_state.step()  # without a run there is nothing to count
    service_state.stage(Stage.READING_FLEETS, 3)
    service_state.begin(RunId("run_1"), trigger="interval")
    seen = list[tuple[Stage | None, int, int | None]]()

    def look() -> None:
        assert service_state.running is not None
        seen.append((service_state.running.stage, service_state.running.done, service_state.running.total))

    service_state.stage(Stage.READING_FLEETS, 3)
    look()
    service_state.step()
    service_state.step(2)
    look()
    service_state.stage(Stage.CHANGING_MEMBERSHIPS, None)
    look()
    assert seen == [(Stage.READING_FLEETS, 0, 3), (Stage.READING_FLEETS, 3, 3), (Stage.CHANGING_MEMBERSHIPS, 0, None)]


async def test_the_writer_that_a_standby_waits_for_is_shown_until_it_has_gone() -> None:
    service_state = state.ServiceState(clock=Clock())
    service_state.stand_by("process 7 writes")
    assert shown(service_state).standing_by == "process 7 writes"
    service_state.stand_by("")
    assert shown(service_state).standing_by == ""


async def test_becoming_the_writer_proves_nothing_of_a_broken_journal() -> None:
    """Only another process that writes does, or a run."""
    service_state = state.ServiceState(clock=Clock())
    ended(service_state, JournalError("the disk is full"))
    service_state.stand_by("")
    assert broken(service_state) == {Part.JOURNAL}


async def test_the_next_run_is_shown_while_the_service_waits_for_it() -> None:
    clock = Clock()
    service_state = state.ServiceState(clock=clock)
    service_state.wait(300)
    assert shown(service_state).next_run == clock.time + datetime.timedelta(seconds=299)
    service_state.begin(RunId("run_1"), trigger="interval")
    assert shown(service_state).next_run is None


async def test_a_source_keeps_the_moment_when_its_revision_was_first_read() -> None:
    service_state = state.ServiceState(clock=Clock())
    service_state.planned(planned("1", "1"))
    first = {each.source.name: each.since for each in shown(service_state).sources}
    service_state.planned(planned("1", "2", "1"))
    second = {each.source.name: each.since for each in shown(service_state).sources}
    assert [*second] == ["a.yaml", "b.yaml", "c.yaml"]
    assert second["a.yaml"] == first["a.yaml"]
    assert second["b.yaml"] > first["b.yaml"]
    service_state.planned(planned("1"))
    assert [each.source.name for each in shown(service_state).sources] == ["a.yaml"]


async def test_a_source_is_shown_with_the_age_that_the_settings_allow_it() -> None:
    service_state = state.ServiceState(clock=Clock())
    service_state.planned(planned("1", "1", "1"))
    limits = [each.max_age for each in shown(service_state, max_age_hours=36).sources]
    assert limits == [datetime.timedelta(hours=36), None, None]
    assert [each.max_age for each in shown(service_state).sources] == [None, None, None]


async def test_only_pauses_in_force_are_shown() -> None:
    over, on = Pause(NOON, NOON + datetime.timedelta(seconds=2)), Pause(NOON, NOON + datetime.timedelta(days=1))
    service_state = state.ServiceState(clock=Clock())
    service_state.planned(planned(pauses=[over, on]))
    assert service_state.pauses == (over, on)
    assert shown(service_state).pauses == (on,)


async def test_pauses_are_announced_when_they_become_others() -> None:
    service_state, seen = state.ServiceState(clock=Clock()), list[int]()

    async def watch() -> None:
        while True:
            await service_state.changed()
            seen.append(len(service_state.pauses))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        await anyio.sleep(1)
        for pauses, differ in (((), False), ((Pause(NOON),), True), ((Pause(NOON),), False), ((), True)):
            assert service_state.set_pauses(pauses) is differ
            await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert seen == [1, 0]


@pytest.mark.parametrize("part_works", [False, True])
async def test_a_part_that_breaks_or_works_again_is_a_transition_and_so_is_the_wait_a_change(part_works: bool) -> None:
    service_state, seen = state.ServiceState(clock=Clock()), list[str]()

    async def watch(name: str) -> None:
        await (service_state.changed() if name == "changed" else service_state.transitioned())
        seen.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, "changed")
        tasks.start_soon(watch, "transitioned")
        await anyio.wait_all_tasks_blocked()
        service_state.wait(60)
        await anyio.wait_all_tasks_blocked()
        assert seen == ["changed"]
        if part_works:
            service_state.mark_ok([Part.SETTINGS])
        else:
            service_state.mark_failed(Part.SETTINGS, SettingsError([Problem("sync.mode", "wrong")]))
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert seen == ["changed", "transitioned"]


async def test_the_last_success_is_of_a_run_that_left_nothing_to_do() -> None:
    service_state = state.ServiceState(clock=Clock())
    ended(service_state, Unreachable("no answer"))
    assert (service_state.last_success, service_state.last is not None) == (None, True)
    ended(service_state)
    assert service_state.last_success == NOON
    later = NOON + datetime.timedelta(hours=1)
    service_state.end(Report(RunId("run_3"), later, later, None, error=Unreachable("no answer")))
    assert (shown(service_state).last_success, service_state.has_been_ready) == (NOON, True)


async def test_fleets_and_names_are_those_of_the_last_run_that_had_a_plan() -> None:
    """The names are of the drivers that its changes are about, the held ones included."""
    ann, bob, eve, vans = DriverId("drv_A"), DriverId("drv_B"), DriverId("drv_E"), FleetId("flt_V")
    people = {ann: Person("Ann"), bob: Person("Bob"), eve: Person("Eve")}
    actual = Actual({vans: Fleet(vans, "Vans")}, dict.fromkeys(people, frozenset[FleetId]()), people=people)
    made, held = Change(Action.ATTACH, ann, vans), HeldChange(Change(Action.ATTACH, bob, vans), "flapping", "…")
    guarded = dataclasses.replace(doubles.guarded((made,)), held=(held,))
    service_state = state.ServiceState(clock=Clock())
    service_state.begin(RunId("run_1"), trigger="start")
    service_state.planned(plan_builder.PlanResult(Desired((), (), ()), actual, guarded, members={vans: 1}))
    results = (ChangeResult(made, Applied(1)),)
    service_state.end(Report(RunId("run_1"), NOON, NOON, guarded, results=results))
    found = shown(service_state)
    assert [(each.fleet, each.name, each.frozen) for each in found.fleets] == [(vans, "Vans", 1)]
    assert found.driver_names == {ann: "Ann", bob: "Bob"}
    assert found.reading.memberships == {ann: {vans}, bob: frozenset(), eve: frozenset()}
    ended(service_state, Unreachable("no answer"))
    service_state.end(Report(RunId("run_2"), NOON, NOON, doubles.guarded([])))
    assert (shown(service_state).fleets, shown(service_state).reading) == (found.fleets, found.reading)


def test_a_detach_takes_a_driver_out_of_that_fleet_only() -> None:
    ann, vans, cars = DriverId("drv_A"), FleetId("flt_V"), FleetId("flt_C")
    made = Change(Action.DETACH, ann, vans)
    finished = Report(RunId("run_1"), NOON, NOON, doubles.guarded((made,)), results=(ChangeResult(made, Applied(1)),))
    found = state.reading_after(Actual({}, {ann: frozenset({vans, cars})}), {ann}, finished)
    assert found.memberships == {ann: {cars}}


def test_an_account_is_shown_whole_up_to_the_limit() -> None:
    memberships = {DriverId(f"drv_{number}"): frozenset[FleetId]() for number in range(state.MOST_DRIVERS)}
    nothing = Report(RunId("run_1"), NOON, NOON, doubles.guarded([]))
    assert state.reading_after(Actual({}, memberships), (), nothing).is_whole
    assert not state.reading_after(Actual({}, {**memberships, DriverId("drv_X"): frozenset()}), (), nothing).is_whole
