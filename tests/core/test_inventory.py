"""When a listing is complete: laws over accounts that are shown correctly, or not quite."""

import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import worlds
from tests.core.worlds import DEPOT, NORTH, VANS, A, B, C
from worker.core.model.actual import Actual, Driver, Fleet
from worker.core.model.desired import DriverByEmail, DriverById, DriverByMetadata, DriverRef
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.people import Person
from worker.core.planning import inventory, similar
from worker.core.planning.expected_drivers import ExpectedDrivers

Holdings = dict[DriverId, frozenset[FleetId]]
HOLDINGS = st.dictionaries(st.sampled_from(worlds.DRIVERS), st.frozensets(st.sampled_from(worlds.FLEETS)))


def filled(holdings: Holdings) -> inventory.Inventory:
    """Return the inventory of an account that is shown correctly."""
    taken = inventory.Inventory(ExpectedDrivers())
    for driver, fleets in holdings.items():
        taken.add(Driver(driver, fleets))
    return taken


def fleet(id: FleetId, total: int | None) -> Fleet:
    return Fleet(id, total_drivers=total)


def listing(holdings: Mapping[DriverId, frozenset[FleetId]], of: FleetId) -> frozenset[DriverId]:
    return frozenset(driver for driver, fleets in holdings.items() if of in fleets)


def members(taken: inventory.Inventory, of: FleetId) -> frozenset[DriverId]:
    return listing(actual_of(taken).memberships, of)


def actual_of(taken: inventory.Inventory) -> Actual:
    return taken.actual(fleets={}, incomplete={}, directory_complete=False, requests=3)


def test_the_ids_of_the_sources_take_the_place_of_those_of_a_page_until_their_drivers_are_seen() -> None:
    named, shown = DriverId("drv_named"), DriverId("".join(["drv_", "named"]))
    taken = inventory.Inventory(ExpectedDrivers(by_id=([named],)))
    assert taken.expected_id(shown) is named
    taken.add(Driver(shown, frozenset({VANS})))
    assert [each is named for each in actual_of(taken).memberships] == [True]
    assert taken.expected_id(DriverId("drv_other")) == "drv_other"


# --- Laws -------------------------------------------------------------------------------------------------


@worlds.LAW
@given(HOLDINGS)
def test_an_honest_listing_is_not_doubted(holdings: Holdings) -> None:
    taken = filled(holdings)
    for one in worlds.FLEETS:
        listed = listing(holdings, one)
        assert taken.incompleteness_reason(fleet(one, len(listed)), count=len(listed)) is None
        assert taken.incompleteness_reason(fleet(one, len(listed)), count=len(listed), listed=len(listed)) is None


@worlds.LAW
@given(HOLDINGS, st.randoms(use_true_random=False))
def test_pages_in_any_order_and_drivers_shown_again_make_the_same_inventory(
    holdings: Holdings, chance: random.Random
) -> None:
    again = [*holdings, *holdings]
    chance.shuffle(again)
    taken = inventory.Inventory(ExpectedDrivers())
    news = [taken.add(Driver(driver, holdings[driver])) for driver in again]
    assert sum(news) == len(holdings)
    assert actual_of(taken) == actual_of(filled(holdings))
    assert taken.incompleteness_reason(fleet(VANS, None), count=0) == "Charge did not send its `total_drivers`"


@worlds.LAW
@given(HOLDINGS.filter(bool), st.data())
def test_a_driver_who_is_left_out_makes_all_his_fleets_doubtful_and_no_other(
    holdings: Holdings, data: st.DataObject
) -> None:
    lost = data.draw(st.sampled_from(sorted(holdings)))
    taken = filled({driver: fleets for driver, fleets in holdings.items() if driver != lost})
    sizes = taken.sizes()
    for one in worlds.FLEETS:
        incompleteness_reason = taken.incompleteness_reason(
            fleet(one, len(listing(holdings, one))), count=sizes.get(one, 0)
        )
        assert (incompleteness_reason is not None) is (one in holdings[lost])


@worlds.LAW
@given(HOLDINGS.filter(bool), st.frozensets(st.sampled_from(worlds.FLEETS)), st.data())
def test_a_driver_shown_in_two_ways_makes_just_the_fleets_in_question_doubtful(
    holdings: Holdings, later: frozenset[FleetId], data: st.DataObject
) -> None:
    shown = data.draw(st.sampled_from(sorted(holdings)))
    taken = filled(holdings)
    assert not taken.add(Driver(shown, later))
    assert actual_of(taken).memberships[shown] == later
    sizes = taken.sizes()
    for one in worlds.FLEETS:
        incompleteness_reason = taken.incompleteness_reason(
            fleet(one, sizes.get(one, 0)), count=sizes.get(one, 0), final=True
        )
        assert (incompleteness_reason == "a driver appeared both with and without this fleet") is (
            one in holdings[shown] ^ later
        )


@worlds.LAW
@given(HOLDINGS, HOLDINGS, st.sampled_from(worlds.FLEETS))
def test_a_second_reading_replaces_who_is_in_that_fleet_and_in_no_other(
    before: Holdings, now: Holdings, again: FleetId
) -> None:
    now = {driver: fleets for driver, fleets in now.items() if again in fleets}
    taken = filled(before)
    later = filled(now)
    assert taken.merge(later) is bool(now.keys() - before.keys())
    assert taken.count() == len(before.keys() | now.keys())
    taken.replace_fleets(later, {again})
    assert members(taken, again) == now.keys()
    for one in set(worlds.FLEETS) - {again}:
        assert members(taken, one) - (now.keys() - before.keys()) == listing(before, one)


@worlds.LAW
@given(HOLDINGS)
def test_sizes_and_members_agree(holdings: Holdings) -> None:
    taken = filled(holdings)
    sizes = taken.sizes()
    assert all(sizes.get(one, 0) == len(members(taken, one)) == len(listing(holdings, one)) for one in worlds.FLEETS)


@worlds.LAW
@given(st.integers(0, 1000), st.integers(-12, 12))
def test_a_first_reading_counts_exactly_and_a_second_one_within_a_hundredth(total: int, off: int) -> None:
    count = max(0, total + off)
    taken = inventory.Inventory(ExpectedDrivers())
    assert (taken.incompleteness_reason(fleet(VANS, total), count=count) is None) is (count == total)
    assert (taken.incompleteness_reason(fleet(VANS, total), count=count, final=True) is None) is (
        100 * abs(count - total) <= total
    )


# --- Single cases -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "trusted"), [(98, False), (99, True), (101, True), (102, False)])
def test_after_a_second_reading_one_of_a_hundred_may_have_come_or_gone(count: int, trusted: bool) -> None:
    incompleteness_reason = inventory.Inventory(ExpectedDrivers()).incompleteness_reason(
        fleet(VANS, 100), count=count, final=True
    )
    assert incompleteness_reason == (
        None if trusted else f"the listing shows {count} drivers, but `total_drivers` says 100"
    )


def test_a_listing_that_stops_at_thirty_is_not_the_fleet() -> None:
    """terraform-provider-github 701 and firezone 9194: lists capped, or short, under a 200."""
    here: Holdings = {DriverId(f"drv_{number:032}"): frozenset({VANS}) for number in range(30)}
    incompleteness_reason = filled(here).incompleteness_reason(fleet(VANS, 300), count=30, listed=len(here), final=True)
    assert incompleteness_reason == "the listing shows 30 drivers, but `total_drivers` says 300"


def test_a_listing_that_shows_somebody_who_is_not_in_the_fleet_is_doubted() -> None:
    taken = filled({A: frozenset({VANS}), B: frozenset({DEPOT})})
    disagree = "the fleet's listing and its drivers' own `fleets` disagree"
    assert taken.agrees(VANS, [A])
    assert not taken.agrees(VANS, [B])
    assert not taken.agrees(VANS, [A, B])
    assert taken.incompleteness_reason(fleet(VANS, 2), count=1, listed=2) == disagree


def test_a_listing_that_leaves_out_somebody_whom_another_shows_in_the_fleet_is_doubted() -> None:
    taken = filled({A: frozenset({VANS}), B: frozenset({VANS, DEPOT})})
    disagree = "the fleet's listing and its drivers' own `fleets` disagree"
    assert taken.incompleteness_reason(fleet(VANS, 2), count=2, listed=1) == disagree


def test_a_second_reading_settles_a_contradiction() -> None:
    taken = filled({A: frozenset({VANS, DEPOT})})
    taken.add(Driver(A, frozenset()))
    taken.replace_fleets(filled({A: frozenset({VANS})}), {VANS})
    assert taken.incompleteness_reason(fleet(VANS, 1), count=1) is None
    assert taken.incompleteness_reason(fleet(DEPOT, 0), count=0) is not None


def test_only_references_that_are_asked_for_are_looked_up() -> None:
    asked: list[DriverRef] = [
        DriverByEmail("alice@example.com"),
        DriverByMetadata("employee_id", "10042"),
        DriverById(A),
    ]
    taken = inventory.Inventory(ExpectedDrivers(references=asked))
    taken.add(Driver(A, frozenset(), email="Alice@Example.COM", metadata={"employee_id": "10043", "team": "7"}))
    taken.add(Driver(B, frozenset(), email="bob@example.com", metadata={"employee_id": "10042"}))
    taken.add(Driver(C, frozenset(), email="alice@example.com"))
    seen = actual_of(taken)
    assert seen.emails == {"alice@example.com": (A, C)}
    assert seen.metadata == {("employee_id", "10042"): (B,)}
    assert seen.requests == 3


def test_a_second_reading_finds_references_and_names_of_those_whom_the_first_left_out() -> None:
    asked: list[DriverRef] = [
        DriverByEmail("bob@example.com"),
        DriverByMetadata("employee_id", "7"),
    ]
    first, second = (
        inventory.Inventory(ExpectedDrivers(references=asked)),
        inventory.Inventory(ExpectedDrivers(references=asked)),
    )
    first.add(Driver(A, frozenset({VANS}), name="Alice"))
    second.add(Driver(A, frozenset({VANS}), name="Alice, renamed"))
    second.add(Driver(B, frozenset({VANS}), email="bob@example.com", metadata={"employee_id": "7"}))
    assert first.merge(second)
    seen = actual_of(first)
    assert seen.emails == {"bob@example.com": (B,)}
    assert seen.metadata == {("employee_id", "7"): (B,)}
    assert dict(seen.people) == {A: Person("Alice"), B: Person("", "bob@example.com")}


def test_a_reference_without_a_match_is_compared_with_the_addresses_that_no_reference_names() -> None:
    asked = [DriverByEmail("emma.baker@example.com"), DriverByEmail("noah@example.com")]
    first, second = (
        inventory.Inventory(ExpectedDrivers(references=asked)),
        inventory.Inventory(ExpectedDrivers(references=asked)),
    )
    first.add(Driver(A, frozenset(), email="noah@example.com"))
    second.add(Driver(B, frozenset(), email="Emma.Bakker@example.com"))
    assert actual_of(first).similar == {}
    first.merge(second)
    assert actual_of(first).similar == {asked[0]: ("emma.bakker@example.com",)}


@pytest.mark.integration
def test_in_a_very_large_account_no_address_is_suggested() -> None:
    taken = inventory.Inventory(ExpectedDrivers(references=[DriverByEmail("driver@example.com")]))
    for number in range(similar.MOST_CANDIDATES + 1):
        taken.add(Driver(DriverId(f"drv_{number:032}"), frozenset(), email=f"driver{number}@example.com"))
    assert actual_of(taken).similar == {}


def test_an_export_asks_for_every_address() -> None:
    taken, later = (
        inventory.Inventory(ExpectedDrivers(), all_emails=True),
        inventory.Inventory(ExpectedDrivers(), all_emails=True),
    )
    taken.add(Driver(A, frozenset(), email="Alice@example.com"))
    taken.add(Driver(B, frozenset()))
    later.add(Driver(C, frozenset({VANS}), email="alice@example.com"))
    assert actual_of(taken).emails == {"alice@example.com": (A,)}
    taken.merge(later)
    assert actual_of(taken).emails == {"alice@example.com": (A, C)}


def test_whom_a_reference_leads_to_is_known_though_only_a_fleet_that_stays_doubtful_shows_him() -> None:
    """The planner looks up the fleets of every driver that a reference resolves to, whichever listing showed it."""
    asked = [DriverByEmail("bob@example.com")]
    first, second = (
        inventory.Inventory(ExpectedDrivers(references=asked)),
        inventory.Inventory(ExpectedDrivers(references=asked)),
    )
    first.add(Driver(A, frozenset({VANS})))
    second.add(Driver(A, frozenset({VANS})))
    second.add(Driver(B, frozenset({DEPOT}), email="bob@example.com"))
    assert first.merge(second)
    first.replace_fleets(second, {VANS})
    seen = actual_of(first)
    assert seen.emails == {"bob@example.com": (B,)}
    assert seen.memberships == {A: {VANS}, B: {DEPOT}}


def test_a_driver_is_shown_by_name_else_by_address_else_not_at_all() -> None:
    taken = inventory.Inventory(ExpectedDrivers())
    taken.add(Driver(A, frozenset(), name="Alice", email="alice@example.com"))
    taken.add(Driver(B, frozenset(), email="bob@example.com"))
    taken.add(Driver(C, frozenset()))
    assert dict(actual_of(taken).people) == {A: Person("Alice", "alice@example.com"), B: Person("", "bob@example.com")}


def test_absent_is_who_was_missed_and_never_seen() -> None:
    taken = inventory.Inventory(ExpectedDrivers(by_id=([C, A, B, B],)))
    taken.add(Driver(A, frozenset({NORTH})))
    assert taken.unseen() == [B, C]
    taken.add_absent(A)
    taken.add_absent(B)
    assert actual_of(taken).absent == {B}


def test_drivers_with_the_same_fleets_share_one_object() -> None:
    """This is how a million drivers fit into memory."""
    seen = actual_of(filled({A: frozenset([VANS, DEPOT]), B: frozenset([DEPOT, VANS])})).memberships
    assert seen[A] is seen[B]


def test_a_driver_whose_object_is_malformed_explains_one_missing_member() -> None:
    taken = filled({A: frozenset({VANS})})
    assert taken.incompleteness_reason(fleet(VANS, 2), count=1) is not None
    taken.add_unreadable(B)
    assert taken.incompleteness_reason(fleet(VANS, 2), count=1) is None
    assert taken.incompleteness_reason(fleet(VANS, 3), count=1) is not None
    assert actual_of(taken).unreadable == {B}


def test_a_driver_that_cannot_be_read_may_be_missing_only_where_the_fleets_own_listing_shows_it() -> None:
    taken = filled({A: frozenset({VANS})})
    taken.add_unreadable(B)
    for malformed, explained in ((frozenset({B}), True), (frozenset({C}), False), (frozenset[DriverId](), False)):
        reason = taken.incompleteness_reason(fleet(VANS, 2), count=1, listed=1, malformed=malformed)
        assert (reason is None) is explained


def test_one_driver_too_many_is_not_explained_by_one_that_cannot_be_read() -> None:
    taken = filled({A: frozenset({VANS}), C: frozenset({VANS})})
    taken.add_unreadable(B)
    assert taken.incompleteness_reason(fleet(VANS, 1), count=2) is not None


def test_a_driver_that_is_read_in_the_end_is_neither_unreadable_nor_counted_twice() -> None:
    taken = filled({A: frozenset({VANS})})
    taken.add_unreadable(B)
    assert (taken.count(), taken.has_seen(B), [*taken.unreadable()]) == (2, False, [B])
    taken.add(Driver(B, frozenset()))
    assert (taken.count(), taken.has_seen(B), [*taken.unreadable()]) == (2, True, [])


def test_a_second_reading_brings_statuses_and_who_cannot_be_read() -> None:
    first, second = filled({A: frozenset({VANS})}), inventory.Inventory(ExpectedDrivers())
    first.add(Driver(C, frozenset(), status="suspended"))
    second.add(Driver(A, frozenset({VANS}), status="archived"))
    second.add_unreadable(B)
    assert not first.merge(second)
    assert actual_of(first).statuses == {A: "archived", C: "suspended"}
    assert (first.count(), [*first.unreadable()]) == (3, [B])


def test_who_was_expected_and_never_seen_has_no_memberships() -> None:
    taken = inventory.Inventory(ExpectedDrivers(by_id=([A, B],)))
    assert (taken.expected, taken.count(), taken.sizes()) == (2, 0, {})
    taken.add(Driver(A, frozenset({NORTH})))
    assert (taken.count(), taken.sizes()) == (1, {NORTH: 1})
    assert actual_of(taken).memberships == {A: {NORTH}}


def test_a_driver_that_one_listing_shows_in_no_fleet_is_not_in_it() -> None:
    taken = inventory.Inventory(ExpectedDrivers(by_id=([A],)))
    assert not taken.agrees(VANS, [A]), "it was not seen yet"
    taken.add(Driver(A, frozenset()))
    assert not taken.agrees(VANS, [A])
    assert taken.agrees(VANS, [])
