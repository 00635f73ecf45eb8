"""Runs while writes are paused: everything is read and planned, and nothing that a pause covers is written."""

import datetime

import anyio
import pytest

from tests.support import doubles, harness
from tests.support.harness import DEPOT, VANS, A, B, C
from worker.core.model.errors import Paused
from worker.core.model.identifiers import FleetId
from worker.core.model.outcomes import Deferred
from worker.core.model.pauses import Pause
from worker.core.model.plan import Action, Change
from worker.core.model.report import RunResult
from worker.core.safety import guard
from worker.sandbox import quirks

pytestmark = pytest.mark.anyio

WANTED = {VANS: [B, C], DEPOT: [A]}
"""A moves from the vans to the depot, and C joins the vans."""


def account(**options: object) -> harness.Harness:
    return harness.Harness(harness.state_of({VANS: [A, B], DEPOT: []}, others=[C]), **options)  # type: ignore[arg-type]


async def pause(account: harness.Harness, fleet: str | None = None, *, minutes: int | None = None) -> None:
    now = account.wall.now()
    until = None if minutes is None else now + datetime.timedelta(minutes=minutes)
    await account.memory.pause(Pause(now, until, "Emma", "migration", FleetId(fleet) if fleet else None))


async def test_a_paused_run_plans_and_writes_nothing() -> None:
    paused = account()
    await pause(paused)
    report = await paused.reconcile(WANTED)
    assert (report.result, report.exit_code, report.results) == (RunResult.PAUSED, 0, ())
    assert report.guarded is not None
    assert len(report.guarded.changes) == 3
    assert "by Emma, until resumed: migration" in str(report.guarded.problems[0])
    assert paused.writes == []
    recorded, _ = await paused.memory.documents(report.run)
    assert recorded is not None
    assert "by Emma, until resumed: migration" in str(recorded["problems"])
    await paused.memory.resume(now=paused.wall.now(), by="Emma")
    assert (await paused.reconcile(WANTED)).result is RunResult.CONVERGED


async def test_a_paused_run_that_has_nothing_to_do_is_paused_too() -> None:
    paused = account()
    await pause(paused)
    report = await paused.reconcile({VANS: [A, B], DEPOT: []})
    assert (report.result, report.exit_code) == (RunResult.PAUSED, 0)


async def test_a_pause_ends_at_its_time() -> None:
    paused = account()
    await pause(paused, minutes=5)
    builder = paused.new_plan_builder(doubles.Source(WANTED))
    found = await builder.build()
    assert found.next_boundary == paused.wall.now() + datetime.timedelta(minutes=5)
    await anyio.sleep(360)
    assert (await paused.reconcile(WANTED)).result is RunResult.CONVERGED


async def test_a_paused_fleet_is_left_out_and_who_would_join_it_loses_no_other() -> None:
    paused = account()
    await pause(paused, DEPOT)
    report = await paused.reconcile(WANTED)
    assert {(each.change.driver, each.change.fleet, each.outcome.name) for each in report.results} == {
        (C, VANS, "applied"),
        (A, VANS, "deferred"),
    }
    assert {each.outcome.code for each in report.results if isinstance(each.outcome, Deferred)} == {"attach_first"}
    assert paused.fleets_of(A) == {VANS}
    assert report.exit_code == 4


async def test_a_run_with_nothing_but_a_paused_fleet_is_paused() -> None:
    paused = account()
    await pause(paused, VANS)
    report = await paused.reconcile({VANS: [A, B, C], DEPOT: []})
    assert (report.result, report.exit_code, paused.writes) == (RunResult.PAUSED, 0, [])


async def test_a_run_that_leaves_out_a_paused_fleet_is_not_converged() -> None:
    paused = account()
    await pause(paused, VANS)
    report = await paused.reconcile({VANS: [A, B, C], DEPOT: [B]})
    assert paused.writes == [f"POST /drivers/{B}/attach"]
    assert (report.result, report.exit_code) == (RunResult.PAUSED, 0)


async def test_a_driver_of_whom_one_fleet_is_paused_does_not_end_up_as_wanted() -> None:
    paused = account()
    await pause(paused, VANS)
    report = await paused.reconcile({VANS: [B, C], DEPOT: [A]})
    assert paused.fleets_of(A) == {VANS, DEPOT}
    assert (report.result, report.exit_code) == (RunResult.PARTIAL, 4)
    assert {each.change: getattr(each.outcome, "code", None) for each in report.results} == {
        Change(Action.ATTACH, A, FleetId(DEPOT)): None,
        Change(Action.DETACH, A, FleetId(VANS)): "writes_paused",
    }


async def test_what_an_approval_allowed_in_a_paused_fleet_needs_another_one() -> None:
    paused = harness.Harness(
        harness.state_of({VANS: [A, B], DEPOT: [B, C]}), limits=guard.Limits(always_allow=0, max_detach_fraction=1.0)
    )
    wanted = {VANS: [B], DEPOT: [B]}
    held = await paused.reconcile(wanted)
    await pause(paused, VANS)
    report = await paused.reconcile(wanted, approved=held.held_digest)
    assert paused.state.memberships() == {(A, VANS), (B, VANS), (B, DEPOT)}
    assert report.result is RunResult.PAUSED
    assert [str(each) for each in report.problems] == [
        "pause: approved changes of paused fleets: 1 left out, to be approved again"
    ]


async def test_a_paused_fleet_hides_nothing_that_is_wrong_elsewhere() -> None:
    """A held change of another fleet, or a reference that leads nowhere, keeps its exit code."""
    paused = account(limits=guard.Limits(always_allow=0))
    await pause(paused, VANS)
    held = await paused.reconcile({VANS: [A, B, C], DEPOT: []})
    assert (held.result, held.exit_code) == (RunResult.PAUSED, 0)
    paused.state.attach(B, DEPOT)
    held = await paused.reconcile({VANS: [A, B, C], DEPOT: []})
    assert (held.result, held.exit_code, paused.writes) == (RunResult.HELD, 3, [])
    unresolved = await paused.reconcile({VANS: [A, B, C], DEPOT: [B, harness.GHOST]})
    assert (unresolved.result, unresolved.exit_code, paused.writes) == (RunResult.PARTIAL, 4, [])


async def test_a_pause_during_a_run_defers_what_is_left() -> None:
    members = [harness.driver_id(letter) for letter in "ABCDEFGHIJ"]
    busy = harness.Harness(
        harness.state_of({VANS: []}, others=members), concurrency=1, quirks=quirks.Quirks(latency_seconds=0.5)
    )

    async with anyio.create_task_group() as tasks:

        async def pause_soon() -> None:
            while len(busy.writes) < 3:  # noqa: ASYNC110 - in virtual time
                await anyio.sleep(0.01)
            await pause(busy)

        tasks.start_soon(pause_soon)
        report = await busy.reconcile({VANS: members})
    names = [each.outcome.name for each in report.results]
    assert 3 <= names.count("applied") <= 6
    assert set(names) == {"applied", "deferred"}
    assert {getattr(each.outcome, "code", "writes_paused") for each in report.results} == {"writes_paused"}
    assert report.exit_code == 4
    assert len(busy.fleets_of(members[-1])) == 0


@pytest.mark.parametrize("fleet", [None, DEPOT])
async def test_a_saved_plan_is_refused_during_a_pause_unless_the_operator_insists(fleet: str | None) -> None:
    paused = account()
    saved = (await paused.new_plan_builder(doubles.Source(WANTED)).build()).guarded
    await pause(paused, fleet)
    report = await paused.new_reconciler().apply(saved)
    assert isinstance(report.error, Paused)
    assert (report.exit_code, paused.writes) == (3, [])
    report = await paused.new_reconciler().apply(saved, during_pause=True)
    assert report.result is RunResult.CONVERGED


@pytest.mark.parametrize("fleet", [None, DEPOT])
async def test_a_clock_that_is_ahead_ends_no_pause_for_a_saved_plan(fleet: str | None) -> None:
    paused = account()
    saved = (await paused.new_plan_builder(doubles.Source(WANTED)).build()).guarded
    await pause(paused, fleet, minutes=30)
    paused.wall.ahead = datetime.timedelta(hours=1)
    report = await paused.new_reconciler().apply(saved)
    assert isinstance(report.error, Paused)
    assert (report.exit_code, paused.writes) == (3, [])


async def test_a_saved_plan_without_changes_is_refused_during_a_pause_of_all_fleets() -> None:
    paused = account()
    saved = (await paused.new_plan_builder(doubles.Source({VANS: [A, B], DEPOT: []})).build()).guarded
    assert saved.changes == ()
    await pause(paused, VANS)
    assert (await paused.new_reconciler().apply(saved)).exit_code == 0
    await pause(paused)
    report = await paused.new_reconciler().apply(saved)
    assert isinstance(report.error, Paused)
    assert report.exit_code == 3
    assert (await paused.new_reconciler().apply(saved, during_pause=True)).exit_code == 0


async def test_a_saved_plan_of_other_fleets_is_applied() -> None:
    paused = account()
    saved = (await paused.new_plan_builder(doubles.Source(WANTED)).build()).guarded
    await pause(paused, harness.NORTH)
    assert (await paused.new_reconciler().apply(saved)).result is RunResult.CONVERGED
