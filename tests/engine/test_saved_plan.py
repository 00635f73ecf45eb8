"""A saved plan: done as it is, as far as it still fits, and nothing else."""

import pytest

from tests.engine import accounts
from tests.support import doubles
from tests.support import rig as rigs
from tests.support.rig import VANS, A, B, C, D
from worker.core import values
from worker.core.pacing import retry_policy
from worker.core.safety import guard
from worker.sandbox import faults

pytestmark = pytest.mark.anyio
QUICK = retry_policy.RetryPolicy(max_attempts=2, base_seconds=0.5)


async def _saved(rig: rigs.Rig, wanted: rigs.Wanted) -> values.Judged:
    return (await rig.surveyor(doubles.Source(wanted)).survey()).guarded


async def test_a_saved_plan_is_done_and_nothing_else() -> None:
    rig = rigs.Rig(accounts.account())
    saved = await _saved(rig, accounts.WANTED)
    rig.roster.attach(C, VANS)
    finished = await rig.cycle().apply(saved)
    assert rig.roster.memberships() == accounts.AFTER | {(C, VANS)}
    assert (finished.exit_code, finished.counts["applied"], finished.guarded) == (0, 3, saved)


async def test_a_change_that_no_longer_fits_is_stale_and_left_undone() -> None:
    rig = rigs.Rig(accounts.account())
    saved = await _saved(rig, accounts.WANTED)
    rig.roster.attach(D, VANS)
    rig.roster.detach(A, VANS)
    rig.sandbox.requests.clear()
    finished = await rig.cycle().apply(saved)
    assert (finished.exit_code, finished.counts["stale"], finished.counts["applied"]) == (4, 2, 1)
    assert rig.writes == [f"POST /drivers/{A}/attach"]
    assert [result.change for result in finished.results] == list(saved.changes)


async def test_a_plan_of_which_nothing_fits_sends_nothing() -> None:
    rig = rigs.Rig(accounts.account())
    saved = await _saved(rig, accounts.WANTED)
    await rig.reconcile(accounts.WANTED)
    rig.roster.remove_driver(D)
    rig.sandbox.requests.clear()
    finished = await rig.cycle().apply(saved)
    assert (finished.exit_code, finished.counts["stale"], rig.writes) == (4, 3, [])
    assert rigs.outcome(finished, D, VANS) == "stale"


async def test_applying_a_plan_twice_is_harmless() -> None:
    rig = rigs.Rig(accounts.account())
    saved = await _saved(rig, accounts.WANTED)
    await rig.cycle().apply(saved)
    writes = rig.writes
    assert (await rig.cycle().apply(saved)).counts["stale"] == 3
    assert rig.writes == writes


async def test_nobody_is_detached_unseen_by_a_saved_plan_either() -> None:
    """A detach is issued only for a membership seen in this run."""
    rig = rigs.Rig(accounts.account(), policy=QUICK)
    saved = await _saved(rig, accounts.WANTED)
    rig.sandbox.faults = faults.Faults(script=lambda request: "503" if request.route == "driver" else None)
    finished = await rig.cycle().apply(saved)
    assert rigs.outcome(finished, A, VANS) == "deferred"
    assert not rig.requests("/detach")
    assert finished.exit_code == 4


async def test_held_changes_of_a_saved_plan_stay_undone() -> None:
    rig = rigs.Rig(accounts.account(), limits=guard.Limits(always_allow=0))
    saved = await _saved(rig, {VANS: [B, D]})
    finished = await rig.cycle().apply(saved)
    assert (finished.exit_code, len(saved.held)) == (3, 1)
    assert rig.roster.members(VANS) == {A, B, D}


async def test_a_saved_plan_without_a_usable_key_sends_no_write() -> None:
    saved = await _saved(rigs.Rig(accounts.account()), accounts.WANTED)
    rig = rigs.Rig(accounts.account(), key="ch_sk_test_wrong")
    finished = await rig.cycle().apply(saved)
    assert (finished.exit_code, rig.writes, finished.results) == (1, [], ())
