"""A journal belongs to one account: a run for another one neither reads its records nor adds to them."""

import pytest

from tests.engine import accounts
from tests.support import doubles, harness
from tests.support.harness import BASE, DEPOT, NORTH, VANS
from worker.core.model.identifiers import Account, FleetId
from worker.core.model.plan import GuardedPlan
from worker.core.model.ports import JournalOwner
from worker.core.model.report import Report

pytestmark = pytest.mark.anyio

OURS = Account(BASE, "test")
GONE = FleetId(f"flt_{'Z' * 32}")


def _is_foreign(finished: Report) -> bool:
    return finished.error is not None and finished.error.code == "journal_of_another_account"


async def test_the_first_run_makes_the_journal_its_own_with_the_fleets_that_it_read() -> None:
    account_harness = harness.Harness(accounts.account())
    assert (await account_harness.reconcile(accounts.WANTED)).exit_code == 0
    owner = await account_harness.memory.owner()
    assert owner.account == OURS
    assert {VANS, DEPOT} <= owner.fleets.keys()
    assert (await account_harness.reconcile(accounts.WANTED)).exit_code == 0


@pytest.mark.parametrize("other", [Account("https://elsewhere.test", "test"), Account(BASE, "live")])
async def test_a_journal_of_another_url_or_mode_takes_no_run_and_charge_gets_no_request(other: Account) -> None:
    account_harness = harness.Harness(accounts.account())
    await account_harness.memory.claim(other, fleets={}, managed=())
    finished = await account_harness.reconcile(accounts.WANTED)
    assert _is_foreign(finished)
    assert finished.exit_code == 1
    assert account_harness.sandbox.requests == []
    assert account_harness.memory.reports == {}
    assert await account_harness.memory.owner() == JournalOwner(other, {})


async def test_a_key_that_has_none_of_the_journals_fleets_is_that_of_another_account() -> None:
    account_harness = harness.Harness(accounts.account())
    await account_harness.memory.claim(OURS, fleets={GONE: "Vans"}, managed=())
    finished = await account_harness.reconcile(accounts.WANTED)
    assert _is_foreign(finished)
    assert account_harness.writes == []
    assert account_harness.memory.intents == {}


async def test_a_saved_plan_makes_the_journal_its_own_too() -> None:
    """Else the next run would refuse a journal that has records of its own account."""
    account_harness = harness.Harness(accounts.account())
    saved = (await account_harness.new_plan_builder(doubles.Source(accounts.WANTED)).build()).guarded
    assert (await account_harness.new_reconciler().apply(saved)).exit_code == 0
    owner = await account_harness.memory.owner()
    assert owner.account == OURS
    assert owner.fleets.keys() <= {VANS, DEPOT, NORTH}
    assert owner.fleets
    await account_harness.reconcile(accounts.WANTED)
    names = (await account_harness.memory.owner()).fleets
    await account_harness.new_reconciler().apply(saved)
    assert (await account_harness.memory.owner()).fleets == names
    assert "" not in names.values()


async def test_a_saved_plan_adopts_a_journal_only_if_the_operator_says_so() -> None:
    account_harness = harness.Harness(accounts.account())
    saved = (await account_harness.new_plan_builder(doubles.Source(accounts.WANTED)).build()).guarded
    await account_harness.memory.claim(OURS, fleets={GONE: "Vans"}, managed=())
    assert _is_foreign(await account_harness.new_reconciler().apply(saved))
    assert account_harness.writes == []
    account_harness.adopt_journal = True
    assert (await account_harness.new_reconciler().apply(saved)).exit_code == 0
    account_harness.adopt_journal = False
    assert (await account_harness.reconcile(accounts.WANTED)).exit_code == 0


async def test_one_fleet_that_still_exists_is_enough() -> None:
    account_harness = harness.Harness(accounts.account())
    await account_harness.memory.claim(OURS, fleets={GONE: "Vans", NORTH: "North"}, managed=())
    assert (await account_harness.reconcile(accounts.WANTED)).exit_code == 0


def _says_new(plan: GuardedPlan | None) -> bool:
    return plan is not None and "journal_new" in {problem.code for problem in plan.problems if problem.note}


async def test_plan_and_report_note_that_the_journal_is_new_until_a_run_has_used_it() -> None:
    account_harness = harness.Harness(accounts.account())
    source = doubles.Source(accounts.WANTED)
    assert _says_new((await account_harness.new_plan_builder(source).build()).guarded)
    assert _says_new((await account_harness.new_plan_builder(source).build()).guarded), "a plan records nothing"
    first = await account_harness.reconcile(accounts.WANTED)
    assert _says_new(first.guarded)
    assert first.exit_code == 0
    assert not _says_new((await account_harness.reconcile(accounts.WANTED)).guarded)
    assert not _says_new((await account_harness.new_plan_builder(source).build()).guarded)


async def test_applying_a_saved_plan_says_whether_the_journal_is_new_now_not_when_it_was_made() -> None:
    account_harness = harness.Harness(accounts.account())
    saved = (await account_harness.new_plan_builder(doubles.Source(accounts.WANTED)).build()).guarded
    applied = await account_harness.new_reconciler().apply(saved)
    assert (applied.exit_code, _says_new(applied.guarded)) == (0, True)
    assert not _says_new((await account_harness.new_reconciler().apply(saved)).guarded)
