"""Drivers that no change may concern, and what happens while it is not known who they are."""

import dataclasses
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import NORTH, VANS, A, B, C, D
from worker.core.model.actual import Actual
from worker.core.model.desired import DriverByEmail, DriverById, DriverByMetadata, DriverRef
from worker.core.model.identifiers import Resolutions
from worker.core.model.plan import Action, Plan
from worker.core.planning import grace_period, ignored_drivers

EMAIL = DriverByEmail("a@example.com")
NOBODY = DriverByEmail("nobody@example.com")


def leave_out(plan: Plan, actual: Actual, *entries: DriverRef, remembered: Resolutions | None = None) -> Plan:
    return ignored_drivers.leave_out(plan, ignored_drivers.find(entries, actual, remembered or {}))


@worlds.LAW
@given(worlds.worlds(), st.lists(st.sampled_from(list(worlds.DRIVER_REFS)), max_size=3))
def test_nothing_is_planned_for_an_ignored_driver_and_nothing_else_changes(
    world: worlds.World, entries: list[DriverRef]
) -> None:
    plan = world.plan()
    left = leave_out(plan, world.actual, *entries)
    ignored = {entry.id if isinstance(entry, DriverById) else world.leads_to(entry) for entry in entries}
    assert not {change.driver for change in left.changes} & ignored
    if all(isinstance(entry, DriverById) or world.leads_to(entry) for entry in entries):
        assert left.changes == tuple(change for change in plan.changes if change.driver not in ignored)
    else:
        assert not [change for change in left.changes if change.action is Action.DETACH]
        assert left.unresolved > plan.unresolved
    assert set(left.concerned) == {change.driver for change in left.changes}


def moving() -> tuple[Plan, Actual]:
    """Return a plan that moves A and B, attaches C and detaches D."""
    actual = worlds.seen({A: [VANS], B: [VANS], C: [], D: [VANS]}, directory_complete=True)
    wanted = worlds.wish({**worlds.by_id(VANS), **worlds.by_id(NORTH, A, B, C)})
    return worlds.plan_of(wanted, actual), actual


@pytest.mark.parametrize("entry", [DriverById(A), EMAIL, DriverByMetadata("employee_id", "0A")])
def test_a_driver_is_ignored_by_any_reference_and_the_plan_says_so(entry: DriverRef) -> None:
    plan, actual = moving()
    left = leave_out(plan, actual, entry)
    assert left.changes == tuple(change for change in plan.changes if change.driver != A)
    who = "the driver" if isinstance(entry, DriverById) else str(entry)
    notes = [problem for problem in left.problems if problem.note]
    assert {note.message for note in notes} == {
        f"{A} is not attached to fleet {NORTH}: {who} is listed in guard.ignore_drivers",
        f"{A} is not detached from fleet {VANS}: {who} is listed in guard.ignore_drivers",
    }
    assert (left.in_sync, left.members) == (plan.in_sync, plan.members)


def test_an_id_that_was_never_seen_is_ignored_all_the_same() -> None:
    plan, actual = moving()
    assert leave_out(plan, actual, DriverById(worlds.GHOST)) == plan


def test_an_id_that_the_account_does_not_have_is_a_problem_and_holds_up_nothing() -> None:
    plan, actual = moving()
    left = leave_out(plan, dataclasses.replace(actual, absent=frozenset({worlds.GHOST})), DriverById(worlds.GHOST))
    assert left.changes == plan.changes
    (problem,) = left.problems
    assert (problem.where, problem.code, problem.note) == ("guard.ignore_drivers", "unresolved_driver", False)
    assert problem.message.startswith(f"driver {worlds.GHOST} does not exist in this account")
    assert (left.references, left.unresolved) == (plan.references + 1, plan.unresolved + 1)


def test_while_an_entry_leads_to_no_one_no_one_is_detached() -> None:
    """It may be a slip of the pen, or the driver may have another address by now."""
    plan, actual = moving()
    left = leave_out(plan, actual, NOBODY)
    assert left.changes == tuple(change for change in plan.changes if change.action is Action.ATTACH)
    (problem,) = left.problems
    assert problem.where == "guard.ignore_drivers"
    assert problem.message.endswith("nobody@example.com may mean anyone, so no driver is detached until this is fixed")
    assert (left.unresolved, left.references) == (1, plan.references + 1)


def test_whoever_an_entry_led_to_before_is_ignored_if_it_leads_to_no_one_now() -> None:
    plan, actual = moving()
    left = leave_out(plan, actual, NOBODY, remembered={str(NOBODY): A})
    assert {change.driver for change in left.changes} == {B, C}


def test_everyone_whom_an_ambiguous_entry_may_mean_is_ignored() -> None:
    plan, actual = moving()
    shared = dataclasses.replace(actual, metadata={("depot", "Lyon"): (A, C)})
    left = leave_out(plan, shared, DriverByMetadata("depot", "Lyon"))
    assert {(change.action, change.driver) for change in left.changes} == {(Action.ATTACH, B)}


def test_an_incomplete_directory_leaves_an_entry_unclear() -> None:
    plan, actual = moving()
    partial = dataclasses.replace(actual, directory_complete=False)
    left = leave_out(plan, partial, EMAIL)
    assert {change.driver for change in left.changes} == {B, C}
    assert {change.action for change in left.changes} == {Action.ATTACH}


def test_what_an_entry_leads_to_is_remembered() -> None:
    plan, actual = moving()
    assert leave_out(plan, actual, EMAIL).resolutions == {"a@example.com": A}
    assert leave_out(plan, actual, NOBODY, DriverById(A)).resolutions == {}


def test_an_absence_goes_on_while_an_entry_is_unclear() -> None:
    plan, actual = moving()
    known = {(D, VANS): worlds.NOW}
    left = leave_out(plan, actual, NOBODY)
    result = grace_period.apply_grace_period(left, known, grace=datetime.timedelta(days=30), now=worlds.NOW)
    assert result.returned == frozenset()
