"""The client: which request each call sends, and that the reply is about what was asked for."""

import contextlib
import datetime
import json
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.charge import conftest
from tests.support import clocks
from worker.charge import client
from worker.core.model.actual import Driver, Fleet, StatedTime
from worker.core.model.errors import ChargeError, ForeignOrigin, NotFound, RateLimited, RequestRefused, Unreachable
from worker.core.model.identifiers import DriverId, FleetId, IntentKey
from worker.core.model.plan import Action, Change
from worker.core.model.replies import WriteReply

pytestmark = pytest.mark.anyio

ALICE = DriverId("drv_" + "A" * 32)
BOB = DriverId("drv_" + "B" * 32)
VANS = FleetId("flt_" + "V" * 32)
DEPOT = FleetId("flt_" + "W" * 32)
ATTACH = Change(Action.ATTACH, ALICE, VANS)
DETACH = Change(Action.DETACH, ALICE, VANS)

Ask = Callable[[client.Client], Awaitable[object]]


class Charge:
    """Answers everything with one document, and keeps the requests."""

    def __init__(self, document: object, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self._document = document
        self._status = status
        self._headers = headers or {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self._status, json=self._document, headers=self._headers)

    def client(self, *, page_size: int = 100) -> client.Client:
        return conftest.client_of(self, page_size=page_size)


async def test_lists_ask_for_whole_pages() -> None:
    charge = Charge({"data": None, "next_page_url": None})
    api = charge.client(page_size=50)
    await api.fleets_page(None)
    await api.drivers_page(None)
    await api.drivers_page(None, fleet=VANS)
    assert [str(request.url).removeprefix(conftest.BASE) for request in charge.requests] == [
        "/fleets?limit=50",
        "/drivers?limit=50",
        f"/drivers?limit=50&fleet={VANS}",
    ]
    assert all("idempotency-key" not in request.headers and not request.content for request in charge.requests)


async def test_a_next_page_is_requested_exactly_as_returned() -> None:
    following = f"{conftest.BASE}/drivers?page=b%2Fc%3D%3D&limit=7&fleet={VANS}"
    charge = Charge({"data": [], "next_page_url": following})
    api = charge.client()
    page = await api.drivers_page(None, fleet=VANS)
    assert page.next == following
    await api.drivers_page(page.next, fleet=VANS)
    assert str(charge.requests[1].url) == following


async def test_a_relative_next_page_stays_on_the_same_origin() -> None:
    charge = Charge({"data": [], "next_page_url": "/v1/drivers?page=a://b"})
    api = charge.client()
    page = await api.drivers_page(None)
    await api.drivers_page(page.next)
    assert str(charge.requests[1].url) == f"{conftest.BASE}/drivers?page=a://b"


@pytest.mark.parametrize("route", ["fleets", "drivers"])
async def test_a_next_page_on_another_origin_invalidates_the_page(route: str) -> None:
    """Story: page tokens and addresses are the server's; the key is ours."""
    charge = Charge({"data": [], "next_page_url": "https://charge-api.example.net/v1/drivers?page=2"})
    api = charge.client()
    with pytest.raises(ForeignOrigin) as caught:
        await (api.fleets_page(None) if route == "fleets" else api.drivers_page(None))
    assert "example.net" not in caught.value.message
    assert len(charge.requests) == 1


async def test_objects_are_retrieved_by_their_id() -> None:
    charge = Charge({"id": ALICE, "fleets": [VANS]})
    assert (await charge.client().driver(ALICE)).fleets == frozenset({VANS})
    assert str(charge.requests[0].url) == f"{conftest.BASE}/drivers/{ALICE}"
    charge = Charge({"id": VANS, "name": "Paris vans", "total_drivers": 24})
    assert (await charge.client().fleet(VANS)) == Fleet(VANS, "Paris vans", "", 24)
    assert str(charge.requests[0].url) == f"{conftest.BASE}/fleets/{VANS}"


@pytest.mark.parametrize("change", [ATTACH, DETACH])
async def test_a_write_carries_its_key_and_its_fleet(change: Change) -> None:
    charge = Charge({"id": ALICE, "fleets": [VANS]}, headers={"request-id": "req_42"})
    reply = await charge.client().write(change, key=IntentKey("key-1"))
    assert reply == WriteReply(Driver(ALICE, frozenset({VANS})), "req_42")
    (request,) = charge.requests
    assert (request.method, str(request.url)) == ("POST", f"{conftest.BASE}/drivers/{ALICE}/{change.action}")
    assert (request.headers["idempotency-key"], request.headers["content-type"]) == ("key-1", "application/json")
    assert json.loads(request.content) == {"fleet": VANS}


@pytest.mark.parametrize(
    "ask",
    [
        lambda api: api.driver(BOB),
        lambda api: api.fleet(DEPOT),
        lambda api: api.write(Change(Action.ATTACH, BOB, VANS), key=IntentKey("key-1")),
    ],
    ids=["driver", "fleet", "write"],
)
async def test_a_reply_about_another_object_is_unreadable(ask: Ask) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"id": VANS if "fleets" in request.url.path else ALICE, "fleets": []})

    with pytest.raises(Unreachable) as caught:
        await ask(conftest.client_of(handler))
    assert caught.value.code == "answer_unreadable"


@pytest.mark.parametrize(
    "odd", ["", "..", "drv_x/../../fleets?a=#", "drv_x\r\n", "drv_x%2f", "a b", "drv_é", "drv_x&y=z"]
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda api, odd: api.driver(odd),
        lambda api, odd: api.fleet(odd),
        lambda api, odd: api.drivers_page(None, fleet=odd),
        lambda api, odd: api.write(Change(Action.ATTACH, odd, VANS), key=IntentKey("key-1")),
    ],
    ids=["driver", "fleet", "page", "write"],
)
async def test_no_id_leads_to_another_path(ask: Callable[[client.Client, str], Awaitable[object]], odd: str) -> None:
    """Even if an invalid id gets this far, the key goes to the intended path or nowhere."""
    charge = Charge({"data": [], "next_page_url": None})
    with pytest.raises(RequestRefused) as caught:
        await ask(charge.client(), odd)
    assert caught.value.code == "id_invalid"
    assert charge.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["https://evil.test/v1/drivers", f"{conftest.BASE}/fleets", "/v1/fleets", ""])
async def test_redirects_are_not_followed_even_to_the_same_origin(status: int, target: str) -> None:
    charge = Charge({}, status=status, headers={"location": target})
    with pytest.raises(ForeignOrigin):
        await charge.client().driver(ALICE)
    with pytest.raises(ForeignOrigin):
        await charge.client().write(ATTACH, key=IntentKey("key-1"))
    assert len(charge.requests) == 2


@pytest.mark.parametrize("status", [200, 201, 204, 206])
async def test_every_2xx_reply_must_contain_the_driver(status: int) -> None:
    with pytest.raises(Unreachable):
        await Charge({}, status=status).client().driver(ALICE)
    assert (await Charge({"id": ALICE, "fleets": []}, status=status).client().driver(ALICE)).id == ALICE


async def test_an_error_keeps_code_status_and_request_id() -> None:
    shown = {"object": "error", "code": "driver_not_found", "message": "No such driver.", "request": "req_1"}
    with pytest.raises(NotFound) as caught:
        await Charge(shown, status=404).client().driver(ALICE)
    assert (caught.value.code, caught.value.request_id, caught.value.status) == ("driver_not_found", "req_1", 404)


def _dated(*dates: str) -> client.Client:
    """Return a client whose replies have these dates, one after the other."""
    left = iter(dates)

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"id": ALICE, "fleets": []}, headers={"date": next(left)})

    return conftest.client_of(answer)


NOON = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "date",
    [
        "Tue, 01 Dec 2026 12:00:00 GMT",
        "Tue, 01 Dec 2026 13:00:00 +0100",
        "Tuesday, 01-Dec-26 12:00:00 GMT",
        "Tue Dec  1 12:00:00 2026",
    ],
)
async def test_the_date_of_a_reply_is_kept_with_the_uptime_half_way(date: str) -> None:
    api = _dated(date)
    await api.driver(ALICE)
    assert api.stated_times() == (StatedTime(NOON, 0.0),)


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 32 Dec 2026 12:00:00 GMT", "0"])
async def test_a_date_that_is_none_is_ignored(date: str) -> None:
    api = _dated(date)
    await api.driver(ALICE)
    assert api.stated_times() == ()


async def test_half_of_the_latency_counts() -> None:
    class Ticking(clocks.Still):
        """A clock that advances ten seconds each time it is read."""

        passed = 0.0

        def uptime(self) -> float:
            self.passed += 10
            return self.passed

    document = {"id": ALICE, "fleets": []}
    exchange = conftest.exchange(
        lambda request: httpx.Response(200, json=document, headers={"date": "Tue, 01 Dec 2026 12:00:00 GMT"})
    )
    api = client.Client(http=exchange, clock=Ticking(), page_size=100)
    await api.driver(ALICE)
    assert api.stated_times() == (StatedTime(NOON, 15.0),)


async def test_only_the_newest_readings_count() -> None:
    api = _dated(*["Tue, 01 Dec 2026 12:00:00 GMT"] * 20, *["Tue, 01 Dec 2026 12:00:01 GMT"] * 15)
    for _ in range(35):
        await api.driver(ALICE)
    assert {each.time for each in api.stated_times()} == {NOON + datetime.timedelta(seconds=1)}


async def test_the_reply_to_a_write_states_no_time_because_it_may_be_a_stored_one() -> None:
    charge = Charge({"id": ALICE, "fleets": [VANS]}, headers={"date": "Tue, 01 Dec 2026 12:00:00 GMT"})
    api = charge.client()
    await api.write(ATTACH, key=IntentKey("key"))
    assert api.stated_times() == ()


@pytest.mark.parametrize("status", [401, 429, 500, 502])
async def test_a_failure_states_no_time_because_a_gateway_may_have_sent_it(status: int) -> None:
    api = Charge({}, status=status, headers={"date": "Tue, 01 Dec 2026 12:00:00 GMT"}).client()
    with pytest.raises(ChargeError):
        await api.driver(ALICE)
    assert api.stated_times() == ()


async def test_a_retry_after_date_is_compared_with_the_clock() -> None:
    charge = Charge({}, status=429, headers={"retry-after": "Tue, 01 Dec 2026 12:00:30 GMT"})
    with pytest.raises(RateLimited) as caught:
        await charge.client().driver(ALICE)
    assert caught.value.retry_after == 30.0


@pytest.mark.parametrize("status", [200, 401, 503])
async def test_every_request_is_observed_with_its_operation_and_status(status: int) -> None:
    seen: list[tuple[str, int | None]] = []

    def observe(operation: str, status: int | None, seconds: float) -> None:
        assert 0 <= seconds < 60
        seen.append((operation, status))

    charge = Charge({"id": ALICE, "fleets": []}, status=status)
    api = client.Client(http=conftest.exchange(charge), clock=clocks.Still(), page_size=100, observe=observe)
    for work in (lambda: api.driver(ALICE), lambda: api.write(ATTACH, key=IntentKey("key-1"))):
        with contextlib.suppress(ChargeError):
            await work()
    assert seen == [("retrieve_driver", status), ("attach", status)]


async def test_a_request_without_a_reply_is_observed_without_a_status() -> None:
    seen: list[int | None] = []

    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset")

    api = client.Client(
        http=conftest.exchange(fail),
        clock=clocks.Still(),
        page_size=100,
        observe=lambda operation, status, seconds: seen.append(status),
    )
    with pytest.raises(Unreachable):
        await api.fleets_page(None)
    assert seen == [None]


async def test_only_a_write_asks_whether_it_may_still_be_sent() -> None:
    asked: list[bool] = []

    def may_write() -> bool:
        asked.append(True)
        return True

    charge = Charge({"id": ALICE, "fleets": []})

    class Asking(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            may_send = request.extensions.get("may_send")
            assert may_send is None or may_send()
            return charge(request)

    api = client.Client(http=conftest.exchange(make=Asking), clock=clocks.Still(), page_size=100, may_write=may_write)
    await api.driver(ALICE)
    assert asked == []
    await api.write(DETACH, key=IntentKey("key-1"))
    assert asked == [True]
