"""Undoing a run, over several runs that were stopped, refused or answered late: nobody is left in no fleet by that."""

import random
from collections.abc import Mapping

import anyio
import pytest

from tests.support import doubles, harness, laws
from worker.core.model.errors import Stopped
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.report import Report
from worker.engine import reconciler
from worker.sandbox import faults

pytestmark = pytest.mark.anyio

DRIVERS = [DriverId(f"drv_{number:032d}") for number in range(6)]
FLEETS = [harness.VANS, harness.DEPOT, harness.NORTH]
FAULTS = ("500", "503", "hang_after", "refused", "reset_after", "late")

Memberships = Mapping[DriverId, frozenset[FleetId]]


def _memberships(account_harness: harness.Harness) -> Memberships:
    return {driver: account_harness.fleets_of(driver) for driver in DRIVERS}


def _document(chance: random.Random, *, share: float) -> dict[FleetId, list[DriverId]]:
    return {fleet: [driver for driver in DRIVERS if chance.random() < share] for fleet in FLEETS}


async def _run(account_harness: harness.Harness, run: reconciler.Reconciler, *, stopped_after: float | None) -> Report:
    """Do a run, which is stopped after so many seconds if any are given."""
    own = account_harness.run_cancellation
    async with anyio.create_task_group() as tasks:

        async def stop() -> None:
            if stopped_after is not None:
                await anyio.sleep(stopped_after)
                own.request_stop(Stopped("ended by SIGTERM", exit_code=143))

        tasks.start_soon(stop)
        finished = await run.reconcile(trigger="test")
        tasks.cancel_scope.cancel()
    return finished


@pytest.mark.parametrize("seed", range(95, 95 + laws.tries(20)))
async def test_an_undo_leaves_nobody_in_no_fleet_whom_the_run_found_in_one(seed: int) -> None:
    """Only drivers that it changes count: a late write of an earlier run may land meanwhile."""
    chance = random.Random(seed)
    held = harness.state_of(_document(chance, share=0.5), others=DRIVERS)
    account_harness = harness.Harness(held, timeout=2, concurrency=2)
    found: list[tuple[Report, Memberships]] = []
    for _ in range(chance.randint(1, 3)):
        account_harness.sandbox.faults = faults.Faults({name: chance.choice([0, 0, 0.15]) for name in FAULTS})
        before = _memberships(account_harness)
        run = account_harness.new_reconciler(doubles.Source(_document(chance, share=0.35)))
        stopped_after = chance.random() / 2 if chance.random() < 0.4 else None
        found.append((await _run(account_harness, run, stopped_after=stopped_after), before))
        await anyio.sleep(chance.choice([0, 0, 200]))
    account_harness.sandbox.faults = faults.NONE
    undone, at_first = chance.choice(found)
    plan = (await account_harness.new_plan_builder().undo(undone.run, account_harness.memory)).guarded
    before = _memberships(account_harness)
    await account_harness.new_reconciler().apply(plan)
    after = _memberships(account_harness)
    for driver in sorted({change.driver for change in plan.changes}):
        assert after[driver] or not (before[driver] and at_first[driver])
