"""What could not be read is neither there nor absent; and an export is whole or none."""

import httpx
import pytest

from tests.engine import crowds
from tests.support import rig as rigs
from tests.support import sandbox as support
from tests.support.rig import DEPOT, GHOST, NORTH, VANS, A, B, C, D
from worker.core.model.errors import ChargeError, KeyRejected, ReadingError, RequestRefused, Unreachable
from worker.sandbox import roster

pytestmark = pytest.mark.anyio


# --- Unknown is not absent --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["503", "reset_before", "html_200", "wrong_types", "truncated"])
async def test_a_driver_that_cannot_be_looked_up_is_unknown_not_absent(name: str) -> None:
    """Story: a 503 on one lookup deleted that user (ssosync 278)."""
    held = crowds.beside_a_crowd(rigs.roster_of({VANS: [A], DEPOT: [B]}, others=[C]))
    rig = rigs.Rig(held, faults=crowds.fault_where(name, lambda request: request.path.endswith(C)))
    actual = await rig.read({VANS: [A, C, GHOST]})
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


@pytest.mark.parametrize("status", [302, 400, 405, 410, 422, 451])
async def test_a_lookup_that_is_refused_stands_alone(status: int) -> None:
    """Story: one renamed e-mail aborted every run (ssosync 353): one driver's 400 is not everybody's."""
    held = crowds.beside_a_crowd(rigs.roster_of({VANS: [A], DEPOT: [B]}, others=[C]))
    rig = rigs.Rig(held, transport=lambda: Refusing(support.transport(rig.sandbox), C, status))
    actual = await rig.read({VANS: [A, B, C]})
    assert set(actual.memberships) == {A, B}
    assert actual.absent == frozenset()


@pytest.mark.parametrize(("status", "kind"), [(401, KeyRejected), (403, RequestRefused)])
async def test_a_key_that_may_not_look_up_ends_the_reading(status: int, kind: type[ChargeError]) -> None:
    held = crowds.beside_a_crowd(rigs.roster_of({VANS: [A], DEPOT: [B]}))
    rig = rigs.Rig(held, transport=lambda: Refusing(support.transport(rig.sandbox), B, status))
    with pytest.raises(kind):
        await rig.read({VANS: [A, B]})


@pytest.mark.parametrize("name", ["503", "cut_short", "loop", "foreign"])
async def test_without_the_list_of_all_drivers_addresses_are_unknown(name: str) -> None:
    held = rigs.roster_of({VANS: [A, B, C]}, others=[D])
    rig = rigs.Rig(held, page_size=2, faults=crowds.fault_where(name, crowds.page(None)))
    actual = await rig.read({VANS: ["d" * 32 + "@example.com"]})
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
    held, fleets = crowds.ten_fleets()
    rig = rigs.Rig(held, page_size=3, faults=crowds.fault_where(name, lambda request: request.route == "fleets"))
    with pytest.raises(ReadingError) as caught:
        await rig.read({fleets[0]: []})
    assert caught.value.code == code
    assert caught.value.remedy
    assert crowds.listed(rig) == []


async def test_a_fleet_that_cannot_be_asked_for_is_not_absent() -> None:
    held = rigs.roster_of({VANS: [A]})
    rig = rigs.Rig(held, faults=crowds.fault_where("503", lambda request: request.path.endswith(NORTH)))
    with pytest.raises(Unreachable):
        await rig.read({VANS: [], NORTH: []})


# --- Export -----------------------------------------------------------------------------------------------


async def test_an_export_shows_every_membership_and_every_address() -> None:
    held = roster.Roster.populate(drivers=60, fleets=5)
    rig = rigs.Rig(held, page_size=20)
    actual = await rig.surveyor().export()
    shown = {(driver, fleet) for driver, fleets in actual.memberships.items() for fleet in fleets}
    assert shown == held.memberships()
    assert set(actual.emails) == {driver.email.casefold() for driver in held.drivers.values()}


@pytest.mark.parametrize("name", ["503", "cut_short"])
async def test_an_export_is_whole_or_none(name: str) -> None:
    rig = rigs.Rig(roster.Roster.populate(drivers=60, fleets=5), page_size=20)
    rig.sandbox.faults = crowds.fault_where(
        name, lambda request: request.route == "drivers" and "page" in request.query
    )
    with pytest.raises(ReadingError, match="nothing is exported"):
        await rig.surveyor().export()
