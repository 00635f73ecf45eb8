"""A list of all drivers that turns out to lack some of them decides nothing about references."""

import pytest

from tests.engine import big_accounts
from tests.support import harness
from tests.support.harness import VANS
from worker.core.model.identifiers import DriverId

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
