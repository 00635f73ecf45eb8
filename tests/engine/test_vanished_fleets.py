"""A fleet that vanishes from the sources: reported in every run until it is back, or unmanaged on purpose."""

import pytest

from tests.support import doubles, harness
from tests.support.harness import DEPOT, NORTH, VANS, A, B, C
from worker.core.model.desired import FleetById, FleetByName
from worker.core.model.identifiers import Account
from worker.core.model.problem import ProblemCode
from worker.core.model.report import Report

pytestmark = pytest.mark.anyio

BOTH = {VANS: [A, B], DEPOT: [C]}


def _vanished(finished: Report) -> list[str]:
    assert finished.guarded is not None
    return [each.where for each in finished.guarded.problems if each.code is ProblemCode.SCOPE_SHRANK]


async def _after_a_run() -> harness.Harness:
    account_harness = harness.Harness(harness.state_of(BOTH))
    assert (await account_harness.reconcile(BOTH)).exit_code == 0
    return account_harness


async def test_a_fleet_that_vanished_is_reported_until_it_is_back() -> None:
    account_harness = await _after_a_run()
    for _ in range(3):
        finished = await account_harness.reconcile({VANS: [A]})
        assert (finished.exit_code, _vanished(finished)) == (4, [DEPOT])
    assert account_harness.state.members(DEPOT) == {C}
    assert account_harness.state.members(VANS) == {A}
    assert (await account_harness.reconcile({VANS: [A], DEPOT: [C]})).exit_code == 0
    assert (await account_harness.reconcile({VANS: [A]})).exit_code == 4


@pytest.mark.parametrize("entry", [FleetById(DEPOT), FleetByName("Fleet W")])
async def test_a_fleet_that_was_taken_out_on_purpose_is_forgotten(entry: FleetById | FleetByName) -> None:
    """Also after it has left the list again, which then is no longer needed."""
    account_harness = await _after_a_run()
    account_harness.unmanaged = frozenset({entry})
    assert (await account_harness.reconcile(BOTH)).exit_code == 0
    assert (await account_harness.reconcile({VANS: [A, B]})).exit_code == 0
    account_harness.unmanaged = frozenset()
    assert (await account_harness.reconcile({VANS: [A, B]})).exit_code == 0


async def test_a_fleet_without_members_or_rows_counts_too() -> None:
    account_harness = harness.Harness(harness.state_of({VANS: [A], NORTH: []}))
    assert (await account_harness.reconcile({VANS: [A], NORTH: []})).exit_code == 0
    assert _vanished(await account_harness.reconcile({VANS: [A]})) == [NORTH]


async def test_a_dry_run_says_so_and_remembers_nothing() -> None:
    account_harness = harness.Harness(harness.state_of(BOTH))
    await account_harness.new_plan_builder(doubles.Source(BOTH)).build()
    only = await account_harness.new_plan_builder(doubles.Source({VANS: [A, B]})).build()
    assert [problem.code for problem in only.guarded.problems] == ["journal_new"]
    assert (await account_harness.reconcile(BOTH)).exit_code == 0
    shrunk = await account_harness.new_plan_builder(doubles.Source({VANS: [A, B]})).build()
    assert shrunk.guarded.unsettled
    assert [each.code for each in shrunk.guarded.problems] == [ProblemCode.SCOPE_SHRANK]


async def test_a_name_that_matches_nothing_for_a_while_does_not_hide_that_its_row_then_vanishes() -> None:
    account_harness = harness.Harness(harness.state_of(BOTH))
    by_name = {"Fleet V": [A, B], "Fleet W": [C]}
    assert (await account_harness.reconcile(by_name)).exit_code == 0
    account_harness.state.change_fleet(DEPOT, name="Renamed")
    unresolved = await account_harness.reconcile(by_name)
    assert (unresolved.exit_code, _vanished(unresolved)) == (4, [])
    assert _vanished(await account_harness.reconcile({"Fleet V": [A, B]})) == [DEPOT]


async def test_a_name_that_another_fleet_has_by_now_hides_the_fleet_of_before_only_while_changes_are_held() -> None:
    """A run without changes was in sync, and the next one, of the same account, was not."""
    account_harness = harness.Harness(harness.state_of(BOTH))
    by_name = {"Fleet V": [A, B], "Fleet W": [C]}
    assert (await account_harness.reconcile(by_name)).exit_code == 0
    account_harness.state.change_fleet(DEPOT, name="Renamed")
    account_harness.state.add_fleet(id=NORTH, name="Fleet W")
    held = await account_harness.reconcile(by_name)
    assert (held.exit_code, _vanished(held)) == (3, [])
    account_harness.state.attach(C, NORTH)
    for _ in range(2):
        finished = await account_harness.reconcile(by_name)
        assert (finished.exit_code, _vanished(finished)) == (4, [DEPOT])


async def test_a_journal_that_is_taken_over_misses_no_fleet_of_the_other_account() -> None:
    account_harness = await _after_a_run()
    await account_harness.memory.claim(Account("https://other.test/v1", "test"), fleets={DEPOT: ""}, managed={DEPOT})
    account_harness.adopt_journal = True
    finished = await account_harness.reconcile({VANS: [A, B]})
    assert (finished.exit_code, _vanished(finished)) == (0, [])
