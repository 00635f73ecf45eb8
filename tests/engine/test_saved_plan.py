"""A saved plan: done as it is, as far as it still fits, and nothing else."""

import pytest

from tests.engine import accounts
from tests.support import doubles, harness
from tests.support.harness import VANS, A, B, C, D
from worker.core.model.plan import GuardedPlan
from worker.core.pacing import retry_policy
from worker.core.safety import guard
from worker.sandbox import faults

pytestmark = pytest.mark.anyio
QUICK = retry_policy.RetryPolicy(max_attempts=2, base_seconds=0.5)


async def _saved(account_harness: harness.Harness, wanted: harness.Wanted) -> GuardedPlan:
    return (await account_harness.new_plan_builder(doubles.Source(wanted)).build()).guarded


async def test_a_saved_plan_is_done_and_nothing_else() -> None:
    account_harness = harness.Harness(accounts.account())
    saved = await _saved(account_harness, accounts.WANTED)
    account_harness.state.attach(C, VANS)
    finished = await account_harness.new_reconciler().apply(saved)
    assert account_harness.state.memberships() == accounts.AFTER | {(C, VANS)}
    assert (finished.exit_code, finished.counts["applied"], finished.guarded) == (0, 3, saved)


async def test_a_change_that_no_longer_fits_is_stale_and_left_undone() -> None:
    account_harness = harness.Harness(accounts.account())
    saved = await _saved(account_harness, accounts.WANTED)
    account_harness.state.attach(D, VANS)
    account_harness.state.detach(A, VANS)
    account_harness.sandbox.requests.clear()
    finished = await account_harness.new_reconciler().apply(saved)
    assert (finished.exit_code, finished.counts["stale"], finished.counts["applied"]) == (4, 2, 1)
    assert account_harness.writes == [f"POST /drivers/{A}/attach"]
    assert [result.change for result in finished.results] == list(saved.changes)


async def test_a_plan_of_which_nothing_fits_sends_nothing() -> None:
    account_harness = harness.Harness(accounts.account())
    saved = await _saved(account_harness, accounts.WANTED)
    await account_harness.reconcile(accounts.WANTED)
    account_harness.state.remove_driver(D)
    account_harness.sandbox.requests.clear()
    finished = await account_harness.new_reconciler().apply(saved)
    assert (finished.exit_code, finished.counts["stale"], account_harness.writes) == (4, 3, [])
    assert harness.outcome(finished, D, VANS) == "stale"


async def test_applying_a_plan_twice_is_harmless() -> None:
    account_harness = harness.Harness(accounts.account())
    saved = await _saved(account_harness, accounts.WANTED)
    await account_harness.new_reconciler().apply(saved)
    writes = account_harness.writes
    assert (await account_harness.new_reconciler().apply(saved)).counts["stale"] == 3
    assert account_harness.writes == writes


async def test_nobody_is_detached_unseen_by_a_saved_plan_either() -> None:
    """A detach is issued only for a membership seen in this run."""
    account_harness = harness.Harness(accounts.account(), policy=QUICK)
    saved = await _saved(account_harness, accounts.WANTED)
    account_harness.sandbox.faults = faults.Faults(script=lambda request: "503" if request.route == "driver" else None)
    finished = await account_harness.new_reconciler().apply(saved)
    assert harness.outcome(finished, A, VANS) == "deferred"
    assert not account_harness.requests("/detach")
    assert finished.exit_code == 4


async def test_held_changes_of_a_saved_plan_stay_undone() -> None:
    account_harness = harness.Harness(accounts.account(), limits=guard.Limits(always_allow=0))
    saved = await _saved(account_harness, {VANS: [B, D]})
    finished = await account_harness.new_reconciler().apply(saved)
    assert (finished.exit_code, len(saved.held)) == (3, 1)
    assert account_harness.state.members(VANS) == {A, B, D}


async def test_a_saved_plan_without_a_usable_key_sends_no_write() -> None:
    saved = await _saved(harness.Harness(accounts.account()), accounts.WANTED)
    account_harness = harness.Harness(accounts.account(), key="ch_sk_test_wrong")
    finished = await account_harness.new_reconciler().apply(saved)
    assert (finished.exit_code, account_harness.writes, finished.results) == (1, [], ())
