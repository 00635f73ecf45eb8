"""A reference that resolves to another one than before, in rows that want nothing yet."""

import datetime

import anyio
import pytest

from tests.engine import accounts
from tests.support import clocks, harness
from tests.support.harness import DEPOT, VANS, A, B, C, D
from worker.core.model.report import Report, RunResult
from worker.core.safety import guard

pytestmark = pytest.mark.anyio

SAM = "sam@example.com"
DAY = datetime.timedelta(days=1)
FROM_TOMORROW = clocks.NOON + DAY, clocks.NOON + 100 * DAY
ALWAYS = clocks.NOON - DAY, clocks.NOON + 100 * DAY


def _account() -> harness.Harness:
    account_harness = harness.Harness(harness.state_of({VANS: [D], DEPOT: [D]}, others=[A, B, C]))
    account_harness.state.change_driver(A, email=SAM)
    return account_harness


async def _reconcile(
    account_harness: harness.Harness,
    wanted: harness.Wanted,
    *,
    dates: tuple[datetime.datetime, datetime.datetime] = FROM_TOMORROW,
    approved: str | None = None,
) -> Report:
    run = account_harness.new_reconciler(accounts.Dated(wanted, **{SAM: dates}))
    return await run.reconcile(trigger="test", approved=approved)


def _held(finished: Report) -> set[tuple[str, str]]:
    return {(each.change.driver, each.guard) for each in finished.guarded.held} if finished.guarded else set()


def _move(account_harness: harness.Harness) -> None:
    account_harness.state.change_driver(A, email="old@example.com")
    account_harness.state.change_driver(B, email=SAM)


@pytest.mark.parametrize("ahead", [0, 50], ids=["right", "wrong for a while"])
async def test_an_address_that_moved_before_its_row_begins_is_held_when_it_begins(ahead: int) -> None:
    """A run that had nothing to do remembered the new driver, and the attach passed when its day came."""
    account_harness = _account()
    wanted: harness.Wanted = {VANS: [D, SAM], DEPOT: [D]}
    dates = ALWAYS if ahead else FROM_TOMORROW
    account_harness.wall.ahead = ahead * DAY
    await _reconcile(account_harness, wanted, dates=dates)
    _move(account_harness)
    await _reconcile(account_harness, wanted, dates=dates)
    account_harness.wall.ahead = datetime.timedelta()
    await anyio.sleep((DAY + DAY / 24).total_seconds())
    finished = await _reconcile(account_harness, wanted, dates=dates)
    assert _held(finished) == {(B, guard.REFERENCE_MOVED)}
    assert account_harness.fleets_of(B) == frozenset()
    finished = await _reconcile(account_harness, wanted, dates=dates, approved=finished.held_digest)
    assert finished.result is RunResult.CONVERGED
    assert (await _reconcile(account_harness, {VANS: [D], DEPOT: [D, SAM]}, dates=dates)).exit_code == 0


async def test_a_name_that_moved_before_a_row_of_its_fleet_begins_is_held_when_it_begins() -> None:
    account_harness = _account()
    wanted: harness.Wanted = {VANS: [D], "Fleet W": [D, SAM]}
    await _reconcile(account_harness, wanted)
    account_harness.state.change_fleet(DEPOT, name="Archive")
    account_harness.state.add_fleet(id=harness.NORTH, name="Fleet W")
    account_harness.state.attach(D, harness.NORTH)
    await _reconcile(account_harness, wanted)
    await anyio.sleep((DAY + DAY / 24).total_seconds())
    assert _held(await _reconcile(account_harness, wanted)) == {(A, guard.REFERENCE_MOVED)}


async def test_an_address_that_moved_is_approved_once_and_not_again_when_another_row_of_it_begins() -> None:
    account_harness = _account()
    wanted: harness.Wanted = {VANS: [D, SAM], DEPOT: [D]}
    await _reconcile(account_harness, wanted)
    _move(account_harness)
    wanted = {VANS: [D, SAM], DEPOT: [D, B]}
    finished = await _reconcile(account_harness, wanted)
    assert _held(finished) == {(B, guard.REFERENCE_MOVED)}
    assert (await _reconcile(account_harness, wanted, approved=finished.held_digest)).exit_code == 0
    await anyio.sleep((DAY + DAY / 24).total_seconds())
    assert (await _reconcile(account_harness, wanted)).exit_code == 0
    assert account_harness.fleets_of(B) == {VANS, DEPOT}


async def test_an_address_that_moved_while_a_row_does_not_resolve_is_held_when_it_does() -> None:
    """The detach was not planned, so nothing was held, and it passed as soon as the other row was corrected."""
    account_harness = _account()
    wanted: harness.Wanted = {VANS: [D, SAM], DEPOT: [D]}
    account_harness.state.attach(A, VANS)
    account_harness.state.attach(B, VANS)
    await _reconcile(account_harness, {VANS: [D, SAM, B], DEPOT: [D]}, dates=ALWAYS)
    _move(account_harness)
    await _reconcile(account_harness, {VANS: [D, SAM, harness.GHOST], DEPOT: [D]}, dates=ALWAYS)
    finished = await _reconcile(account_harness, wanted, dates=ALWAYS)
    assert _held(finished) == {(A, guard.REFERENCE_MOVED)}
    assert (await _reconcile(account_harness, wanted, dates=ALWAYS, approved=finished.held_digest)).exit_code == 0


async def test_an_approved_move_is_learned_although_charge_refuses_one_of_its_changes() -> None:
    """Otherwise everything about the drivers would be held until Charge accepts it."""
    account_harness = _account()
    account_harness.state.change_fleet(DEPOT, status="archived")
    wanted: harness.Wanted = {VANS: [D, SAM], DEPOT: [D, B]}
    assert (await _reconcile(account_harness, wanted, dates=ALWAYS)).counts["refused"] == 1
    _move(account_harness)
    finished = await _reconcile(account_harness, wanted, dates=ALWAYS)
    assert _held(finished) == {(A, guard.REFERENCE_MOVED), (B, guard.REFERENCE_MOVED)}
    finished = await _reconcile(account_harness, wanted, dates=ALWAYS, approved=finished.held_digest)
    assert (finished.counts["applied"], finished.counts["deferred"]) == (2, 1)
    assert _held(await _reconcile(account_harness, wanted, dates=ALWAYS)) == set()


async def test_an_address_that_moved_after_its_last_row_ended_is_learned() -> None:
    account_harness = _account()
    wanted: harness.Wanted = {VANS: [D, SAM], DEPOT: [D]}
    past = clocks.NOON - 2 * DAY, clocks.NOON - DAY
    await _reconcile(account_harness, wanted, dates=past)
    _move(account_harness)
    await _reconcile(account_harness, wanted, dates=past)
    assert (await account_harness.memory.resolutions())[SAM] == B
