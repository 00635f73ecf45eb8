"""What an approval allows a run, for how long, and how often: on virtual time."""

import datetime

import anyio
import pytest

from tests.engine import moving_account
from tests.support import harness
from worker.core.model.desired import FleetById
from worker.core.model.pauses import Pause
from worker.core.safety import guard

pytestmark = pytest.mark.anyio

DAY = guard.APPROVAL_LIFETIME / datetime.timedelta(hours=1)


@pytest.mark.parametrize(("hours", "code"), [(0, 0), (DAY - 0.01, 0), (DAY, 3), (100, 3)])
async def test_an_approval_holds_for_a_day(hours: float, code: int) -> None:
    account_harness = harness.Harness(moving_account.account(), limits=guard.Limits())
    wanted = {moving_account.VANS: moving_account.DRIVERS[:20]}
    held = (await account_harness.reconcile(wanted)).guarded
    assert held is not None
    now = account_harness.wall.now()
    await account_harness.memory.approve(held.held_digest, now=now, until=now + guard.APPROVAL_LIFETIME)
    await anyio.sleep(hours * 3600)
    assert (await account_harness.reconcile(wanted)).exit_code == code
    assert len(account_harness.state.members(moving_account.VANS)) == (20 if code == 0 else 40)


async def test_an_approval_allows_a_mistake_once() -> None:
    """Held, approved, applied, undone by hand, and made again: it was applied again, unasked, all day."""
    account_harness = harness.Harness(moving_account.account(), limits=guard.Limits())
    wanted = {moving_account.VANS: moving_account.DRIVERS[:20]}
    held = (await account_harness.reconcile(wanted)).guarded
    assert held is not None
    now = account_harness.wall.now()
    await account_harness.memory.approve(held.held_digest, now=now, until=now + guard.APPROVAL_LIFETIME)
    assert (await account_harness.reconcile(wanted)).exit_code == 0
    moving_account.all_back(account_harness)
    for _ in range(3):
        assert (await account_harness.reconcile(wanted)).exit_code == 3
    assert len(account_harness.state.members(moving_account.VANS)) == 40


async def test_an_approval_dated_in_the_future_allows_nothing() -> None:
    account_harness = harness.Harness(moving_account.account(), limits=guard.Limits())
    wanted = {moving_account.VANS: moving_account.DRIVERS[:20]}
    held = (await account_harness.reconcile(wanted)).guarded
    assert held is not None
    later = account_harness.wall.now() + datetime.timedelta(hours=1)
    await account_harness.memory.approve(held.held_digest, now=later, until=later + guard.APPROVAL_LIFETIME)
    assert (await account_harness.reconcile(wanted)).exit_code == 3


async def test_an_approval_lifts_no_must_see() -> None:
    """There the reading is wrong, and no approval makes it right."""
    account_harness = harness.Harness(
        moving_account.account(),
        limits=guard.Limits(must_see=frozenset({(moving_account.DRIVERS[0], moving_account.DEPOT)})),
    )
    held = (await account_harness.reconcile({moving_account.VANS: moving_account.DRIVERS[1:]})).guarded
    assert held is not None
    await account_harness.memory.approve(
        held.held_digest,
        now=account_harness.wall.now(),
        until=account_harness.wall.now() + datetime.timedelta(hours=24),
    )
    for approved in (None, held.held_digest):
        assert (
            await account_harness.reconcile({moving_account.VANS: moving_account.DRIVERS[1:]}, approved=approved)
        ).exit_code == 3
    assert account_harness.writes == []


def _exchanged() -> tuple[harness.Harness, dict[str, list[str]]]:
    """Return an account whose two fleets will exchange names, and what is wanted of them."""
    wanted = {"Fleet V": [harness.A, harness.B], "Fleet W": [harness.C, harness.D]}
    held = harness.state_of({harness.VANS: wanted["Fleet V"], harness.DEPOT: wanted["Fleet W"]})
    return harness.Harness(held), {name: list(drivers) for name, drivers in wanted.items()}


def _exchange(account_harness: harness.Harness) -> None:
    account_harness.state.change_fleet(harness.VANS, name="Fleet W")
    account_harness.state.change_fleet(harness.DEPOT, name="Fleet V")


async def _approve(account_harness: harness.Harness, digest: str) -> None:
    now = account_harness.wall.now()
    await account_harness.memory.approve(digest, now=now, until=now + guard.APPROVAL_LIFETIME)


async def test_an_approval_that_a_paused_run_meets_is_used_by_the_run_after_the_pause() -> None:
    """The paused run remembered what was approved: the next one needed no approval, and left it for another time."""
    account_harness, wanted = _exchanged()
    memory = account_harness.memory
    await account_harness.reconcile(wanted)
    _exchange(account_harness)
    digest = (await account_harness.reconcile(wanted)).held_digest
    await memory.pause(Pause(account_harness.wall.now()))
    await _approve(account_harness, digest)
    assert (await account_harness.reconcile(wanted)).result == "paused"
    await memory.resume(now=account_harness.wall.now(), by="Emma")
    assert (await account_harness.reconcile(wanted)).result == "converged"
    assert await memory.approvals(now=account_harness.wall.now()) == frozenset()


async def test_an_approval_that_a_run_of_one_fleet_uses_up_leaves_the_other_fleets_held() -> None:
    """The run remembered both fleets as approved, and the changes of the other one passed without any approval."""
    account_harness, wanted = _exchanged()
    await account_harness.reconcile(wanted)
    _exchange(account_harness)
    wanted["Fleet V"].append(harness.C)
    wanted["Fleet W"].append(harness.A)
    await _approve(account_harness, (await account_harness.reconcile(wanted)).held_digest)
    account_harness.only = frozenset({FleetById(harness.VANS)})
    await account_harness.reconcile(wanted)
    assert await account_harness.memory.approvals(now=account_harness.wall.now()) == frozenset()
    before = account_harness.state.members(harness.DEPOT)
    account_harness.only = frozenset()
    assert (await account_harness.reconcile(wanted)).exit_code == 3
    assert account_harness.state.members(harness.DEPOT) == before


async def test_an_approval_that_is_used_up_while_one_fleet_is_paused_leaves_that_fleet_held() -> None:
    """The run remembered both fleets as approved, and after the pause the other changes passed without any."""
    account_harness, wanted = _exchanged()
    memory = account_harness.memory
    await account_harness.reconcile(wanted)
    _exchange(account_harness)
    wanted["Fleet V"].append(harness.C)
    wanted["Fleet W"].append(harness.A)
    await _approve(account_harness, (await account_harness.reconcile(wanted)).held_digest)
    await memory.pause(Pause(account_harness.wall.now(), fleet=harness.DEPOT))
    await account_harness.reconcile(wanted)
    assert await memory.approvals(now=account_harness.wall.now()) == frozenset()
    before = account_harness.state.members(harness.DEPOT)
    await memory.resume(now=account_harness.wall.now(), by="Emma")
    assert (await account_harness.reconcile(wanted)).exit_code == 3
    assert account_harness.state.members(harness.DEPOT) == before


async def test_an_approval_of_changes_of_a_paused_fleet_is_used_by_the_run_after_the_pause() -> None:
    account_harness, wanted = _exchanged()
    memory = account_harness.memory
    await account_harness.reconcile(wanted)
    _exchange(account_harness)
    wanted["Fleet V"] = [harness.C, harness.D, harness.A]
    wanted["Fleet W"] = [harness.A, harness.B]
    await _approve(account_harness, (await account_harness.reconcile(wanted)).held_digest)
    await memory.pause(Pause(account_harness.wall.now(), fleet=harness.DEPOT))
    assert (await account_harness.reconcile(wanted)).result == "paused"
    await memory.resume(now=account_harness.wall.now(), by="Emma")
    assert (await account_harness.reconcile(wanted)).result == "converged"
    assert await memory.approvals(now=account_harness.wall.now()) == frozenset()
