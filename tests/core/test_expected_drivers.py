"""Which drivers a reading must show, and whose names it can do without."""

import pytest

from tests.core import worlds
from tests.core.worlds import DEPOT, NORTH, VANS, A, B, C
from worker.core.model.actual import Actual, Driver, Fleet
from worker.core.model.desired import (
    Desired,
    DriverByEmail,
    DriverById,
    DriverRef,
    FleetById,
    FleetEntry,
    FleetRef,
    Origin,
    Row,
)
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.problem import Problem
from worker.core.planning import inventory
from worker.core.planning.expected_drivers import ExpectedDrivers

_AT = Origin("rows.csv", 2, 1)
_FLEETS = {VANS: Fleet(VANS), DEPOT: Fleet(DEPOT), NORTH: Fleet(NORTH)}


def desired(*rows: tuple[FleetRef, DriverRef], notices: tuple[Problem, ...] = ()) -> Desired:
    entries = tuple(FleetEntry(FleetById(fleet), _AT) for fleet in (VANS, DEPOT))
    return Desired((), entries, tuple(Row(fleet, driver, _AT) for fleet, driver in rows), notices)


def test_the_drivers_of_rows_and_the_ignored_ones_are_expected() -> None:
    email = DriverByEmail("carol@example.com")
    dated = Row(FleetById(VANS), DriverById(B), _AT, ends=worlds.NOW)
    wanted = Desired(
        (), (), (Row(FleetById(VANS), DriverById(A), _AT), dated), ignored=frozenset({DriverById(C), email})
    )
    expected = ExpectedDrivers.of(wanted)
    assert sorted(expected.named()) == [A, B, C]
    assert expected.references == {email}


@pytest.mark.parametrize(
    ("driver", "fleets", "in_sync"),
    [
        (A, {VANS}, True),
        (A, {VANS, NORTH}, True),  # North is not managed
        (A, {VANS, DEPOT}, False),
        (A, {DEPOT}, False),
        (A, set(), False),
        (B, {VANS}, False),
        (B, set(), False),  # nobody asks for it: it may be in a fleet by another reading
    ],
)
def test_a_driver_is_in_sync_if_it_is_in_just_the_managed_fleets_of_its_rows(
    driver: DriverId, fleets: set[FleetId], in_sync: bool
) -> None:
    wanted = desired((FleetById(VANS), DriverById(A)))
    assert ExpectedDrivers.of(wanted).knowing(wanted, _FLEETS).is_in_sync(driver, frozenset(fleets)) is in_sync
    assert not ExpectedDrivers.of(wanted).is_in_sync(driver, frozenset(fleets))


def test_nobody_is_in_sync_for_sure_whom_another_row_may_mean() -> None:
    plain = (FleetById(VANS), DriverById(A))
    by_email = desired(plain, (FleetById(DEPOT), DriverByEmail("a@example.com")))
    noted = desired(plain, notices=(Problem("rows.csv:2:1", f"{A} is also listed"),))
    dated = Desired((), by_email.fleets, (*desired(plain).rows, Row(FleetById(DEPOT), DriverById(A), _AT, worlds.NOW)))
    for wanted in (by_email, noted, dated):
        assert not ExpectedDrivers.of(wanted).knowing(wanted, _FLEETS).is_in_sync(A, frozenset({VANS}))


def _read(count: int) -> Actual:
    """Read a driver who is in sync, others, and one who is not."""
    numbered = [DriverId(f"drv_{number:032}") for number in range(count)]
    wanted = desired(*((FleetById(VANS), DriverById(each)) for each in (A, B, *numbered)))
    taken = inventory.Inventory(ExpectedDrivers.of(wanted).knowing(wanted, _FLEETS))
    taken.add(Driver(A, frozenset({VANS}), name="Alice"))
    for each in numbered:
        taken.add(Driver(each, frozenset({VANS}), name="Somebody"))
    taken.add(Driver(B, frozenset({DEPOT}), name="Bob"))
    return taken.actual(fleets=_FLEETS, incomplete={}, directory_complete=False, requests=1)


@pytest.mark.integration
def test_a_large_account_keeps_only_the_names_of_those_who_may_have_a_change() -> None:
    few, many = _read(inventory.MOST_NAMED - 2), _read(inventory.MOST_NAMED + 1)
    assert len(few.people) == inventory.MOST_NAMED
    assert {driver: person.shown for driver, person in many.people.items()} == {B: "Bob"}
    assert len(many.memberships) == inventory.MOST_NAMED + 3


def test_an_expected_driver_who_was_not_seen_is_not_in_the_reading() -> None:
    wanted = desired((FleetById(VANS), DriverById(A)), (FleetById(VANS), DriverById(B)))
    taken = inventory.Inventory(ExpectedDrivers.of(wanted))
    assert (taken.expected, taken.count(), taken.unseen()) == (2, 0, [A, B])
    taken.add(Driver(A, frozenset({VANS})))
    assert (taken.expected, taken.count(), taken.unseen(), taken.sizes()) == (2, 1, [B], {VANS: 1})
    taken.replace_fleets(inventory.Inventory(ExpectedDrivers()), [DEPOT])
    seen = taken.actual(fleets=_FLEETS, incomplete={}, directory_complete=True, requests=1)
    assert seen.memberships == {A: frozenset({VANS})}
