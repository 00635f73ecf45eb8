"""`[sync] apply = false`: plans, records and problems as always, and no write to Charge."""

import pytest

from tests.engine import accounts
from tests.support import doubles, harness
from tests.support.harness import DEPOT, VANS, A, B, C
from worker.core.model.identifiers import IntentKey, RunId
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Intent
from worker.core.model.report import RunResult
from worker.core.safety import guard

pytestmark = pytest.mark.anyio


async def test_a_run_plans_and_records_and_writes_nothing() -> None:
    account_harness = harness.Harness(accounts.account(), apply=False)
    finished = await account_harness.reconcile(accounts.WANTED)
    assert finished.guarded is not None
    assert (finished.result, finished.exit_code) == (RunResult.OBSERVED, 0)
    assert (len(finished.guarded.changes), finished.results, account_harness.writes) == (3, (), [])
    (past,) = await account_harness.memory.runs()
    assert (past.result, past.exit_code) == ("observed", 0)
    assert account_harness.memory.intents == {}
    assert (await account_harness.reconcile({VANS: [A, B], DEPOT: [C]})).result is RunResult.IN_SYNC


async def test_problems_and_holds_have_their_exit_codes() -> None:
    account_harness = harness.Harness(accounts.account(), apply=False, limits=guard.Limits(always_allow=0))
    assert (await account_harness.reconcile({VANS: [B]})).exit_code == 3
    assert (await account_harness.reconcile({VANS: [A, B, "nobody@example.com"]})).exit_code == 4
    assert account_harness.writes == []


async def test_an_approval_waits_until_changes_are_made() -> None:
    """It frees nothing meanwhile, and what it would have freed is not forgotten as settled either."""
    account_harness = harness.Harness(accounts.account(), limits=guard.Limits(always_allow=0))
    digest = (await account_harness.reconcile({VANS: [B]})).held_digest
    now = account_harness.wall.now()
    await account_harness.memory.approve(digest, now=now, until=now + guard.APPROVAL_LIFETIME)
    account_harness.apply = False
    assert (await account_harness.reconcile({VANS: [B]}, approved=digest)).exit_code == 3
    account_harness.apply = True
    assert (await account_harness.reconcile({VANS: [B]})).counts["applied"] == 1


async def test_open_writes_of_earlier_runs_are_still_settled() -> None:
    account_harness = harness.Harness(accounts.account())
    plan = await account_harness.new_plan_builder(doubles.Source({VANS: [A, B]})).build()
    change = Change(Action.ATTACH, A, VANS)
    await account_harness.memory.open()
    intent = Intent(IntentKey("key-0"), change)
    await account_harness.memory.begin(RunId("run_0"), trigger="once", guarded=plan.guarded, intents=[intent])
    account_harness.apply = False
    await account_harness.reconcile({VANS: [A, B]})
    assert account_harness.memory.outcomes[intent.key].name == "applied"
