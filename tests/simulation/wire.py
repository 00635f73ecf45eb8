"""The way to Charge and back, for one life: it passes the points of its fate, and lets the audit see what is sent.

Invariant: what was sent arrives, whether or not the sender waits for the answer: who dies does not call requests back.
Neighbours: `tests.support.sandbox` is what answers, `oracles` judge a request before it goes.
"""

import contextvars
import dataclasses
from collections.abc import Callable, Mapping

import httpx
import trio

from tests.simulation import audit, fault_points
from tests.support import harness
from worker.sandbox import faults, http_types

ORIGIN = ("https", httpx.URL(harness.BASE).host)
GRACE_SECONDS = 1.0
"""How long a request that nobody waits for any more stays on its way."""


@dataclasses.dataclass
class _Exchange:
    """A request on its way, what befell it, and what came back."""

    scope: trio.CancelScope = dataclasses.field(default_factory=trio.CancelScope)
    done: trio.Event = dataclasses.field(default_factory=trio.Event)
    fault: str | None = None
    response: httpx.Response | None = None
    error: httpx.HTTPError | None = None


_present: contextvars.ContextVar[_Exchange] = contextvars.ContextVar("_present")


class Faults(faults.Faults):
    """Accidents that the audit counts: `weather` befalls every request, `storms` befall writes besides."""

    def __init__(
        self, weather: Mapping[str, float], storms: Mapping[str, float], *, seed: int, seen: audit.Audit
    ) -> None:
        """Take the probabilities of each fault by name."""
        super().__init__(weather, seed=seed)
        self._storms = faults.Faults(storms, seed=seed + 1)
        self._seen = seen

    def draw(self, request: http_types.Request) -> str | None:
        """Decide what happens to this request."""
        name = super().draw(request)
        if name is None and request.route in http_types.WRITES:
            name = self._storms.draw(request)
        if name is not None:
            _present.get().fault = name
            self._seen.counts[f"fault {name}"] += 1
            self._seen.note("server", f"fault {name} for {request.method} {request.path[4:24]}")
        return name


class Wire(httpx.AsyncBaseTransport):
    """A connection of one life; all of its connections share what they are given."""

    def __init__(
        self,
        server: httpx.AsyncBaseTransport,
        *,
        outside: trio.Nursery,
        life: fault_points.FaultPoints,
        who: str,
        seen: audit.Audit,
        run: Callable[[], audit.Run],
        sending: Callable[[httpx.Request], None],
        revoked: Callable[[], bool],
    ) -> None:
        """Take the server's transport, where requests live that outlive us, and who judges what is sent."""
        self._server = server
        self._outside = outside
        self._fate = life
        self._who = who
        self._seen = seen
        self._run = run
        self._sending = sending
        self._revoked = revoked

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Exchange one request."""
        self._fate.point(request.method)
        run, exchange = self._run(), _Exchange()
        self._seen.note(self._who, f"{request.method} {_shown(request)}")
        self._sending(request)
        self._outside.start_soon(self._exchange, request, exchange)
        try:
            await exchange.done.wait()
        finally:
            exchange.scope.deadline = trio.current_time() + GRACE_SECONDS
        self._fate.point(f"{request.method} answered")
        if exchange.response is None:
            self._seen.note(self._who, f"  {type(exchange.error).__name__} <- {_shown(request)}")
            raise exchange.error or httpx.ReadError("nothing came back", request=request)
        self._seen.note(self._who, f"  {exchange.response.status_code} <- {_shown(request)}")
        self._seen.delivered(run, request, exchange.response, exchange.fault)
        return exchange.response

    async def _exchange(self, request: httpx.Request, exchange: _Exchange) -> None:
        if self._revoked():
            request.headers["Authorization"] = "Bearer ch_sk_test_revoked"
        _present.set(exchange)
        with exchange.scope:
            try:
                answer = await self._server.handle_async_request(request)
                body = await answer.aread()
                exchange.response = httpx.Response(answer.status_code, headers=answer.headers, content=body)
            except httpx.HTTPError as error:
                exchange.error = error
        exchange.done.set()


def _shown(request: httpx.Request) -> str:
    path = "/".join(part[:12] for part in request.url.path.split("/")[2:])
    query = "&".join(f"{name}={text[-8:]}" for name, text in request.url.params.items())
    key = request.headers.get("idempotency-key", "")
    body = request.content[:20].decode() if request.content else ""
    return " ".join(part for part in (path, query, body, key) if part)
