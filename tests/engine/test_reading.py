"""Reading what Charge holds: as cheaply as possible, and nothing is taken for absent that was merely not seen."""

from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from tests.support import doubles
from tests.support import rig as rigs
from tests.support import sandbox as support
from worker.core import errors, values
from worker.sandbox import behaviour, faults, messages, roster

pytestmark = pytest.mark.anyio

A, B, C, D = (rigs.driver_id(letter) for letter in "ABCD")
GHOST = rigs.driver_id("Z")
VANS, DEPOT, NORTH = (rigs.fleet_id(letter) for letter in "VWN")
DRIVERS = [values.DriverId(f"drv_{number:032d}") for number in range(60)]
FIRST = DRIVERS[0]


def _listed(rig: rigs.Rig) -> list[str]:
    """Give the listings of drivers, by their fleet, page by page."""
    return [request.query.get("fleet", "all") for request in rig.sandbox.requests if request.path == "/v1/drivers"]


def _retrieved(rig: rigs.Rig) -> list[str]:
    return [line.rpartition("/")[2] for line in rig.requests("GET /drivers/")]


def _fault_where(name: str, fits: Callable[[messages.Request], bool], *, times: int = 10**6) -> faults.Faults:
    """Make a fault that strikes so many of the requests that fit."""
    left = [times]

    def script(request: messages.Request) -> str | None:
        if left[0] and fits(request):
            left[0] -= 1
            return name
        return None

    return faults.Faults(script=script)


def _beside_a_crowd(held: roster.Roster) -> roster.Roster:
    """Add so many drivers in another fleet that nobody lists them all without need."""
    crowd = held.add_fleet(name="Crowd")
    for number in range(1000):
        held.add_driver(email=f"c{number}@example.com", fleets=[crowd])
    return held


def _page(fleet: str | None, *, later: bool | None = None) -> Callable[[messages.Request], bool]:
    """Tell pages of one listing of drivers, all of them, or just the first or the later ones."""

    def fits(request: messages.Request) -> bool:
        first = "page" not in request.query
        return request.route == "drivers" and request.query.get("fleet") == fleet and later in (None, not first)

    return fits


# --- What it costs ----------------------------------------------------------------------------------------


def _ten_fleets() -> tuple[roster.Roster, list[values.FleetId]]:
    fleets = [rigs.fleet_id(letter) for letter in "ABCDEFGHIJ"]
    return rigs.roster_of({fleet: DRIVERS[3 * n : 3 * n + 3] for n, fleet in enumerate(fleets)}), fleets


async def test_few_fleets_are_listed_each() -> None:
    held, fleets = _ten_fleets()
    rig = rigs.Rig(held, page_size=10)
    actual = await rig.read({fleet: [] for fleet in fleets[:2]})
    assert sorted(_listed(rig)) == fleets[:2]
    assert actual.requests == len(rig.sandbox.requests) == 3
    assert set(actual.memberships) == set(DRIVERS[:6])
    assert not actual.incomplete
    assert not actual.directory_complete


async def test_many_fleets_are_read_by_listing_all_drivers_once() -> None:
    held, fleets = _ten_fleets()
    rig = rigs.Rig(held, page_size=10)
    actual = await rig.read({fleet: [] for fleet in fleets})
    assert _listed(rig) == ["all"] * 3
    assert actual.requests == 4
    assert set(actual.memberships) == set(DRIVERS[:30])
    assert not actual.incomplete
    assert actual.directory_complete


async def test_listing_all_is_given_up_where_it_turns_out_dearer() -> None:
    """Drivers in no fleet show up in no figure beforehand."""
    held, fleets = _ten_fleets()
    for number in range(500):
        held.add_driver(email=f"x{number}@example.com")
    rig = rigs.Rig(held, page_size=10)
    actual = await rig.read({fleet: [] for fleet in fleets})
    assert _listed(rig)[:10] == ["all"] * 10
    assert sorted(_listed(rig)[10:]) == sorted(fleets)
    assert not actual.incomplete
    assert not actual.directory_complete


@pytest.mark.parametrize("reference", ["0" * 32 + "@example.com", "employee_id=10042"])
async def test_references_by_address_or_metadata_need_all_drivers(reference: str) -> None:
    held, fleets = _ten_fleets()
    held.change_driver(FIRST, metadata={"employee_id": "10042"})
    rig = rigs.Rig(held, page_size=10)
    actual = await rig.read({fleets[0]: [reference]})
    assert _listed(rig) == ["all"] * 3
    assert dict(actual.emails) == ({} if "=" in reference else {reference: (FIRST,)})
    assert dict(actual.metadata) == ({("employee_id", "10042"): (FIRST,)} if "=" in reference else {})


async def test_drivers_that_no_listing_showed_are_retrieved() -> None:
    held = rigs.roster_of({VANS: [A, B], DEPOT: [C]}, others=[D])
    rig = rigs.Rig(held, page_size=2)
    for number in range(50):
        held.add_driver(email=f"x{number}@example.com")
    actual = await rig.read({VANS: [A, B, C, D, GHOST]})
    assert sorted(_retrieved(rig)) == sorted([C, D, GHOST])
    assert (actual.memberships[C], actual.memberships[D]) == (frozenset({DEPOT}), frozenset())
    assert actual.absent == {GHOST}


async def test_whoever_is_not_in_a_whole_list_of_all_is_asked_for_only_where_they_are_few() -> None:
    """Many unknown ids at once: the list is whole, and one request each would cost more than another listing."""
    held = rigs.roster_of({VANS: [A, B], DEPOT: [C]})
    ghosts = [values.DriverId(f"drv_{number:032d}") for number in range(30)]
    rig = rigs.Rig(held, page_size=20)
    actual = await rig.read({VANS: [A, "b" * 32 + "@example.com", *ghosts]})
    assert (actual.directory_complete, _retrieved(rig)) == (True, [])


async def test_fleets_by_id_are_listed_until_all_were_seen() -> None:
    held, fleets = _ten_fleets()
    rig = rigs.Rig(held, page_size=3)
    await rig.read({fleets[-1]: []})
    assert len(rig.requests("GET /fleets")) == 1
    rig.sandbox.requests.clear()
    await rig.read({fleets[-1]: [], fleets[0]: []})
    assert len(rig.requests("GET /fleets")) == 4


async def test_fleets_by_name_need_the_whole_list() -> None:
    held, fleets = _ten_fleets()
    rig = rigs.Rig(held, page_size=3)
    actual = await rig.read({"Fleet J": []})
    assert len(rig.requests("GET /fleets")) == 4
    assert set(actual.fleets) == set(fleets)


async def test_a_fleet_that_the_list_leaves_out_is_asked_for() -> None:
    """The list may leave archived ones out, say; only a 404 means that there is none."""

    def leave_out(request: httpx.Request, shown: Any) -> object | None:
        if request.url.path != "/v1/fleets":
            return None
        return {**shown, "data": [fleet for fleet in shown["data"] if fleet["id"] != DEPOT]}

    rig = rigs.Rig(
        rigs.roster_of({VANS: [A], DEPOT: [B]}),
        transport=lambda: doubles.Meddler(support.transport(rig.sandbox), leave_out),
    )
    actual = await rig.read({VANS: [], DEPOT: [], NORTH: []})
    assert set(actual.fleets) == {VANS, DEPOT}
    assert sorted(rig.requests("GET /fleets/")) == [f"GET /fleets/{fleet}" for fleet in (NORTH, DEPOT)]


@pytest.mark.parametrize(("connections", "stall"), [(4, 3.0), (1, 3.0)])
async def test_reads_that_queue_for_a_connection_do_not_burst_out_when_it_is_free(
    connections: int, stall: float
) -> None:
    """A turn is used when it is given: else a server that stalls gets all turns of that time at once."""
    held = rigs.roster_of({VANS: []}, others=DRIVERS[:48])
    rig = rigs.Rig(held, requests_per_second=10, burst=2, concurrency=connections)
    reader = rig.reader(rig.sender())

    async def recover() -> None:
        await anyio.sleep(stall)
        rig.sandbox.behaviour = behaviour.Behaviour()

    rig.sandbox.behaviour = behaviour.Behaviour(latency_seconds=stall)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recover)
        await reader.drivers(DRIVERS[:48])
    times = [request.time for request in rig.sandbox.requests]
    assert max(sum(start <= time < start + 1 for time in times) for start in times) <= 12


# --- What may be trusted ----------------------------------------------------------------------------------


def _account(members: int, **options: Any) -> rigs.Rig:
    held = rigs.roster_of({VANS: [], DEPOT: DRIVERS[:2]})
    for number in range(members):
        held.add_driver(email=f"x{number}@example.com", fleets=[VANS])
    return rigs.Rig(_beside_a_crowd(held), **options)


async def test_every_page_is_read() -> None:
    rig = _account(45, page_size=10)
    actual = await rig.read({VANS: []})
    assert (len(actual.memberships), actual.incomplete) == (45, {})


@pytest.mark.parametrize(
    "name", ["cut_short", "503", "html", "html_200", "truncated", "wrong_types", "foreign", "loop"]
)
async def test_a_listing_that_fails_once_is_read_again(name: str) -> None:
    rig = _account(45, page_size=10)
    rig.sandbox.faults = _fault_where(name, _page(VANS, later=True), times=1)
    actual = await rig.read({VANS: []})
    assert len(actual.memberships) == 45
    assert actual.incomplete == {}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cut_short", "`total_drivers` says 45"),
        ("503", "a page could not be read: 503"),
        ("html", "a page could not be read: 502"),
        ("html_200", "a page could not be read"),
        ("truncated", "a page could not be read"),
        ("wrong_types", "a page could not be read"),
        ("reset_after", "a page could not be read"),
        ("foreign", "a page was refused"),
        ("loop", "its pages go in circles"),
    ],
)
async def test_a_fleet_whose_listing_fails_twice_is_incomplete_and_the_others_are_not(name: str, reason: str) -> None:
    """Stories: 503s (ssosync 234), data missing behind a 200 (firezone 9194), tokens in circles (fleetdm 49365)."""
    rig = _account(45, page_size=10)
    rig.sandbox.faults = _fault_where(name, _page(VANS, later=True))
    actual = await rig.read({VANS: [], DEPOT: []})
    assert set(actual.incomplete) == {VANS}
    assert reason in actual.incomplete[VANS]
    assert actual.memberships[FIRST] == {DEPOT}


@pytest.mark.parametrize("pages", ["offset", "cursor"])
@pytest.mark.parametrize("name", ["repeat", "shift"])
async def test_pages_that_shift_are_noticed_or_harmless(name: str, pages: Any) -> None:
    rig = _account(45, page_size=10, behaviour=behaviour.Behaviour(pages=pages))
    rig.sandbox.faults = _fault_where(name, _page(VANS))
    actual = await rig.read({VANS: []})
    assert bool(actual.incomplete) is (name == "shift")
    rig.sandbox.faults = _fault_where(name, _page(VANS, later=True), times=2)
    actual = await rig.read({VANS: []})
    assert (actual.incomplete, len(actual.memberships)) == ({}, 45)


@pytest.mark.parametrize("cap", [30, 44])
async def test_a_server_that_silently_caps_its_lists_is_caught(cap: int) -> None:
    """Story: lists silently capped at 30 or 300 items (terraform-provider-github 701, -okta 944)."""
    rig = _account(45, page_size=10, behaviour=behaviour.Behaviour(page_cap=cap))
    actual = await rig.read({VANS: []})
    assert actual.incomplete == {VANS: f"the listing shows {cap} drivers, but `total_drivers` says 45"}


async def test_a_capped_list_of_all_is_caught_by_the_fleets_own_lists() -> None:
    """So a reference that it does not show is unknown, not absent."""
    rig = _account(45, page_size=10)

    def cap(request: httpx.Request, shown: Any) -> object | None:
        return {**shown, "next_page_url": None} if request.url.params.get("fleet") is None else None

    rig = rigs.Rig(rig.roster, page_size=10, transport=lambda: doubles.Meddler(support.transport(rig.sandbox), cap))
    actual = await rig.read({VANS: ["nobody@example.com"]})
    assert not actual.directory_complete
    assert len(actual.memberships) >= 45
    assert actual.incomplete == {}


@pytest.mark.parametrize(("offset", "trusted"), [(0, True), (1, True), (-1, True), (2, True), (3, False), (-3, False)])
async def test_a_small_difference_is_tolerated_only_after_a_second_reading(offset: int, trusted: bool) -> None:
    rig = _account(200, behaviour=behaviour.Behaviour(total_drivers_offset=offset))
    actual = await rig.read({VANS: []})
    assert (VANS not in actual.incomplete) is trusted
    assert _listed(rig) == [VANS] * (2 if offset == 0 else 4)
    assert len(rig.requests(f"GET /fleets/{VANS}")) == (offset != 0)


async def test_a_small_fleet_tolerates_no_difference() -> None:
    rig = _account(45, behaviour=behaviour.Behaviour(total_drivers_offset=1))
    assert VANS in (await rig.read({VANS: []})).incomplete


async def test_an_empty_fleet_that_says_so_is_whole_and_one_that_does_not_is_not() -> None:
    assert (await _account(0).read({VANS: []})).incomplete == {}
    rig = _account(3, behaviour=behaviour.Behaviour(page_cap=0))
    assert VANS in (await rig.read({VANS: []})).incomplete


@pytest.mark.parametrize("total", [None, -1, -10])
async def test_a_fleet_that_does_not_say_how_many_it_has_is_not_trusted(total: int | None) -> None:
    def hide(request: httpx.Request, shown: Any) -> object | None:
        if request.url.path == "/v1/fleets":
            return {**shown, "data": [{**fleet, "total_drivers": total} for fleet in shown["data"]]}
        return {**shown, "total_drivers": total} if "/fleets/" in request.url.path else None

    rig = _account(0)
    rig = rigs.Rig(rig.roster, transport=lambda: doubles.Meddler(support.transport(rig.sandbox), hide))
    assert set((await rig.read({VANS: [], DEPOT: []})).incomplete) == {VANS, DEPOT}


class Unfiltered(httpx.AsyncBaseTransport):
    """A server whose filter by fleet has changed its meaning: it shows everybody, or those of another fleet."""

    def __init__(self, server: httpx.AsyncBaseTransport, instead: str | None) -> None:
        self._server, self._instead = server, instead

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "fleet" in request.url.params:
            url = request.url.copy_remove_param("fleet")
            request.url = url if self._instead is None else url.copy_set_param("fleet", self._instead)
        return await self._server.handle_async_request(request)


@pytest.mark.parametrize("instead", [None, DEPOT, NORTH])
async def test_a_filter_that_changed_its_meaning_is_caught(instead: str | None) -> None:
    """Story: a filter changed its meaning overnight and owners were removed (GAM 673)."""
    held = _beside_a_crowd(rigs.roster_of({VANS: [A, B], DEPOT: [C, D], NORTH: []}))
    rig = rigs.Rig(held, transport=lambda: Unfiltered(support.transport(rig.sandbox), instead))
    actual = await rig.read({VANS: [A]})
    assert set(actual.incomplete) == {VANS}


async def test_a_driver_shown_both_with_and_without_a_fleet_makes_it_doubtful() -> None:
    turn = [0]

    def flicker(request: httpx.Request, shown: Any) -> object | None:
        if request.url.path != "/v1/drivers":
            return None
        turn[0] += 1
        without = [{**driver, "fleets": [DEPOT]} if driver["id"] == A else driver for driver in shown["data"]]
        return {**shown, "data": without} if turn[0] % 2 else None

    held = _beside_a_crowd(rigs.roster_of({VANS: [A, B], DEPOT: [A, C]}))
    rig = rigs.Rig(held, transport=lambda: doubles.Meddler(support.transport(rig.sandbox), flicker))
    actual = await rig.read({VANS: [], DEPOT: []})
    assert VANS in actual.incomplete


async def test_somebody_else_at_work_is_settled_by_the_second_reading() -> None:
    """`total_drivers` was read before the list: in between somebody joined."""
    held = rigs.roster_of({VANS: [A, B]}, others=[C])

    def join(request: messages.Request) -> None:
        if request.route == "drivers":
            held.attach(C, VANS)

    rig = rigs.Rig(held, faults=faults.Faults(script=join))
    actual = await rig.read({VANS: []})
    assert actual.incomplete == {}
    assert set(actual.memberships) == {A, B, C}


@pytest.mark.parametrize("form", [behaviour.Behaviour(null_lists=True), behaviour.Behaviour(unknown_values=True)])
async def test_null_lists_and_unknown_fields_read_like_any_other(form: behaviour.Behaviour) -> None:
    held = rigs.roster_of({VANS: [A], DEPOT: []}, others=[B])
    rig = rigs.Rig(held, behaviour=form)
    actual = await rig.read({VANS: [A], DEPOT: ["b" * 32 + "@example.com"]})
    assert actual.memberships == {A: frozenset({VANS}), B: frozenset()}
    assert actual.incomplete == {}


# --- Unknown is not absent --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["503", "reset_before", "html_200", "wrong_types", "truncated"])
async def test_a_driver_that_cannot_be_looked_up_is_unknown_not_absent(name: str) -> None:
    """Story: a 503 on one lookup deleted that user (ssosync 278)."""
    held = _beside_a_crowd(rigs.roster_of({VANS: [A], DEPOT: [B]}, others=[C]))
    rig = rigs.Rig(held, faults=_fault_where(name, lambda request: request.path.endswith(C)))
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
    held = _beside_a_crowd(rigs.roster_of({VANS: [A], DEPOT: [B]}, others=[C]))
    rig = rigs.Rig(held, transport=lambda: Refusing(support.transport(rig.sandbox), C, status))
    actual = await rig.read({VANS: [A, B, C]})
    assert set(actual.memberships) == {A, B}
    assert actual.absent == frozenset()


@pytest.mark.parametrize(("status", "kind"), [(401, errors.KeyRejected), (403, errors.Refused)])
async def test_a_key_that_may_not_look_up_ends_the_reading(status: int, kind: type[errors.ChargeError]) -> None:
    held = _beside_a_crowd(rigs.roster_of({VANS: [A], DEPOT: [B]}))
    rig = rigs.Rig(held, transport=lambda: Refusing(support.transport(rig.sandbox), B, status))
    with pytest.raises(kind):
        await rig.read({VANS: [A, B]})


@pytest.mark.parametrize("name", ["503", "cut_short", "loop", "foreign"])
async def test_without_the_list_of_all_drivers_addresses_are_unknown(name: str) -> None:
    held = rigs.roster_of({VANS: [A, B, C]}, others=[D])
    rig = rigs.Rig(held, page_size=2, faults=_fault_where(name, _page(None)))
    actual = await rig.read({VANS: ["d" * 32 + "@example.com"]})
    assert not actual.directory_complete
    assert (actual.incomplete, set(actual.memberships) >= {A, B, C}) == ({}, True)


@pytest.mark.parametrize("name", ["503", "html_200", "foreign", "loop"])
async def test_without_the_list_of_fleets_nothing_can_be_read(name: str) -> None:
    held, fleets = _ten_fleets()
    rig = rigs.Rig(held, page_size=3, faults=_fault_where(name, lambda request: request.route == "fleets"))
    with pytest.raises(errors.ReadingError) as caught:
        await rig.read({fleets[0]: []})
    assert caught.value.code == "fleets_unreadable"
    assert _listed(rig) == []


async def test_a_fleet_that_cannot_be_asked_for_is_not_absent() -> None:
    held = rigs.roster_of({VANS: [A]})
    rig = rigs.Rig(held, faults=_fault_where("503", lambda request: request.path.endswith(NORTH)))
    with pytest.raises(errors.Unreachable):
        await rig.read({VANS: [], NORTH: []})


# --- Export -----------------------------------------------------------------------------------------------


async def test_an_export_shows_every_membership_and_every_address() -> None:
    held = roster.Roster.populate(drivers=60, fleets=5)
    rig = rigs.Rig(held, page_size=20)
    actual = await rig.cycle().export()
    shown = {(driver, fleet) for driver, fleets in actual.memberships.items() for fleet in fleets}
    assert shown == held.memberships()
    assert set(actual.emails) == {driver.email.casefold() for driver in held.drivers.values()}


@pytest.mark.parametrize("name", ["503", "cut_short"])
async def test_an_export_is_whole_or_none(name: str) -> None:
    rig = rigs.Rig(roster.Roster.populate(drivers=60, fleets=5), page_size=20)
    rig.sandbox.faults = _fault_where(name, lambda request: request.route == "drivers" and "page" in request.query)
    with pytest.raises(errors.ReadingError, match="nothing is exported"):
        await rig.cycle().export()
