"""What could not be read is neither there nor absent; and an export is whole or none."""

import httpx
import pytest

from tests.engine import big_accounts
from tests.support import harness
from tests.support import sandbox as support
from tests.support.harness import DEPOT, GHOST, NORTH, VANS, A, B, C, D
from worker.core.model.errors import KeyRejected, ReadingError, Unreachable
from worker.sandbox import state

pytestmark = pytest.mark.anyio


# --- Unknown is not absent --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["503", "reset_before", "html_200", "wrong_types", "truncated"])
async def test_a_driver_that_cannot_be_looked_up_is_unknown_not_absent(name: str) -> None:
    """Story: a 503 on one lookup deleted that user (ssosync 278)."""
    held = big_accounts.beside_a_crowd(harness.state_of({VANS: [A], DEPOT: [B]}, others=[C]))
    account_harness = harness.Harness(
        held, faults=big_accounts.fault_where(name, lambda request: request.path.endswith(C))
    )
    actual = await account_harness.read({VANS: [A, C, GHOST]})
    assert C not in actual.memberships
    assert actual.absent == {GHOST}


class Refusing(httpx.AsyncBaseTransport):
    """A server that refuses requests about one object, with a status that says little."""

    def __init__(self, server: httpx.AsyncBaseTransport, end: str, status: int) -> None:
        self._server, self._end, self._status = server, end, status

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith(self._end):
            return httpx.Response(self._status)
        return await self._server.handle_async_request(request)


@pytest.mark.parametrize("status", [302, 400, 403, 405, 410, 422, 451])
async def test_a_lookup_that_is_refused_stands_alone(status: int) -> None:
    """Story: one renamed e-mail aborted every run (ssosync 353): one driver's 400 is not everybody's."""
    held = big_accounts.beside_a_crowd(harness.state_of({VANS: [A], DEPOT: [B]}, others=[C]))
    account_harness = harness.Harness(
        held, new_transport=lambda: Refusing(support.transport(account_harness.sandbox), C, status)
    )
    actual = await account_harness.read({VANS: [A, B, C]})
    assert set(actual.memberships) == {A, B}
    assert actual.absent == frozenset()


async def test_a_rejected_key_ends_the_reading() -> None:
    held = big_accounts.beside_a_crowd(harness.state_of({VANS: [A], DEPOT: [B]}))
    account_harness = harness.Harness(
        held, new_transport=lambda: Refusing(support.transport(account_harness.sandbox), B, 401)
    )
    with pytest.raises(KeyRejected):
        await account_harness.read({VANS: [A, B]})


@pytest.mark.parametrize("name", ["503", "cut_short", "loop", "foreign"])
async def test_without_the_list_of_all_drivers_addresses_are_unknown(name: str) -> None:
    held = harness.state_of({VANS: [A, B, C]}, others=[D])
    account_harness = harness.Harness(held, page_size=2, faults=big_accounts.fault_where(name, big_accounts.page(None)))
    actual = await account_harness.read({VANS: ["d" * 32 + "@example.com"]})
    assert not actual.directory_complete
    assert (actual.incomplete, set(actual.memberships) >= {A, B, C}) == ({}, True)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("503", "api_error"),
        ("html_200", "answer_unreadable"),
        ("foreign", "foreign_address"),
        ("loop", "fleets_unreadable"),
    ],
)
async def test_without_the_list_of_fleets_nothing_can_be_read(name: str, code: str) -> None:
    """The error says what to do about its cause: a wrong address is no outage."""
    held, fleets = big_accounts.ten_fleets()
    account_harness = harness.Harness(
        held, page_size=3, faults=big_accounts.fault_where(name, lambda request: request.route == "fleets")
    )
    with pytest.raises(ReadingError) as caught:
        await account_harness.read({fleets[0]: []})
    assert caught.value.code == code
    assert caught.value.remedy
    assert big_accounts.listed(account_harness) == []


async def test_a_fleet_that_cannot_be_asked_for_is_not_absent() -> None:
    held = harness.state_of({VANS: [A]})
    account_harness = harness.Harness(
        held, faults=big_accounts.fault_where("503", lambda request: request.path.endswith(NORTH))
    )
    with pytest.raises(Unreachable):
        await account_harness.read({VANS: [], NORTH: []})


# --- Export -----------------------------------------------------------------------------------------------


async def test_an_export_shows_every_membership_and_every_address() -> None:
    held = state.SandboxState.populate(drivers=60, fleets=5)
    account_harness = harness.Harness(held, page_size=20)
    actual = await account_harness.new_plan_builder().export()
    shown = {(driver, fleet) for driver, fleets in actual.memberships.items() for fleet in fleets}
    assert shown == held.memberships()
    assert set(actual.emails) == {driver.email.casefold() for driver in held.drivers.values()}


@pytest.mark.parametrize("name", ["503", "cut_short"])
async def test_an_export_is_whole_or_none(name: str) -> None:
    account_harness = harness.Harness(state.SandboxState.populate(drivers=60, fleets=5), page_size=20)
    account_harness.sandbox.faults = big_accounts.fault_where(
        name, lambda request: request.route == "drivers" and "page" in request.query
    )
    with pytest.raises(ReadingError, match="nothing is exported"):
        await account_harness.new_plan_builder().export()
