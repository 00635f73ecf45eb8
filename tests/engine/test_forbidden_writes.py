"""Writes that Charge answers with 403: to one fleet, or whatever the key tries to write."""

import httpx
import pytest

from tests.engine import big_accounts
from tests.support import harness
from tests.support import sandbox as support
from tests.support.harness import DEPOT, NORTH, VANS, A, B, C
from worker.core.model.identifiers import DriverId
from worker.core.model.outcomes import Deferred, Refused
from worker.sandbox import quirks

pytestmark = pytest.mark.anyio


async def test_a_forbidden_fleet_is_named_and_no_other_fleet_suffers() -> None:
    """Story: 403 on one group ended the sync for all (firezone 12779)."""
    held = big_accounts.beside_a_crowd(harness.state_of({VANS: [A], DEPOT: [], NORTH: []}, others=[B, C]))

    class Forbidding(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if VANS in str(request.url) or VANS.encode() in request.content:
                return httpx.Response(403, json={"message": "Not yours."})
            return await support.transport(account_harness.sandbox).handle_async_request(request)

    account_harness = harness.Harness(held, new_transport=Forbidding)
    finished = await account_harness.reconcile({VANS: [A, C], DEPOT: [B], NORTH: []})
    assert finished.exit_code == 4
    assert held.members(DEPOT) == {B}
    assert finished.guarded is not None
    assert any(VANS in problem.where for problem in finished.guarded.problems)


@pytest.mark.parametrize("concurrency", [1, 16])
@pytest.mark.parametrize("first", [True, False])
async def test_a_fleet_that_forbids_many_writes_keeps_no_other_fleet_waiting(concurrency: int, first: bool) -> None:
    """The same story with more newcomers than it takes to blame the key, before or after those of another fleet."""
    drivers = [DriverId(f"drv_{number:032d}") for number in range(60)]
    to_vans, to_depot = (drivers[:30], drivers[30:]) if first else (drivers[30:], drivers[:30])
    held = harness.state_of({VANS: [], DEPOT: []}, others=drivers)

    class Forbidding(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if VANS.encode() in request.content:
                return httpx.Response(403, json={"message": "Not yours."})
            return await support.transport(account_harness.sandbox).handle_async_request(request)

    account_harness = harness.Harness(held, new_transport=Forbidding, concurrency=concurrency)
    finished = await account_harness.reconcile({VANS: to_vans, DEPOT: to_depot})
    assert (finished.error, finished.exit_code) == (None, 4)
    assert held.members(DEPOT) == frozenset(to_depot)
    refused = [each for each in finished.results if isinstance(each.outcome, Refused)]
    withheld = [each.outcome.code for each in finished.results if isinstance(each.outcome, Deferred)]
    assert 5 <= len(refused) < 5 + concurrency
    assert withheld == ["fleet_forbidden"] * (30 - len(refused))


async def test_a_key_that_may_write_nothing_is_noticed_whatever_the_fleets() -> None:
    drivers = [DriverId(f"drv_{number:032d}") for number in range(40)]
    account_harness = harness.Harness(
        harness.state_of({VANS: [], DEPOT: []}, others=drivers), quirks=quirks.Quirks(read_only=True), concurrency=1
    )
    finished = await account_harness.reconcile({VANS: drivers[:20], DEPOT: drivers[20:]})
    assert finished.error is not None
    assert (finished.error.code, len(account_harness.writes)) == ("key_forbidden", 6)


async def test_five_forbidden_writes_in_a_row_end_the_run() -> None:
    drivers = [DriverId(f"drv_{number:032d}") for number in range(40)]
    account_harness = harness.Harness(
        harness.state_of({VANS: []}, others=drivers), quirks=quirks.Quirks(read_only=True), concurrency=1
    )
    finished = await account_harness.reconcile({VANS: drivers})
    assert finished.error is not None
    assert (finished.error.code, finished.exit_code) == ("key_forbidden", 1)
    assert len(account_harness.writes) == 5
