"""A guarded plan is put together of what was decided, and names only those whom it is about."""

import dataclasses

import pytest

from tests.core import worlds
from tests.core.snapshots import ATTACH, DETACH, OTHER, held
from tests.core.worlds import DEPOT, NORTH, NOW, VANS, A, B, C, D
from worker.core.model.people import Person
from worker.core.model.plan import Action, ConcernedDriver, GuardedPlan, Plan
from worker.core.model.plan_digest import plan_digest
from worker.core.model.ports import RecentChanges
from worker.core.model.problem import Problem
from worker.core.safety import clock_trust, guard, window
from worker.engine import guarded_plans

TRUSTED = clock_trust.Assessment("", NOW, NOW, NOW)
ACTUAL = dataclasses.replace(
    worlds.seen({A: [VANS]}),
    people={driver: Person(f"\x1b{driver[-1]}") for driver in (A, B, C, D)},
    requests=3,
)
PLAN = Plan(
    (ATTACH, DETACH),
    (Problem("a.yaml:1:1", f"{C} is not in {NORTH}"),),
    {VANS: 9, DEPOT: 1},
    in_sync=4,
    drivers=10,
    concerned={A: ConcernedDriver(frozenset(), frozenset({VANS})), B: ConcernedDriver(frozenset({VANS}), frozenset())},
    exact=frozenset({VANS}),
)
DECISION = guard.Decision((ATTACH,), (held(DETACH),), approval="sha256:3", approved=(held(ATTACH),))
RECENT = window.Window(tuple(RecentChanges(fleet, Action.DETACH, NOW, 2) for fleet in (VANS, NORTH)))


def _new(plan: Plan = PLAN, clock: clock_trust.Assessment = TRUSTED) -> GuardedPlan:
    return guarded_plans.new(
        plan, DECISION, account=worlds.ACCOUNT, actual=ACTUAL, clock=clock, recent=RECENT, requests_per_second=2.0
    )


def test_a_guarded_plan_has_what_the_guard_decided_and_harmless_names_of_whom_it_is_about() -> None:
    found = _new()
    assert (found.changes, found.held, found.approved, found.approval) == (
        (ATTACH,),
        (held(DETACH),),
        (held(ATTACH),),
        "sha256:3",
    )
    assert found.digest == plan_digest(worlds.ACCOUNT, [ATTACH], [DETACH])
    assert {driver: person.name for driver, person in found.people.items()} == {
        A: "\ufffdA",
        B: "\ufffdB",
        C: "\ufffdC",
    }
    assert found.fleet_names == {VANS: "Paris vans", NORTH: "North"}
    assert (found.cost.requests, found.fleets, found.in_sync, found.drivers) == (2, 2, 4, 10)
    assert found.recent.detached == 2, "only what was done in managed fleets"


@pytest.mark.parametrize(
    ("unresolved", "reason", "unsettled"), [(0, "", False), (1, "", True), (0, "the clock is behind", True)]
)
def test_a_doubtful_plan_or_clock_makes_a_guarded_plan_unsettled(unresolved: int, reason: str, unsettled: bool) -> None:
    plan, clock = dataclasses.replace(PLAN, unresolved=unresolved), dataclasses.replace(TRUSTED, reason=reason)
    assert _new(plan, clock).unsettled is unsettled


def test_a_saved_plan_that_is_evaluated_again_keeps_what_is_stale_and_names_whom_it_named() -> None:
    saved = _new()
    plan = dataclasses.replace(PLAN, changes=(DETACH,), problems=())
    decision = guard.Decision((DETACH,), ())
    renamed = dataclasses.replace(ACTUAL, people={B: Person("Bea"), D: Person("Dan")})
    again = guarded_plans.again(saved, plan, decision, stale=[OTHER, ATTACH], recent=RECENT, actual=renamed)
    assert again.changes == tuple(sorted((ATTACH, DETACH, OTHER), key=lambda change: change.order))
    assert again.digest == plan_digest(worlds.ACCOUNT, again.changes, [])
    assert (again.held, again.approved, again.approval, again.problems) == ((), (), "", ())
    assert {driver: person.name for driver, person in again.people.items()} == {A: "\ufffdA", B: "Bea", C: "\ufffdC"}
    assert again.created == saved.created
