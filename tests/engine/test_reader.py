"""Reading what Charge holds: as cheaply as possible, and nothing is taken for absent that was merely not seen."""

import itertools
from typing import Any

import anyio
import httpx
import pytest

from tests.engine import big_accounts
from tests.support import doubles, harness
from tests.support import sandbox as support
from tests.support.harness import DEPOT, GHOST, NORTH, VANS, A, B, C, D
from worker.core.model.identifiers import DriverId
from worker.sandbox import faults, http_types, quirks

pytestmark = pytest.mark.anyio

FIRST = big_accounts.DRIVERS[0]


# --- What it costs ----------------------------------------------------------------------------------------


async def test_few_fleets_are_listed_each() -> None:
    held, fleets = big_accounts.ten_fleets()
    account_harness = harness.Harness(held, page_size=10)
    actual = await account_harness.read({fleet: [] for fleet in fleets[:2]})
    assert sorted(big_accounts.listed(account_harness)) == fleets[:2]
    assert actual.requests == len(account_harness.sandbox.requests) == 3
    assert set(actual.memberships) == set(big_accounts.DRIVERS[:6])
    assert not actual.incomplete
    assert not actual.directory_complete


async def test_many_fleets_are_read_by_listing_all_drivers_once() -> None:
    held, fleets = big_accounts.ten_fleets()
    account_harness = harness.Harness(held, page_size=10)
    actual = await account_harness.read({fleet: [] for fleet in fleets})
    assert big_accounts.listed(account_harness) == ["all"] * 3
    assert actual.requests == 4
    assert set(actual.memberships) == set(big_accounts.DRIVERS[:30])
    assert not actual.incomplete
    assert actual.directory_complete


class Slow(httpx.AsyncBaseTransport):
    """A connection to a server that takes its time."""

    def __init__(self, server: httpx.AsyncBaseTransport) -> None:
        self._server = server

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep(0.1)
        return await self._server.handle_async_request(request)


async def test_many_fleets_are_listed_side_by_side_where_answers_take_their_time() -> None:
    """Three pages of all drivers one after the other would take longer than four side by side."""
    fleets = [harness.fleet_id(letter) for letter in "ABCD"]
    held = harness.state_of({fleet: big_accounts.DRIVERS[7 * n : 7 * n + 7] for n, fleet in enumerate(fleets)})
    account_harness = harness.Harness(
        held, page_size=10, new_transport=lambda: Slow(support.transport(account_harness.sandbox))
    )
    actual = await account_harness.read({fleet: [] for fleet in fleets})
    assert sorted(big_accounts.listed(account_harness)) == fleets
    assert len(actual.memberships) == 28


async def test_listing_all_is_given_up_where_it_turns_out_dearer() -> None:
    """Drivers in no fleet show up in no figure beforehand."""
    held, fleets = big_accounts.ten_fleets()
    for number in range(500):
        held.add_driver(email=f"x{number}@example.com")
    account_harness = harness.Harness(held, page_size=10)
    actual = await account_harness.read({fleet: [] for fleet in fleets})
    assert big_accounts.listed(account_harness)[:10] == ["all"] * 10
    assert sorted(big_accounts.listed(account_harness)[10:]) == sorted(fleets)
    assert not actual.incomplete
    assert not actual.directory_complete


@pytest.mark.parametrize("reference", ["0" * 32 + "@example.com", "employee_id=10042"])
async def test_references_by_address_or_metadata_need_all_drivers(reference: str) -> None:
    held, fleets = big_accounts.ten_fleets()
    held.change_driver(FIRST, metadata={"employee_id": "10042"})
    account_harness = harness.Harness(held, page_size=10)
    actual = await account_harness.read({fleets[0]: [reference]})
    assert big_accounts.listed(account_harness) == ["all"] * 3
    assert dict(actual.emails) == ({} if "=" in reference else {reference: (FIRST,)})
    assert dict(actual.metadata) == ({("employee_id", "10042"): (FIRST,)} if "=" in reference else {})


async def test_drivers_that_no_listing_showed_are_retrieved() -> None:
    held = harness.state_of({VANS: [A, B], DEPOT: [C]}, others=[D])
    account_harness = harness.Harness(held, page_size=2)
    for number in range(50):
        held.add_driver(email=f"x{number}@example.com")
    actual = await account_harness.read({VANS: [A, B, C, D, GHOST]})
    assert sorted(big_accounts.retrieved(account_harness)) == sorted([C, D, GHOST])
    assert (actual.memberships[C], actual.memberships[D]) == (frozenset({DEPOT}), frozenset())
    assert actual.absent == {GHOST}


async def test_of_many_who_are_not_in_a_whole_list_of_all_a_few_are_asked_for() -> None:
    """Where Charge knows none of those either the list is believed: one request each would cost more than another."""
    held = harness.state_of({VANS: [A, B], DEPOT: [C]})
    ghosts = [DriverId(f"drv_{number:032d}") for number in range(30)]
    account_harness = harness.Harness(held, page_size=20)
    actual = await account_harness.read({VANS: [A, "b" * 32 + "@example.com", *ghosts]})
    assert (actual.directory_complete, sorted(big_accounts.retrieved(account_harness))) == (True, ghosts[:20])


async def test_fleets_by_id_are_listed_until_all_were_seen() -> None:
    held, fleets = big_accounts.ten_fleets()
    account_harness = harness.Harness(held, page_size=3)
    await account_harness.read({fleets[-1]: []})
    assert len(account_harness.requests("GET /fleets")) == 1
    account_harness.sandbox.requests.clear()
    await account_harness.read({fleets[-1]: [], fleets[0]: []})
    assert len(account_harness.requests("GET /fleets")) == 4


async def test_fleets_by_name_need_the_whole_list() -> None:
    held, fleets = big_accounts.ten_fleets()
    account_harness = harness.Harness(held, page_size=3)
    actual = await account_harness.read({"Fleet J": []})
    assert len(account_harness.requests("GET /fleets")) == 4
    assert set(actual.fleets) == set(fleets)


async def test_a_fleet_that_the_list_leaves_out_is_asked_for() -> None:
    """The list may leave archived ones out, say; only a 404 means that there is none."""

    def leave_out(request: httpx.Request, shown: Any) -> object | None:
        if request.url.path != "/v1/fleets":
            return None
        return {**shown, "data": [fleet for fleet in shown["data"] if fleet["id"] != DEPOT]}

    account_harness = harness.Harness(
        harness.state_of({VANS: [A], DEPOT: [B]}),
        new_transport=lambda: doubles.ResponseTamper(support.transport(account_harness.sandbox), leave_out),
    )
    actual = await account_harness.read({VANS: [], DEPOT: [], NORTH: []})
    assert set(actual.fleets) == {VANS, DEPOT}
    assert sorted(account_harness.requests("GET /fleets/")) == [f"GET /fleets/{fleet}" for fleet in (NORTH, DEPOT)]


@pytest.mark.parametrize(("connections", "stall"), [(4, 3.0), (1, 3.0)])
async def test_reads_that_queue_for_a_connection_do_not_burst_out_when_it_is_free(
    connections: int, stall: float
) -> None:
    """A turn is used when it is given: else a server that stalls gets all turns of that time at once."""
    held = harness.state_of({VANS: []}, others=big_accounts.DRIVERS[:48])
    account_harness = harness.Harness(held, requests_per_second=10, burst=2, concurrency=connections)
    reader = account_harness.new_reader()

    async def recover() -> None:
        await anyio.sleep(stall)
        account_harness.sandbox.quirks = quirks.Quirks()

    account_harness.sandbox.quirks = quirks.Quirks(latency_seconds=stall)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recover)
        await reader.drivers(big_accounts.DRIVERS[:48])
    times = [request.time for request in account_harness.sandbox.requests]
    assert max(sum(start <= time < start + 1 for time in times) for start in times) <= 12


# --- What may be trusted ----------------------------------------------------------------------------------


def _account(members: int, **options: Any) -> harness.Harness:
    held = harness.state_of({VANS: [], DEPOT: big_accounts.DRIVERS[:2]})
    for number in range(members):
        held.add_driver(email=f"x{number}@example.com", fleets=[VANS])
    return harness.Harness(big_accounts.beside_a_crowd(held), **options)


async def test_every_page_is_read() -> None:
    account_harness = _account(45, page_size=10)
    actual = await account_harness.read({VANS: []})
    assert (len(actual.memberships), actual.incomplete) == (45, {})


@pytest.mark.parametrize(
    "name", ["cut_short", "503", "html", "html_200", "truncated", "wrong_types", "foreign", "loop"]
)
async def test_a_listing_that_fails_once_is_read_again(name: str) -> None:
    account_harness = _account(45, page_size=10)
    account_harness.sandbox.faults = big_accounts.fault_where(name, big_accounts.page(VANS, later=True), times=1)
    actual = await account_harness.read({VANS: []})
    assert len(actual.memberships) == 45
    assert actual.incomplete == {}


@pytest.mark.integration
async def test_a_list_of_all_drivers_that_left_somebody_out_is_read_again() -> None:
    """A fleet shows it. Else addresses could not be looked up, and the run would blame the document."""
    account_harness = _account(45, page_size=10)
    account_harness.sandbox.faults = big_accounts.fault_where("cut_short", big_accounts.page(None, later=True), times=1)
    actual = await account_harness.read({VANS: ["nobody@example.com"]})
    assert actual.directory_complete
    assert (len(actual.memberships), actual.incomplete) == (1047, {})


@pytest.mark.parametrize("most", [30, 100])
async def test_a_list_that_is_capped_in_silence_is_not_believed_of_those_who_are_named(most: int) -> None:
    """Story: lists silently capped at 30 or 300 items (terraform-provider-github 701)."""
    drivers = [DriverId(f"drv_{number:032d}") for number in range(most + 150)]
    account_harness = harness.Harness(harness.state_of({VANS: []}, others=drivers), page_size=10)
    account_harness.sandbox.faults = big_accounts.fault_where(
        "cut_short",
        lambda request: len(big_accounts.listed(account_harness)) > most // 10 and big_accounts.page(None)(request),
    )
    actual = await account_harness.read({VANS: drivers})
    assert set(actual.memberships) >= set(drivers)
    assert not actual.absent


@pytest.mark.integration
async def test_a_long_list_of_all_drivers_that_breaks_off_late_is_read_again() -> None:
    """What the first attempt showed does not make the second one's pages look barren."""
    account_harness = _account(45, page_size=2)
    fits = big_accounts.page(None, later=True)
    pages = itertools.count()
    account_harness.sandbox.faults = big_accounts.fault_where(
        "foreign", lambda request: fits(request) and next(pages) == 15
    )
    actual = await account_harness.read({VANS: ["nobody@example.com"]})
    assert actual.directory_complete
    assert (len(actual.memberships), actual.incomplete) == (1047, {})


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
    account_harness = _account(45, page_size=10)
    account_harness.sandbox.faults = big_accounts.fault_where(name, big_accounts.page(VANS, later=True))
    actual = await account_harness.read({VANS: [], DEPOT: []})
    assert set(actual.incomplete) == {VANS}
    assert reason in actual.incomplete[VANS]
    assert actual.memberships[FIRST] == {DEPOT}


@pytest.mark.parametrize("pages", ["offset", "cursor"])
@pytest.mark.parametrize("name", ["repeat", "shift"])
async def test_pages_that_shift_are_noticed_or_harmless(name: str, pages: Any) -> None:
    account_harness = _account(45, page_size=10, quirks=quirks.Quirks(pages=pages))
    account_harness.sandbox.faults = big_accounts.fault_where(name, big_accounts.page(VANS))
    actual = await account_harness.read({VANS: []})
    assert bool(actual.incomplete) is (name == "shift")
    account_harness.sandbox.faults = big_accounts.fault_where(name, big_accounts.page(VANS, later=True), times=2)
    actual = await account_harness.read({VANS: []})
    assert (actual.incomplete, len(actual.memberships)) == ({}, 45)


@pytest.mark.parametrize("cap", [30, 44])
async def test_a_server_that_silently_caps_its_lists_is_caught(cap: int) -> None:
    """Story: lists silently capped at 30 or 300 items (terraform-provider-github 701, -okta 944)."""
    account_harness = _account(45, page_size=10, quirks=quirks.Quirks(page_cap=cap))
    actual = await account_harness.read({VANS: []})
    assert actual.incomplete == {VANS: f"the listing shows {cap} drivers, but `total_drivers` says 45"}


async def test_a_capped_list_of_all_is_caught_by_the_fleets_own_lists() -> None:
    """So a reference that it does not show is unknown, not absent."""
    account_harness = _account(45, page_size=10)

    def cap(request: httpx.Request, shown: Any) -> object | None:
        return {**shown, "next_page_url": None} if request.url.params.get("fleet") is None else None

    account_harness = harness.Harness(
        account_harness.state,
        page_size=10,
        new_transport=lambda: doubles.ResponseTamper(support.transport(account_harness.sandbox), cap),
    )
    actual = await account_harness.read({VANS: ["nobody@example.com"]})
    assert not actual.directory_complete
    assert len(actual.memberships) >= 45
    assert actual.incomplete == {}


@pytest.mark.parametrize(("offset", "trusted"), [(0, True), (1, True), (-1, True), (2, True), (3, False), (-3, False)])
async def test_a_small_difference_is_tolerated_only_after_a_second_reading(offset: int, trusted: bool) -> None:
    account_harness = _account(200, quirks=quirks.Quirks(total_drivers_offset=offset))
    actual = await account_harness.read({VANS: []})
    assert (VANS not in actual.incomplete) is trusted
    assert big_accounts.listed(account_harness) == [VANS] * (2 if offset == 0 else 4)
    assert len(account_harness.requests(f"GET /fleets/{VANS}")) == (offset != 0)


async def test_a_small_fleet_tolerates_no_difference() -> None:
    account_harness = _account(45, quirks=quirks.Quirks(total_drivers_offset=1))
    assert VANS in (await account_harness.read({VANS: []})).incomplete


async def test_an_empty_fleet_that_says_so_is_whole_and_one_that_does_not_is_not() -> None:
    assert (await _account(0).read({VANS: []})).incomplete == {}
    account_harness = _account(3, quirks=quirks.Quirks(page_cap=0))
    assert VANS in (await account_harness.read({VANS: []})).incomplete


@pytest.mark.parametrize("total", [None, -1, -10])
async def test_a_fleet_that_does_not_say_how_many_it_has_is_not_trusted(total: int | None) -> None:
    def hide(request: httpx.Request, shown: Any) -> object | None:
        if request.url.path == "/v1/fleets":
            return {**shown, "data": [{**fleet, "total_drivers": total} for fleet in shown["data"]]}
        return {**shown, "total_drivers": total} if "/fleets/" in request.url.path else None

    account_harness = _account(0)
    account_harness = harness.Harness(
        account_harness.state,
        new_transport=lambda: doubles.ResponseTamper(support.transport(account_harness.sandbox), hide),
    )
    assert set((await account_harness.read({VANS: [], DEPOT: []})).incomplete) == {VANS, DEPOT}


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
    held = big_accounts.beside_a_crowd(harness.state_of({VANS: [A, B], DEPOT: [C, D], NORTH: []}))
    account_harness = harness.Harness(
        held, new_transport=lambda: Unfiltered(support.transport(account_harness.sandbox), instead)
    )
    actual = await account_harness.read({VANS: [A]})
    assert set(actual.incomplete) == {VANS}


async def test_a_driver_shown_both_with_and_without_a_fleet_makes_it_doubtful() -> None:
    acquire = [0]

    def flicker(request: httpx.Request, shown: Any) -> object | None:
        if request.url.path != "/v1/drivers":
            return None
        acquire[0] += 1
        without = [{**driver, "fleets": [DEPOT]} if driver["id"] == A else driver for driver in shown["data"]]
        return {**shown, "data": without} if acquire[0] % 2 else None

    held = big_accounts.beside_a_crowd(harness.state_of({VANS: [A, B], DEPOT: [A, C]}))
    account_harness = harness.Harness(
        held, new_transport=lambda: doubles.ResponseTamper(support.transport(account_harness.sandbox), flicker)
    )
    actual = await account_harness.read({VANS: [], DEPOT: []})
    assert VANS in actual.incomplete


async def test_somebody_else_at_work_is_settled_by_the_second_reading() -> None:
    """`total_drivers` was read before the list: in between somebody joined."""
    held = harness.state_of({VANS: [A, B]}, others=[C])

    def join(request: http_types.Request) -> None:
        if request.route == "drivers":
            held.attach(C, VANS)

    account_harness = harness.Harness(held, faults=faults.Faults(script=join))
    actual = await account_harness.read({VANS: []})
    assert actual.incomplete == {}
    assert set(actual.memberships) == {A, B, C}


@pytest.mark.parametrize("form", [quirks.Quirks(null_lists=True), quirks.Quirks(unknown_values=True)])
async def test_null_lists_and_unknown_fields_read_like_any_other(form: quirks.Quirks) -> None:
    held = harness.state_of({VANS: [A], DEPOT: []}, others=[B])
    account_harness = harness.Harness(held, quirks=form)
    actual = await account_harness.read({VANS: [A], DEPOT: ["b" * 32 + "@example.com"]})
    assert actual.memberships == {A: frozenset({VANS}), B: frozenset()}
    assert actual.incomplete == {}
