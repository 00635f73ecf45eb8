"""Limits over a window, with the journal in between: many small runs may not do what one large run may not."""

import dataclasses
import datetime

import anyio
import pytest

from tests.support import harness
from tests.support.harness import VANS
from worker.core.model.identifiers import DriverId
from worker.core.model.report import Report
from worker.core.safety import guard

pytestmark = pytest.mark.anyio

DRIVERS = [DriverId(f"drv_{number:032d}") for number in range(60)]
HOUR = 3600
LIMITS = guard.Limits(max_detach_fraction=1.0)


def _held(finished: Report) -> set[str]:
    assert finished.guarded is not None
    return {each.guard for each in finished.guarded.held}


async def test_nine_slices_of_two_do_not_take_eighteen_of_twenty() -> None:
    account_harness = harness.Harness(harness.state_of({VANS: DRIVERS[:20]}), limits=LIMITS)
    codes = []
    for slice_ in range(1, 10):
        codes.append((await account_harness.reconcile({VANS: DRIVERS[2 * slice_ : 20]})).exit_code)
        await anyio.sleep(HOUR)
    assert codes == [0, 0, 3, 3, 3, 3, 3, 3, 3]
    assert len(account_harness.state.members(VANS)) == 16


async def test_what_was_approved_does_not_count_and_the_window_ends() -> None:
    account_harness = harness.Harness(harness.state_of({VANS: DRIVERS[:40]}), limits=LIMITS)
    finished = await account_harness.reconcile({VANS: DRIVERS[20:40]})
    assert _held(finished) == {guard.PER_FLEET}
    assert finished.guarded is not None
    approved = await account_harness.reconcile({VANS: DRIVERS[20:40]}, approved=finished.guarded.held_digest)
    assert approved.exit_code == 0
    assert (await account_harness.reconcile({VANS: DRIVERS[25:40]})).exit_code == 0
    assert _held(await account_harness.reconcile({VANS: DRIVERS[28:40]})) == {guard.PER_FLEET}
    await anyio.sleep(24 * HOUR + 1)
    assert (await account_harness.reconcile({VANS: DRIVERS[28:40]})).exit_code == 0


async def test_a_limit_on_attaches_counts_over_the_window_too() -> None:
    limits = guard.Limits(1.0, 1.0, max_attach_fraction_per_fleet=0.5)
    account_harness = harness.Harness(harness.state_of({VANS: DRIVERS[:20]}, others=DRIVERS[20:]), limits=limits)
    assert (await account_harness.reconcile({VANS: DRIVERS[:40]})).exit_code == 0
    assert _held(await account_harness.reconcile({VANS: DRIVERS[:41]})) == {guard.ATTACHES}
    await anyio.sleep(24 * HOUR + 1)
    assert (await account_harness.reconcile({VANS: DRIVERS[:41]})).exit_code == 0


async def test_an_undo_counts_like_any_other_run() -> None:
    """Otherwise runs and their inverses could take turns, and detach any number."""
    limits = guard.Limits(max_detach_fraction=1.0, always_allow=0)
    account_harness = harness.Harness(harness.state_of({VANS: DRIVERS[:20]}, others=DRIVERS[20:24]), limits=limits)
    moved = await account_harness.reconcile({VANS: DRIVERS[4:24]})
    assert moved.exit_code == 0
    undone = await account_harness.new_plan_builder().undo(moved.run, account_harness.memory)
    assert {held.guard for held in undone.guarded.held} == {guard.PER_FLEET}
    assert (len(undone.guarded.changes), len(undone.guarded.held)) == (4, 4)
    assert "after 4 detached and 4 attached" in undone.guarded.held[0].message


async def test_runs_are_not_forgotten_while_they_are_within_the_window() -> None:
    """A journal that keeps runs for a day would free the limits of a longer window every day."""
    limits = dataclasses.replace(LIMITS, window_length=datetime.timedelta(days=5))
    drivers = harness.state_of({VANS: DRIVERS[:20]})
    account_harness = harness.Harness(drivers, limits=limits, keep=datetime.timedelta(days=1))
    codes = []
    for wanted in (DRIVERS[2:20], DRIVERS[4:20], *[DRIVERS[6:20]] * 3):
        codes.append((await account_harness.reconcile({VANS: wanted})).exit_code)
        await anyio.sleep(25 * HOUR)
    assert codes == [0, 0, 3, 3, 3]
