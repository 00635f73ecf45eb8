"""Values with behaviour of their own."""

import random

from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from worker.core.model.plan import Action, Change
from worker.core.model.problem import Problem

PLACES = (
    "FLEET_SYNC_RATE_LIMIT__BURST",
    "a.yaml",
    "a.yaml:1:1",
    "a.yaml:3:7",
    "a.yaml:3:12",
    "a.yaml:10:2",
    "b.yaml:2:1",
    "drv_a/flt_b",
    "notes:10:b.yaml:2:1",
    "notes:9:b.yaml:2:1",
)


@given(st.randoms(use_true_random=False))
def test_problems_stand_in_the_order_of_the_lines_of_their_file(chance: random.Random) -> None:
    problems = [Problem(where, "no") for where in PLACES]
    assert sorted(chance.sample(problems, len(problems))) == problems


@worlds.LAW
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(["a", "b"])), max_size=6))
def test_different_problems_never_share_a_place_in_the_order(drawn: list[tuple[str, str]]) -> None:
    """Otherwise the order of a set would show, and equal plans would differ in bytes."""
    problems = {Problem(*each) for each in [*drawn, ("a.yaml:03:7", "a")]}
    assert len({problem.order for problem in problems}) == len(problems)


def test_a_problem_is_the_same_whether_or_not_it_is_a_note() -> None:
    assert Problem("a.yaml:1:1", "twice", note=True) == Problem("a.yaml:1:1", "twice")


def test_changes_are_ordered_by_fleet_then_attaches_first_then_by_driver() -> None:
    """A detach before the attach of the same move would leave the driver in no fleet."""
    ordered = [
        Change(Action.ATTACH, worlds.B, worlds.DEPOT),
        Change(Action.DETACH, worlds.A, worlds.DEPOT),
        Change(Action.ATTACH, worlds.A, worlds.VANS),
        Change(Action.ATTACH, worlds.B, worlds.VANS),
        Change(Action.DETACH, worlds.A, worlds.VANS),
    ]
    expected = sorted(ordered, key=lambda change: (change.fleet, change.action is Action.DETACH, change.driver))
    assert sorted(reversed(ordered), key=lambda change: change.order) == expected
    assert Action.ATTACH.rank < Action.DETACH.rank
