"""The service's state as it is shown: progress, sources, pauses and fleets."""

import dataclasses
import datetime
from collections.abc import Sequence
from typing import cast

import anyio
import pytest

from tests.service.service_states import NOON, Clock, Part, broken, ended
from tests.support import doubles
from worker.core.model.actual import Actual, Fleet
from worker.core.model.desired import Desired, SourceRevision
from worker.core.model.errors import (
    JournalError,
    SettingsError,
    Unreachable,
)
from worker.core.model.identifiers import Account, DriverId, FleetId, RunId
from worker.core.model.outcomes import Applied, ChangeResult
from worker.core.model.pauses import Pause
from worker.core.model.people import Person
from worker.core.model.plan import Action, Change, HeldChange
from worker.core.model.ports import Stage
from worker.core.model.problem import Problem
from worker.core.model.report import Report
from worker.core.monitoring import status
from worker.engine import plan_builder
from worker.service import composition, state
from worker.settings import model

pytestmark = pytest.mark.anyio


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
    over, on = (
        Pause(NOON, NOON + datetime.timedelta(seconds=2)),
        Pause(NOON, NOON + datetime.timedelta(days=1)),
    )
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
        for pauses, differ in (
            ((), False),
            ((Pause(NOON),), True),
            ((Pause(NOON),), False),
            ((), True),
        ):
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
    finished = Report(
        RunId("run_1"),
        NOON,
        NOON,
        doubles.guarded((made,)),
        results=(ChangeResult(made, Applied(1)),),
    )
    found = state.reading_after(Actual({}, {ann: frozenset({vans, cars})}), {ann}, finished)
    assert found.memberships == {ann: {cars}}


def test_an_account_is_shown_whole_up_to_the_limit() -> None:
    memberships = {DriverId(f"drv_{number}"): frozenset[FleetId]() for number in range(state.MOST_DRIVERS)}
    nothing = Report(RunId("run_1"), NOON, NOON, doubles.guarded([]))
    assert state.reading_after(Actual({}, memberships), (), nothing).is_whole
    assert not state.reading_after(Actual({}, {**memberships, DriverId("drv_X"): frozenset()}), (), nothing).is_whole
