"""Plans as values: what they cost, whom they name, and what an approval is used up by."""

import dataclasses

import pytest

from tests.core.snapshots import ATTACH, DETACH, OTHER, guarded, held
from tests.core.worlds import DEPOT, NORTH, VANS, A, B, C
from worker.core.model.desired import Mode
from worker.core.model.identifiers import FleetId
from worker.core.model.people import Person
from worker.core.model.plan import Change, ConcernedDriver, Cost, Plan, concerned_ids
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.source_history import ShrunkSource

EMPTY = Plan((), (), {}, in_sync=0, drivers=0)
SHRUNK = ShrunkSource("hr", 50, 100, "hr lost half")


@pytest.mark.parametrize(
    ("change", "fleets", "done"),
    [(ATTACH, {VANS}, True), (ATTACH, {DEPOT}, False), (DETACH, {VANS}, False), (DETACH, {DEPOT}, True)],
)
def test_an_attach_is_done_in_its_fleet_and_a_detach_outside_of_it(
    change: Change, fleets: set[FleetId], done: bool
) -> None:
    assert change.done_in(frozenset(fleets)) is done


def test_a_plan_costs_its_writes_a_proof_for_each_detach_of_a_wanted_driver_and_the_reading_back() -> None:
    stays, leaves = ConcernedDriver(frozenset({VANS}), frozenset({DEPOT})), ConcernedDriver(frozenset(), frozenset())
    concerned = {A: stays, B: stays, C: leaves}
    changes = [ATTACH, DETACH, OTHER]
    assert Cost.of(changes, concerned, reading=100, per_second=4.0) == Cost(3 + 1 + 3, 1.8)
    assert Cost.of(changes, concerned, reading=2, per_second=4.0) == Cost(3 + 1 + 2, 1.5)
    assert Cost.of([], concerned, reading=100, per_second=4.0) == Cost(0, 0.0)


@pytest.mark.parametrize("doubt", [{"unresolved": 1}, {"incomplete": 1}, {"vanished": frozenset({VANS})}])
def test_any_doubt_makes_a_plan_unsettled(doubt: dict[str, int]) -> None:
    assert not EMPTY.unsettled
    assert dataclasses.replace(EMPTY, **doubt).unsettled  # type: ignore[arg-type]


def test_a_fleet_that_is_not_exact_is_additive() -> None:
    plan = dataclasses.replace(EMPTY, members={VANS: 1, DEPOT: 0}, exact=frozenset({DEPOT}))
    assert plan.modes == {VANS: Mode.ADDITIVE, DEPOT: Mode.EXACT}


def test_only_what_is_held_or_shrank_needs_an_approval_and_has_a_digest() -> None:
    settled = guarded([ATTACH])
    assert (settled.needs_approval, settled.held_digest) == (False, "")
    waits, shrank = guarded(held=[held(DETACH)]), dataclasses.replace(guarded(), shrunk=(SHRUNK,))
    assert waits.needs_approval and shrank.needs_approval
    assert waits.held_digest and shrank.held_digest and waits.held_digest != shrank.held_digest


def test_an_approval_is_used_up_only_by_a_change_that_needed_it() -> None:
    plan = dataclasses.replace(guarded([ATTACH, DETACH]), approved=(held(DETACH),), approval="sha256:2")
    assert plan.approval_used_by([ATTACH]) is None
    assert plan.approval_used_by([ATTACH, DETACH]) == "sha256:2"
    assert plan.approved_changes == {DETACH}


def test_names_are_sorted_by_id_and_those_who_have_none_are_left_out() -> None:
    plan = dataclasses.replace(
        guarded(),
        people={B: Person("Bo"), A: Person("", "a@example.com"), C: Person()},
        fleet_names={VANS: "Paris vans", DEPOT: "Lyon depot", NORTH: ""},
    )
    assert list(plan.names.items()) == sorted(
        {A: "a@example.com", B: "Bo", VANS: "Paris vans", DEPOT: "Lyon depot"}.items()
    )


def test_that_the_journal_is_new_is_told_only_where_there_is_something_to_do() -> None:
    new, other = Problem("journal", "is new", code=ProblemCode.JOURNAL_NEW), Problem("a.yaml:1:1", "leads nowhere")
    assert guarded(problems=[new, other]).relevant_problems == (other,)
    for plan in (guarded([ATTACH], problems=[new, other]), guarded(held=[held(DETACH)], problems=[new, other])):
        assert plan.relevant_problems == (new, other)


def test_a_plan_concerns_whom_its_changes_and_its_problems_name() -> None:
    problems = [Problem("a.yaml:1:1", f"{C} is not in {NORTH}")]
    drivers, fleets = concerned_ids([ATTACH], [held(DETACH)], problems)
    assert drivers == {A, B, C}
    assert fleets == {VANS, NORTH}
