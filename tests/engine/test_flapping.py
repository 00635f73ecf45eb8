"""Two writers that fight over a membership: repaired, repaired again, and then frozen."""

import datetime

import anyio
import pytest

from tests.support import doubles, harness
from tests.support.harness import DEPOT, NORTH, VANS, A, B, C
from worker.core.model.plan import Action, Change
from worker.core.model.report import Report, RunResult
from worker.core.safety import guard

pytestmark = pytest.mark.anyio

WANTED: harness.Wanted = {VANS: [A, B], DEPOT: [C]}
HOUR = 3600


def _account() -> harness.Harness:
    """Return an account in which A is wanted in VANS, and is not there yet."""
    return harness.Harness(harness.state_of({VANS: [B], DEPOT: [C], NORTH: [A]}))


async def _fight(
    account_harness: harness.Harness, wanted: harness.Wanted = WANTED, *, rounds: int = 3, every: float = 300
) -> None:
    """Attach in this many runs, with somebody else who takes it back each time."""
    for _ in range(rounds):
        assert harness.outcome(await account_harness.reconcile(wanted), A, VANS) == "applied"
        await anyio.sleep(every / 2)
        account_harness.state.detach(A, VANS)
        await anyio.sleep(every / 2)


def _frozen(finished: Report) -> list[Change]:
    assert finished.guarded is not None
    assert {held.guard for held in finished.guarded.held} <= {guard.FLAPPING}
    return [held.change for held in finished.guarded.held]


async def test_argo_cd_and_external_dns_two_controllers_that_fight_are_noticed_frozen_and_both_sides_reported() -> None:
    """18417, 1771: they fought until control planes ran out of memory.

    Repaired drift that comes back is repaired again (its second write has a new key); the third reversal freezes it.
    """
    account_harness = _account()
    await _fight(account_harness)
    writes = [request for request in account_harness.sandbox.requests if request.method == "POST"]
    assert len(writes) == len({request.key for request in writes}) == 3
    for _ in range(4):
        finished = await account_harness.reconcile(WANTED)
        assert (finished.exit_code, finished.result) == (3, RunResult.HELD)
        assert [(change.action, change.driver, change.fleet) for change in _frozen(finished)] == [
            (Action.ATTACH, A, VANS)
        ]
        await anyio.sleep(2 * 24 * HOUR)
    assert len(account_harness.writes) == 3
    assert finished.guarded is not None
    (held,) = finished.guarded.held
    ours = [change.recorded for change in await account_harness.memory.changes(driver=A)]
    runs = sorted(each.started for each in account_harness.memory.reports.values())[1:3]
    for moment in (*ours, *runs):
        assert moment.strftime("%Y-%m-%dT%H:%M:%S") in held.message
    assert "each time another client reverted it" in held.message


async def test_a_plan_shows_the_frozen_membership_too() -> None:
    account_harness = _account()
    await _fight(account_harness)
    plan_result = await account_harness.new_plan_builder(doubles.Source(WANTED)).build()
    assert [held.guard for held in plan_result.guarded.held] == [guard.FLAPPING]


async def test_the_driver_of_a_frozen_attach_keeps_the_fleet_that_he_was_to_leave() -> None:
    account_harness = _account()
    await _fight(account_harness)
    account_harness.state.attach(A, DEPOT)
    finished = await account_harness.reconcile(WANTED)
    assert [(change.action, change.fleet) for change in _frozen(finished)] == [
        (Action.ATTACH, VANS),
        (Action.DETACH, DEPOT),
    ]
    assert A in account_harness.state.members(DEPOT)


async def test_everybody_else_goes_on() -> None:
    account_harness = _account()
    await _fight(account_harness)
    account_harness.state.detach(B, VANS)
    finished = await account_harness.reconcile(WANTED)
    assert harness.outcome(finished, B, VANS) == "applied"
    assert len(_frozen(finished)) == 1


async def test_drift_that_comes_back_every_day_is_repaired_every_day() -> None:
    account_harness = _account()
    await _fight(account_harness, rounds=6, every=13 * HOUR)
    assert len(account_harness.writes) == 6


async def test_to_edit_the_row_or_to_want_the_opposite_for_once_begins_anew() -> None:
    account_harness = _account()
    await _fight(account_harness)
    by_address: harness.Wanted = {**WANTED, VANS: [f"{A[4:].lower()}@example.com", B]}
    await _fight(account_harness, by_address)
    assert len(_frozen(await account_harness.reconcile(by_address))) == 1
    account_harness.state.attach(A, VANS)
    await account_harness.reconcile({**WANTED, VANS: [B]})
    await _fight(account_harness, by_address)
    assert len(account_harness.requests(f"{A}/attach")) == 9


async def test_an_approval_lets_it_through_once() -> None:
    account_harness = _account()
    await _fight(account_harness)
    held = (await account_harness.reconcile(WANTED)).guarded
    assert held is not None
    assert harness.outcome(await account_harness.reconcile(WANTED, approved=held.held_digest), A, VANS) == "applied"
    account_harness.state.detach(A, VANS)
    assert len(_frozen(await account_harness.reconcile(WANTED))) == 1


async def test_an_approval_for_a_day_lets_it_through_once_too() -> None:
    account_harness = _account()
    await _fight(account_harness)
    held = (await account_harness.reconcile(WANTED)).guarded
    assert held is not None
    now = account_harness.wall.now()
    await account_harness.memory.approve(held.held_digest, now=now, until=now + datetime.timedelta(hours=24))
    written = len(account_harness.writes)
    for _ in range(6):
        await account_harness.reconcile(WANTED)
        await anyio.sleep(150)
        account_harness.state.detach(A, VANS)
        await anyio.sleep(150)
    assert len(account_harness.writes) == written + 1


async def test_an_approval_is_not_used_up_by_a_run_that_leaves_the_frozen_change_out() -> None:
    account_harness = _account()
    await _fight(account_harness)
    held = (await account_harness.reconcile(WANTED)).guarded
    assert held is not None
    builder = account_harness.new_plan_builder(doubles.Source(WANTED))
    plan_result = await builder.build(approved=held.held_digest)
    assert plan_result.guarded.approval_used_by(()) is None
    assert plan_result.guarded.approval_used_by(plan_result.guarded.changes) == held.held_digest


async def test_a_detach_that_somebody_takes_back_is_frozen_too() -> None:
    account_harness = harness.Harness(harness.state_of({VANS: [A, B]}))
    for _ in range(3):
        assert harness.outcome(await account_harness.reconcile({VANS: [B]}), A, VANS) == "applied"
        account_harness.state.attach(A, VANS)
        await anyio.sleep(300)
    assert [change.action for change in _frozen(await account_harness.reconcile({VANS: [B]}))] == [Action.DETACH]


async def test_a_run_with_nothing_to_change_does_not_ask_for_what_was_written() -> None:
    """It must stay as quick as it was."""
    account_harness = _account()
    await account_harness.reconcile(WANTED)
    asked: list[object] = []
    account_harness.memory.latest = lambda drivers, *, most: asked.append(drivers)  # type: ignore[method-assign,assignment,return-value]
    assert (await account_harness.reconcile(WANTED)).result is RunResult.IN_SYNC
    assert asked == []
