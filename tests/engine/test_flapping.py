"""Two writers that fight over a membership: repaired, repaired again, and then frozen."""

import datetime

import anyio
import pytest

from tests.support import doubles
from tests.support import rig as rigs
from tests.support.rig import DEPOT, VANS, A, B, C
from worker.core import values
from worker.core.model.outcomes import Deferred
from worker.core.model.report import Report, RunResult
from worker.core.safety import guard

pytestmark = pytest.mark.anyio

WANTED: rigs.Wanted = {VANS: [A, B], DEPOT: [C]}
HOUR = 3600


def _account() -> rigs.Rig:
    """A rig in which A is to be in VANS, and is not yet."""
    return rigs.Rig(rigs.roster_of({VANS: [B], DEPOT: [C]}, others=[A]))


async def _fight(rig: rigs.Rig, wanted: rigs.Wanted = WANTED, *, rounds: int = 3, every: float = 300) -> None:
    """Attach in this many runs, with somebody else who takes it back each time."""
    for _ in range(rounds):
        assert rigs.outcome(await rig.reconcile(wanted), A, VANS) == "applied"
        await anyio.sleep(every / 2)
        rig.roster.detach(A, VANS)
        await anyio.sleep(every / 2)


def _frozen(finished: Report) -> list[values.Change]:
    assert finished.guarded is not None
    assert {held.guard for held in finished.guarded.held} <= {guard.FLAPPING}
    return [held.change for held in finished.guarded.held]


async def test_argo_cd_and_external_dns_two_controllers_that_fight_are_noticed_frozen_and_both_sides_reported() -> None:
    """18417, 1771: they fought until control planes ran out of memory.

    Repaired drift that comes back is repaired again (its second write has a new key); the third reversal freezes it.
    """
    rig = _account()
    await _fight(rig)
    writes = [request for request in rig.sandbox.requests if request.method == "POST"]
    assert len(writes) == len({request.key for request in writes}) == 3
    for _ in range(4):
        finished = await rig.reconcile(WANTED)
        assert (finished.exit_code, finished.result) == (3, RunResult.HELD)
        assert [(change.action, change.driver, change.fleet) for change in _frozen(finished)] == [
            (values.Action.ATTACH, A, VANS)
        ]
        await anyio.sleep(2 * 24 * HOUR)
    assert len(rig.writes) == 3
    assert finished.guarded is not None
    (held,) = finished.guarded.held
    ours = [change.recorded for change in await rig.memory.changes(driver=A)]
    runs = sorted(each.started for each in rig.memory.reports.values())[1:3]
    for moment in (*ours, *runs):
        assert moment.strftime("%Y-%m-%dT%H:%M:%S") in held.message
    assert "each time somebody else reversed it" in held.message


async def test_a_plan_shows_the_frozen_membership_too() -> None:
    rig = _account()
    await _fight(rig)
    survey = await rig.surveyor(doubles.Source(WANTED)).survey()
    assert [held.guard for held in survey.guarded.held] == [guard.FLAPPING]


async def test_the_driver_of_a_frozen_attach_keeps_the_fleet_that_he_was_to_leave() -> None:
    rig = _account()
    await _fight(rig)
    rig.roster.attach(A, DEPOT)
    finished = await rig.reconcile(WANTED)
    assert [(change.action, change.fleet) for change in _frozen(finished)] == [
        (values.Action.ATTACH, VANS),
        (values.Action.DETACH, DEPOT),
    ]
    assert A in rig.roster.members(DEPOT)


async def test_everybody_else_goes_on() -> None:
    rig = _account()
    await _fight(rig)
    rig.roster.detach(B, VANS)
    finished = await rig.reconcile(WANTED)
    assert rigs.outcome(finished, B, VANS) == "applied"
    assert len(_frozen(finished)) == 1


async def test_drift_that_comes_back_every_day_is_repaired_every_day() -> None:
    rig = _account()
    await _fight(rig, rounds=6, every=13 * HOUR)
    assert len(rig.writes) == 6


async def test_to_edit_the_row_or_to_want_the_opposite_for_once_begins_anew() -> None:
    rig = _account()
    await _fight(rig)
    by_address: rigs.Wanted = {**WANTED, VANS: [f"{A[4:].lower()}@example.com", B]}
    await _fight(rig, by_address)
    assert len(_frozen(await rig.reconcile(by_address))) == 1
    rig.roster.attach(A, VANS)
    await rig.reconcile({**WANTED, VANS: [B]})
    await _fight(rig, by_address)
    assert len(rig.requests(f"{A}/attach")) == 9


async def test_an_approval_lets_it_through_once() -> None:
    rig = _account()
    await _fight(rig)
    held = (await rig.reconcile(WANTED)).guarded
    assert held is not None
    assert rigs.outcome(await rig.reconcile(WANTED, approved=held.digest), A, VANS) == "applied"
    rig.roster.detach(A, VANS)
    assert len(_frozen(await rig.reconcile(WANTED))) == 1


async def test_an_approval_for_a_day_lets_it_through_once_too() -> None:
    rig = _account()
    await _fight(rig)
    held = (await rig.reconcile(WANTED)).guarded
    assert held is not None
    now = rig.wall.now()
    await rig.memory.approve(held.digest, now=now, until=now + datetime.timedelta(hours=24))
    written = len(rig.writes)
    for _ in range(6):
        await rig.reconcile(WANTED)
        await anyio.sleep(150)
        rig.roster.detach(A, VANS)
        await anyio.sleep(150)
    assert len(rig.writes) == written + 1


async def test_an_approval_is_not_used_up_by_a_run_that_leaves_the_frozen_change_out() -> None:
    rig = _account()
    await _fight(rig)
    held = (await rig.reconcile(WANTED)).guarded
    assert held is not None
    now = rig.wall.now()
    await rig.memory.approve(held.digest, now=now, until=now + datetime.timedelta(hours=24))
    later = Deferred(0, "refused_before", "later")
    for postpone in (lambda changes, now: dict.fromkeys(changes, later), lambda changes, now: {}):
        finished = await rig.cycle(doubles.Source(WANTED), postpone=postpone).reconcile(trigger="test")
    assert rigs.outcome(finished, A, VANS) == "applied"


async def test_a_detach_that_somebody_takes_back_is_frozen_too() -> None:
    rig = rigs.Rig(rigs.roster_of({VANS: [A, B]}))
    for _ in range(3):
        assert rigs.outcome(await rig.reconcile({VANS: [B]}), A, VANS) == "applied"
        rig.roster.attach(A, VANS)
        await anyio.sleep(300)
    assert [change.action for change in _frozen(await rig.reconcile({VANS: [B]}))] == [values.Action.DETACH]


async def test_a_run_with_nothing_to_change_does_not_ask_for_what_was_written() -> None:
    """It must stay as quick as it was."""
    rig = _account()
    await rig.reconcile(WANTED)
    asked: list[object] = []
    rig.memory.latest = lambda drivers, *, most: asked.append(drivers)  # type: ignore[method-assign,assignment,return-value]
    assert (await rig.reconcile(WANTED)).result is RunResult.IN_SYNC
    assert asked == []
