"""`--fleet`: everything is read and evaluated, and the changes of other fleets are left out."""

import dataclasses

import pytest

from tests.support import doubles, harness
from tests.support.harness import DEPOT, NORTH, VANS, A, B, C, D
from worker.core.model.desired import FleetById, FleetByName, FleetRef
from worker.core.model.errors import UnknownFleet
from worker.core.model.outcomes import Deferred
from worker.core.model.report import Report, RunResult
from worker.core.safety import fleet_selection, guard

pytestmark = pytest.mark.anyio

WANTED = {VANS: [B, C], DEPOT: [A], NORTH: []}
"""A moves from the vans to the depot, C joins the vans, and D leaves the north."""


def account(only: FleetRef, *, limits: guard.Limits = harness.LENIENT) -> harness.Harness:
    """Return an account of which only one fleet is to be changed."""
    made = harness.Harness(harness.state_of({VANS: [A, B], DEPOT: [], NORTH: [D]}, others=[C]), limits=limits)
    made.only = frozenset({only})
    return made


def outcomes(report: Report) -> set[tuple[str, str, str]]:
    return {(each.change.driver, each.change.fleet, each.outcome.name) for each in report.results}


async def test_only_that_fleet_is_changed_and_a_second_run_has_nothing_to_do() -> None:
    depot = account(FleetById(DEPOT))
    report = await depot.reconcile(WANTED)
    assert (report.result, outcomes(report)) == (RunResult.CONVERGED, {(A, DEPOT, "applied")})
    assert depot.fleets_of(A) == {VANS, DEPOT} and depot.fleets_of(D) == {NORTH}
    assert report.guarded is not None
    note, new = report.guarded.problems
    assert new.code == "journal_new"
    assert (note.where, note.message, note.note) == ("--fleet", "3 changes of other fleets are left out", True)
    assert [change.fleet for change in report.guarded.changes] == [DEPOT]
    assert report.guarded.cost.requests == 2
    assert (await depot.reconcile(WANTED)).result is RunResult.IN_SYNC
    depot.only = frozenset()
    assert (await depot.reconcile(WANTED)).result is RunResult.CONVERGED
    assert [depot.fleets_of(driver) for driver in (A, C, D)] == [{DEPOT}, {VANS}, set()]


async def test_a_driver_whose_attach_is_left_out_keeps_the_old_fleet() -> None:
    vans = account(FleetByName("Fleet V"))
    report = await vans.reconcile(WANTED)
    assert report.exit_code == 4
    assert outcomes(report) == {(A, VANS, "deferred"), (C, VANS, "applied")}
    [deferred] = [each.outcome for each in report.results if isinstance(each.outcome, Deferred)]
    assert deferred.code == "attach_first"
    assert vans.fleets_of(A) == {VANS}
    assert not [line for line in vans.writes if A in line]
    assert report.problems == (), "it is no surprise that A is not in the depot"


async def test_a_saved_plan_keeps_that_driver_too() -> None:
    vans = account(FleetById(VANS))
    saved = (await vans.new_plan_builder(doubles.Source(WANTED)).build()).guarded
    assert [change.fleet for change in saved.changes] == [VANS, VANS]
    assert "1 detach is deferred, because an attach of the same driver is left out (attach_first)" in {
        problem.message for problem in saved.problems if problem.note
    }
    report = await vans.new_reconciler().apply(saved)
    assert outcomes(report) == {(A, VANS, "deferred"), (C, VANS, "applied")}
    codes = {each.outcome.code for each in report.results if isinstance(each.outcome, Deferred)}
    assert codes == {"attach_first"}, "at once, and not after a proof that cannot come"
    assert vans.fleets_of(A) == {VANS}


async def test_the_guard_counts_the_changes_of_all_fleets() -> None:
    """Taking one fleet after the other evades no limit."""
    strict = guard.Limits(max_detach_fraction_per_fleet=1.0, max_detach_fraction=0.5, always_allow=0)
    limits = dataclasses.replace(strict, allow_emptying_fleets=True)
    north = account(FleetById(NORTH), limits=limits)
    report = await north.reconcile(WANTED)
    assert report.guarded is not None
    assert (report.result, report.guarded.changes) == (RunResult.HELD, ())
    assert {(held.change.fleet, held.guard) for held in report.guarded.held} == {(NORTH, guard.PER_RUN)}
    assert north.writes == []
    # The digest that is shown names what is shown, and approves exactly that.
    report = await north.reconcile(WANTED, approved=report.held_digest)
    assert (report.result, outcomes(report)) == (RunResult.CONVERGED, {(D, NORTH, "applied")})
    assert north.fleets_of(A) == {VANS}


async def test_an_approval_of_everything_that_is_held_allows_what_is_left_of_it() -> None:
    limits = guard.Limits(max_detach_fraction_per_fleet=1.0, max_detach_fraction=0.5, always_allow=0)
    limits = dataclasses.replace(limits, allow_emptying_fleets=True)
    north = account(FleetById(NORTH), limits=limits)
    north.only = frozenset()
    whole = (await north.reconcile({**WANTED, DEPOT: [], VANS: [B]})).held_digest
    north.only = frozenset({FleetById(NORTH)})
    report = await north.reconcile({**WANTED, DEPOT: [], VANS: [B]}, approved=whole)
    assert outcomes(report) == {(D, NORTH, "applied")}


async def test_what_no_approval_lifts_stays_held() -> None:
    limits = dataclasses.replace(harness.LENIENT, must_see=frozenset({(A, DEPOT)}))
    north = account(FleetById(NORTH), limits=limits)
    held = (await north.reconcile(WANTED)).held_digest
    report = await north.reconcile(WANTED, approved=held)
    assert report.result is RunResult.HELD
    assert north.writes == []


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (FleetByName("Fleet VV"), '--fleet "Fleet VV": no source lists this fleet (did you mean "Fleet V"'),
        (FleetById(harness.fleet_id("Q")), f"--fleet {harness.fleet_id('Q')}: no source lists this fleet"),
    ],
)
async def test_a_fleet_that_no_source_lists_is_an_error_and_nothing_is_changed(only: FleetRef, message: str) -> None:
    unknown = account(only)
    report = await unknown.reconcile(WANTED)
    assert isinstance(report.error, UnknownFleet)
    assert report.error.message.startswith(message)
    assert (report.exit_code, unknown.writes) == (1, [])


async def test_a_plan_of_all_fleets_misses_no_attach() -> None:
    whole = account(FleetById(VANS))
    whole.only = frozenset()
    assert (
        fleet_selection.missing_attaches((await whole.new_plan_builder(doubles.Source(WANTED)).build()).guarded)
        == set()
    )
