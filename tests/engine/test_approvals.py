"""What an approval allows a run, for how long, and how often: on virtual time."""

import datetime

import anyio
import pytest

from tests.engine import moving_account
from tests.support import harness
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
