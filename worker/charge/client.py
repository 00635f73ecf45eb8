"""The Charge API as the engine uses it: one call is one request and one attempt.

Invariants: a reply is about what was asked for: a retrieved driver is the one that was asked for, a cursor leads to the
same origin; no id leads to another path than its own. Neighbours: implements `core.model.ports.Charge` with
`transport`, `codec` and `pages`; `engine.request_executor` retries.
"""

import collections
import re
import time
from collections.abc import Awaitable, Callable

import msgspec

from worker.charge import codec, pages, pause_headers, transport
from worker.core.model.actual import Driver, Fleet, StatedTime
from worker.core.model.errors import KeyChanged, RequestRefused, Unreachable
from worker.core.model.identifiers import DriverId, FleetId, IntentKey
from worker.core.model.plan import Change
from worker.core.model.ports import Clock
from worker.core.model.replies import Cursor, DriverPage, FleetPage, WriteReply
from worker.core.model.secret import Secret

_ID = re.compile(r"[A-Za-z0-9_]+")

_KEPT_TIMES = 15
"""How many of the newest stated times are kept: enough that a few wrong ones do not count, and few enough to be new."""

Observe = Callable[[str, int | None, float], None]
"""Called after every request with the operation, the status (None without a complete reply) and the seconds."""

RenewKey = Callable[[Secret], Awaitable[bool]]
"""Returns whether another key than the rejected one is now in use."""


def ignore(operation: str, status: int | None, seconds: float) -> None:
    """Observe nothing."""


async def keep_key(rejected: Secret) -> bool:
    """Return False: there is no other key."""
    return False


class Client:
    """Implements ports.Charge over HTTP."""

    def __init__(
        self,
        *,
        http: transport.Transport,
        clock: Clock,
        page_size: int,
        observe: Observe = ignore,
        renew_key: RenewKey = keep_key,
        may_write: Callable[[], bool] | None = None,
    ) -> None:
        """Send nothing yet. The clock is for dates in `Retry-After`; `page_size` is from 1 to 100.

        `may_write` is asked right before the bytes of a write go out; a write that it refuses raises errors.NotSent.
        """
        self._observe = observe
        self._http = http
        self._clock = clock
        self._page_size = page_size
        self._renew_key = renew_key
        self._may_write = may_write
        self._stated_times = collections.deque[StatedTime](maxlen=_KEPT_TIMES)

    def stated_times(self) -> tuple[StatedTime, ...]:
        """Return what time the newest successful readings stated, the newest last."""
        return tuple(self._stated_times)

    async def fleets_page(self, cursor: Cursor | None) -> FleetPage:
        """List fleets (`GET /fleets`)."""
        reply = await self._send("list_fleets", "GET", cursor or f"/fleets?limit={self._page_size}")
        page = pages.read(reply.body, codec.FLEETS)
        return FleetPage(
            tuple(each.fleet() for each in page.objects),
            self._cursor(page.next_page_url),
            malformed=tuple(map(FleetId, page.malformed)),
            unidentified=page.unidentified,
        )

    async def drivers_page(self, cursor: Cursor | None, *, fleet: FleetId | None = None) -> DriverPage:
        """List drivers (`GET /drivers`). A driver that a fleet's listing shows without that fleet is kept as it is."""
        of_fleet = "" if fleet is None else f"&fleet={_checked(fleet)}"
        reply = await self._send("list_drivers", "GET", cursor or f"/drivers?limit={self._page_size}{of_fleet}")
        page = pages.read(reply.body, codec.DRIVERS)
        return DriverPage(
            tuple(each.driver() for each in page.objects),
            self._cursor(page.next_page_url),
            malformed=tuple(map(DriverId, page.malformed)),
            unidentified=page.unidentified,
        )

    async def fleet(self, fleet: FleetId) -> Fleet:
        """Retrieve a fleet (`GET /fleets/{fleet}`)."""
        reply = await self._send("retrieve_fleet", "GET", f"/fleets/{_checked(fleet)}")
        found = codec.decode(reply.body, codec.FLEETS).fleet()
        if found.id != fleet:
            raise _about_another(found.id, asked=fleet)
        return found

    async def driver(self, driver: DriverId) -> Driver:
        """Retrieve a driver (`GET /drivers/{driver}`)."""
        return _driver(await self._send("retrieve_driver", "GET", f"/drivers/{_checked(driver)}"), driver)

    async def write(self, change: Change, *, key: IntentKey) -> WriteReply:
        """Attach or detach (`POST /drivers/{driver}/attach` or `/detach`, body `{"fleet": …}`)."""
        reply = await self._send(
            change.action.value,
            "POST",
            f"/drivers/{_checked(change.driver)}/{change.action}",
            body=msgspec.json.encode({"fleet": change.fleet}),
            key=key,
        )
        return WriteReply(_driver(reply, change.driver), codec.request_id(reply.headers))

    async def _send(
        self, operation: str, method: str, url: str, *, body: bytes = b"", key: str | None = None
    ) -> transport.Reply:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key} if key else None
        status, started = None, time.perf_counter()
        asked = self._clock.uptime()
        api_key = self._http.key  # the key of this request: a reply to another one may replace it meanwhile
        try:
            reply = await self._http.exchange(
                method, url, content=body, headers=headers, may_send=self._may_write if key else None
            )
            status = reply.status
        finally:
            self._observe(operation, status, time.perf_counter() - started)
        if 200 <= status < 300:
            if method == "GET":  # the reply to a write may be a stored one, with the time of its first attempt
                self._note_time(reply, asked)
            return reply
        if status == 401 and await self._renew_key(api_key):
            # Not repeated here: another attempt needs its turn of the rate limit, and the checks before a write.
            raise KeyChanged("401: the key was rejected; another one has been read since", status=status)
        raise codec.failure(status, reply.headers, reply.body, now=self._clock.now())

    def _note_time(self, reply: transport.Reply, asked: float) -> None:
        """Keep the time that a reply states, if it states one. It was stated between the request and now."""
        if (time_stated := pause_headers.http_date(reply.headers.get("date", ""))) is not None:
            self._stated_times.append(StatedTime(time_stated, (asked + self._clock.uptime()) / 2))

    def _cursor(self, url: str | None) -> Cursor | None:
        return None if url is None else Cursor(self._http.trusted(url))


def _driver(reply: transport.Reply, asked: DriverId) -> Driver:
    found = codec.decode(reply.body, codec.DRIVERS).driver()
    if found.id != asked:
        raise _about_another(found.id, asked=asked)
    return found


def _about_another(found: str, *, asked: str) -> Unreachable:
    return Unreachable(f"the reply is about {found}, and {asked} was asked for", code="answer_unreadable")


def _checked(name: str) -> str:
    """Return an id as part of a URL. Raises errors.RequestRefused if it could lead to another path."""
    if not _ID.fullmatch(name):
        raise RequestRefused("not a valid id: nothing was sent", code="id_invalid")
    return name
