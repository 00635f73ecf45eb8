"""Listings that turn out to lack some drivers, or whose total does not fit, decide nothing."""

import pytest

from tests.engine import big_accounts
from tests.support import harness
from tests.support.harness import DEPOT, VANS, A, B, C, D
from worker.core.model.identifiers import DriverId
from worker.sandbox import quirks

pytestmark = pytest.mark.anyio

CAPPED_PAGES = 3
PAGE_SIZE = 10


async def test_a_list_of_all_drivers_that_lacks_named_ones_is_incomplete() -> None:
    """An e-mail address that this list does not show may belong to one of the drivers that it left out."""
    drivers = [DriverId(f"drv_{number:032d}") for number in range(100)]
    account = harness.Harness(harness.state_of({VANS: []}, others=drivers), page_size=PAGE_SIZE)
    account.sandbox.faults = big_accounts.fault_where(
        "cut_short",
        lambda request: len(big_accounts.listed(account)) % CAPPED_PAGES == 0 and big_accounts.page(None)(request),
    )
    actual = await account.read({VANS: [*drivers, "hidden@example.com"]})
    assert set(actual.memberships) == set(drivers)
    assert not actual.directory_complete


async def test_a_driver_that_becomes_readable_must_fit_the_total_that_it_excused() -> None:
    """A fleet's total is one too low, and one of its drivers is malformed in the listing: the numbers agree."""
    held = big_accounts.beside_a_crowd(harness.state_of({VANS: [A, B]}))
    account = harness.Harness(held)
    account.sandbox.quirks = quirks.Quirks(total_drivers_offset=-1)
    account.sandbox.faults = big_accounts.fault_where("malformed", big_accounts.page(VANS))
    actual = await account.read({VANS: [A, B]})
    assert set(actual.memberships) == {A, B}
    assert set(actual.incomplete) == {VANS}


async def test_a_driver_that_becomes_readable_and_fits_the_total_leaves_the_fleet_complete() -> None:
    account = harness.Harness(big_accounts.beside_a_crowd(harness.state_of({VANS: [A, B]})))
    account.sandbox.faults = big_accounts.fault_where("malformed", big_accounts.page(VANS))
    actual = await account.read({VANS: [A, B]})
    assert set(actual.memberships) == {A, B}
    assert not actual.incomplete


async def test_a_driver_that_the_listing_of_another_fleet_fails_to_show_excuses_nothing() -> None:
    """A fleet whose own listing can be read whole lacks somebody, whatever is wrong with another listing."""
    account = harness.Harness(big_accounts.beside_a_crowd(harness.state_of({VANS: [A, B], DEPOT: [C, D]})))
    account.sandbox.quirks = quirks.Quirks(total_drivers_offset=1)
    account.sandbox.faults = big_accounts.fault_where("malformed", big_accounts.page(DEPOT))
    actual = await account.read({VANS: [A, B], DEPOT: []})
    assert actual.unreadable <= {C, D} and actual.unreadable
    assert VANS in actual.incomplete
