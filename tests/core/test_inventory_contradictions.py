"""Contradictions in a listing add up: a later one never hides an earlier one."""

from tests.core.worlds import DEPOT, NORTH, VANS, A, B
from worker.core.model.actual import Driver, Fleet
from worker.core.model.identifiers import FleetId
from worker.core.planning import inventory
from worker.core.planning.expected_drivers import ExpectedDrivers


def _is_contradicted(seen: inventory.Inventory, fleet: FleetId, *, count: int) -> bool:
    """Ask for the reason with a count that agrees, so that only a contradiction can be one."""
    return seen.incompleteness_reason(Fleet(fleet, total_drivers=count), count=count, final=True) is not None


def test_a_second_contradiction_leaves_the_first_one_noted() -> None:
    """A reading that forgets the first would detach drivers from a fleet that it has not seen whole."""
    seen = inventory.Inventory(ExpectedDrivers())
    for fleets in ({VANS}, set(), {DEPOT}):
        seen.add(Driver(A, frozenset(fleets)))
    assert _is_contradicted(seen, VANS, count=0)
    assert _is_contradicted(seen, DEPOT, count=1)


def test_contradictions_about_two_drivers_are_both_noted() -> None:
    seen = inventory.Inventory(ExpectedDrivers())
    for driver, fleets in ((A, {VANS}), (A, set()), (B, {NORTH}), (B, set())):
        seen.add(Driver(driver, frozenset(fleets)))
    assert [_is_contradicted(seen, fleet, count=0) for fleet in (VANS, NORTH, DEPOT)] == [True, True, False]


def test_a_driver_who_is_shown_twice_alike_contradicts_nothing_noted_before() -> None:
    seen = inventory.Inventory(ExpectedDrivers())
    for driver, fleets in ((A, {VANS}), (A, set()), (B, {VANS}), (B, {VANS})):
        seen.add(Driver(driver, frozenset(fleets)))
    assert _is_contradicted(seen, VANS, count=1)
