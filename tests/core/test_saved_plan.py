"""What of a saved plan still fits, and what must be read to say so."""

import dataclasses

import pytest

from tests.core import worlds
from tests.core.snapshots import ATTACH, DETACH, OTHER, guarded, held
from tests.core.worlds import DEPOT, NORTH, VANS, A, B, C
from worker.core.model.desired import (
    DriverByEmail,
    DriverById,
    DriverRef,
    FleetById,
    FleetByName,
    FleetRef,
    Mode,
)
from worker.core.model.outcomes import Stale
from worker.core.model.plan import Change, ConcernedDriver
from worker.core.planning import ignored_drivers, saved_plan
from worker.core.planning.resolver import Unresolved

NOBODY = ignored_drivers.IgnoredDrivers({}, {}, {})
SAVED = dataclasses.replace(
    guarded([ATTACH, DETACH], held=[held(OTHER)]),
    approved=(held(DETACH),),
    modes={VANS: Mode.EXACT, DEPOT: Mode.ADDITIVE},
    concerned={A: ConcernedDriver(frozenset(), frozenset({VANS})), B: ConcernedDriver(frozenset({VANS}), frozenset())},
)
FITS = worlds.seen({A: [], B: [VANS], C: [DEPOT]})


def test_all_its_changes_are_looked_at_in_the_order_of_plans_held_or_not() -> None:
    assert saved_plan.changes(SAVED) == tuple(sorted((ATTACH, DETACH, OTHER), key=lambda change: change.order))
    assert saved_plan.held_before(SAVED) == (held(OTHER), held(DETACH))


@pytest.mark.parametrize(
    ("changes", "waiting", "excluded", "needed"),
    [
        ([ATTACH], [], [], False),
        ([ATTACH], [], [DriverById(B), FleetById(DEPOT)], False),
        ([ATTACH], [], [DriverByEmail("b@example.com")], True),
        ([ATTACH], [], [FleetById(DEPOT), FleetByName("Vans")], True),
        ([ATTACH, DETACH], [], [], True),
        ([ATTACH], [OTHER], [], True),
    ],
)
def test_the_fleets_are_needed_for_a_detach_and_for_whatever_is_excluded_otherwise_than_by_id(
    changes: list[Change], waiting: list[Change], excluded: list[DriverRef | FleetRef], needed: bool
) -> None:
    saved = guarded(changes, held=[held(change) for change in waiting])
    assert saved_plan.needs_fleets(saved, excluded) is needed


def test_its_fleets_with_their_modes_its_drivers_and_the_ignored_ones_are_read() -> None:
    ignored = DriverByEmail("b@example.com")
    needed = saved_plan.required_reading(SAVED, [ignored])
    assert [(entry.fleet, entry.mode) for entry in needed.fleets] == [
        (FleetById(VANS), Mode.EXACT),
        (FleetById(DEPOT), Mode.ADDITIVE),
    ]
    assert {(row.driver, row.fleet) for row in needed.rows} == {
        (DriverById(change.driver), FleetById(change.fleet)) for change in (ATTACH, DETACH, OTHER)
    }
    assert needed.ignored == {ignored}


def test_what_fits_is_not_stale_and_what_is_done_already_is() -> None:
    assert saved_plan.stale_changes(SAVED, FITS, unmanaged=(), ignored=NOBODY) == {}
    done = worlds.seen({A: [VANS], B: [VANS], C: [DEPOT]})
    assert saved_plan.stale_changes(SAVED, done, unmanaged=(), ignored=NOBODY).keys() == {ATTACH}


@pytest.mark.parametrize("entry", [FleetById(DEPOT), FleetByName("Lyon depot")])
def test_a_fleet_that_is_unmanaged_since_is_left_alone(entry: FleetRef) -> None:
    stale = saved_plan.stale_changes(SAVED, FITS, unmanaged=[FleetById(NORTH), entry], ignored=NOBODY)
    assert stale == {OTHER: Stale("the fleet is listed in unmanaged of the section [guard]; nothing was sent")}
    unknown = dataclasses.replace(FITS, fleets={})
    found = saved_plan.stale_changes(SAVED, unknown, unmanaged=[entry], ignored=NOBODY)
    assert bool(found) is isinstance(entry, FleetById), "without its name only the id tells"


def test_a_driver_that_is_ignored_since_is_left_alone_and_nobody_is_detached_by_an_unclear_entry() -> None:
    entry = DriverByEmail("a@example.com")
    known = ignored_drivers.IgnoredDrivers({A: entry}, {}, {})
    assert saved_plan.stale_changes(SAVED, FITS, unmanaged=(), ignored=known) == {
        ATTACH: Stale("the driver is listed in ignore_drivers of the section [guard]; nothing was sent")
    }
    unclear = ignored_drivers.IgnoredDrivers({}, {entry: Unresolved("no driver has it")}, {})
    message = "an entry of ignore_drivers in the section [guard] may mean anyone; nothing was sent"
    assert saved_plan.stale_changes(SAVED, FITS, unmanaged=(), ignored=unclear) == {
        DETACH: Stale(message),
        OTHER: Stale(message),
    }


def test_the_members_and_the_fleets_of_drivers_are_those_of_now() -> None:
    plan = saved_plan.plan_again(SAVED, worlds.seen({B: [VANS, DEPOT], C: [DEPOT]}), without=[ATTACH])
    assert plan.changes == tuple(sorted((DETACH, OTHER), key=lambda change: change.order))
    assert plan.members == {VANS: 1, DEPOT: 2}
    assert plan.exact == {VANS}
    assert plan.concerned == {
        A: ConcernedDriver(frozenset(), frozenset({VANS})),
        B: ConcernedDriver(frozenset({VANS, DEPOT}), frozenset()),
    }
