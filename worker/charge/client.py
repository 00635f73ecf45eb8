"""The Charge API as the engine sees it: one call, one request, one attempt.

Invariants: what comes back was asked for: a retrieved driver is the one asked for, a cursor leads to the own origin;
and no id leads to another path than its own. Neighbours: implements `core.ports.Charge` with `http` and `wire`;
`engine.sending` repeats calls.
"""

import re
import time
from collections.abc import Callable

import msgspec

from worker.charge import codec, transport
from worker.core.model.actual import Driver, Fleet
from worker.core.model.errors import RequestRefused, Unreachable
from worker.core.model.identifiers import DriverId, FleetId, IntentKey
from worker.core.model.plan import Change
from worker.core.model.ports import Clock, Cursor, DriverPage, FleetPage, WriteReply

_ID = re.compile(r"[A-Za-z0-9_]+")


Observe = Callable[[str, int | None, float], None]
"""Is told of every request: the operation, the status (`None` where no whole answer came), the seconds it took."""


def unobserved(operation: str, status: int | None, seconds: float) -> None:
    """Note nothing."""


class Client:
    """Implements ports.Charge over HTTP."""

    def __init__(
        self, *, http: transport.Transport, clock: Clock, page_size: int, observe: Observe = unobserved
    ) -> None:
        """Take the exchange, the time of day (for `Retry-After` dates), and the page size, 1 to 100."""
        self._observe = observe
        self._http = http
        self._clock = clock
        self._page_size = page_size

    async def fleets_page(self, cursor: Cursor | None) -> FleetPage:
        """List fleets (`GET /fleets`)."""
        answer = await self._send("list_fleets", "GET", cursor or f"/fleets?limit={self._page_size}")
        page = codec.decode(answer.body, codec.FLEETS)
        return FleetPage(tuple(fleet.value() for fleet in page.data or ()), self._cursor(page.next_page_url))

    async def drivers_page(self, cursor: Cursor | None, *, fleet: FleetId | None = None) -> DriverPage:
        """List drivers (`GET /drivers`). A driver that a fleet's listing shows without that fleet is kept as it is."""
        of_fleet = "" if fleet is None else f"&fleet={_checked(fleet)}"
        answer = await self._send("list_drivers", "GET", cursor or f"/drivers?limit={self._page_size}{of_fleet}")
        page = codec.decode(answer.body, codec.DRIVERS)
        return DriverPage(tuple(driver.value() for driver in page.data or ()), self._cursor(page.next_page_url))

    async def fleet(self, fleet: FleetId) -> Fleet:
        """Retrieve a fleet (`GET /fleets/{fleet}`)."""
        answer = await self._send("retrieve_fleet", "GET", f"/fleets/{_checked(fleet)}")
        shown = codec.decode(answer.body, codec.FLEET).value()
        if shown.id != fleet:
            raise Unreachable(f"{shown.id} was answered for {fleet}", code="answer_unreadable")
        return shown

    async def driver(self, driver: DriverId) -> Driver:
        """Retrieve a driver (`GET /drivers/{driver}`)."""
        return self._driver(await self._send("retrieve_driver", "GET", f"/drivers/{_checked(driver)}"), driver)

    async def write(self, change: Change, *, key: IntentKey) -> WriteReply:
        """Attach or detach (`POST /drivers/{driver}/attach` or `/detach`, body `{"fleet": …}`)."""
        answer = await self._send(
            change.action.value,
            "POST",
            f"/drivers/{_checked(change.driver)}/{change.action}",
            body=msgspec.json.encode({"fleet": change.fleet}),
            key=key,
        )
        return WriteReply(self._driver(answer, change.driver), codec.request_id(answer.headers))

    async def _send(
        self, operation: str, method: str, url: str, *, body: bytes = b"", key: str | None = None
    ) -> transport.Answer:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key} if key else None
        status, began = None, time.perf_counter()
        try:
            answer = await self._http.exchange(method, url, content=body, headers=headers)
            status = answer.status
        finally:
            self._observe(operation, status, time.perf_counter() - began)
        if 200 <= answer.status < 300:
            return answer
        raise codec.failure(answer.status, answer.headers, answer.body, now=self._clock.now())

    def _driver(self, answer: transport.Answer, asked: DriverId) -> Driver:
        shown = codec.decode(answer.body, codec.DRIVER).value()
        if shown.id != asked:
            raise Unreachable(f"{shown.id} was answered for {asked}", code="answer_unreadable")
        return shown

    def _cursor(self, url: str | None) -> Cursor | None:
        return None if url is None else Cursor(self._http.trusted(url))


def _checked(name: str) -> str:
    """Give an id as a part of an address. Raises errors.Refused where it could lead elsewhere: nothing is sent."""
    if not _ID.fullmatch(name):
        raise RequestRefused("this is no id, and nothing was sent", code="id_invalid")
    return name
