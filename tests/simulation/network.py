"""The network between one process and Charge: it passes fault points and shows the audit every request and answer.

Invariant: a request that was sent arrives, even if its sender gives up or dies. Neighbours: `tests.support.sandbox`
answers, `oracles` judges a request before it is sent, `other_writers` may act around it.
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
ABANDONED_SECONDS = 1.0
"""How long a request stays on its way after its sender gave up."""


@dataclasses.dataclass
class _Exchange:
    """A request on its way, its fault, and its answer."""

    scope: trio.CancelScope = dataclasses.field(default_factory=trio.CancelScope)
    done: trio.Event = dataclasses.field(default_factory=trio.Event)
    fault: str | None = None
    response: httpx.Response | None = None
    error: httpx.HTTPError | None = None


_current: contextvars.ContextVar[_Exchange] = contextvars.ContextVar("_current")


class Faults(faults.Faults):
    """Faults that the audit counts: `rates` concern every request, `write_rates` writes in addition."""

    def __init__(
        self,
        rates: Mapping[str, float],
        write_rates: Mapping[str, float],
        *,
        seed: int,
        seen: audit.Audit,
        later: Callable[[float], None],
    ) -> None:
        """Store the probability of each fault by name. `later` is called with the delay of each late write."""
        super().__init__(rates, seed=seed)
        self._later = later
        self._write_faults = faults.Faults(write_rates, seed=seed + 1)
        self._seen = seen

    def delay(self, shortest: float, longest: float) -> float:
        """Return how many seconds later a late write takes effect."""
        seconds = super().delay(shortest, longest)
        self._later(seconds)
        return seconds

    def draw(self, request: http_types.Request) -> str | None:
        """Return the fault of this request, or None."""
        name = super().draw(request)
        if name is None and request.route in http_types.WRITES:
            name = self._write_faults.draw(request)
        if name is not None:
            _current.get().fault = name
            self._seen.counts[f"fault {name}"] += 1
            self._seen.note("server", f"fault {name} for {request.method} {request.path[4:24]}")
        return name


@dataclasses.dataclass(frozen=True)
class Observers:
    """What happens around a request of the current run. `answered` is also called for a lost answer."""

    run: Callable[[], audit.Run]
    sending: Callable[[httpx.Request], None]
    answered: Callable[[httpx.Request], None]
    revoked: Callable[[], bool]
    lag: Callable[[httpx.Request], float]


class Network(httpx.AsyncBaseTransport):
    """A connection of one process; all its connections share the fault points and observers."""

    def __init__(
        self,
        server: httpx.AsyncBaseTransport,
        *,
        outside: trio.Nursery,
        points: fault_points.FaultPoints,
        who: str,
        seen: audit.Audit,
        observers: Observers,
    ) -> None:
        """Connect to the server. Requests that outlive the process run in `outside`."""
        self._server = server
        self._outside = outside
        self._points = points
        self._who = who
        self._seen = seen
        self._observers = observers

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Exchange one request."""
        self._points.point(request.method)
        run, exchange = self._observers.run(), _Exchange()
        self._seen.note(self._who, f"{request.method} {_shown(request)}")
        self._observers.sending(request)
        sent = audit.Sent(self._seen.next(), trio.current_time())
        self._outside.start_soon(self._exchange, request, exchange)
        try:
            await exchange.done.wait()
        finally:
            exchange.scope.deadline = trio.current_time() + ABANDONED_SECONDS
            self._observers.answered(request)
        self._points.point(f"{request.method} answered")
        if exchange.response is None:
            self._seen.note(self._who, f"  {type(exchange.error).__name__} <- {_shown(request)}")
            raise exchange.error or httpx.ReadError("nothing came back", request=request)
        self._seen.note(self._who, f"  {exchange.response.status_code} <- {_shown(request)}")
        lag = self._observers.lag(request)
        state_at = min(sent.order, self._seen.order_at(trio.current_time() - lag)) if lag else sent.order
        self._seen.delivered(run, request, exchange.response, fault=exchange.fault, sent=sent, state_at=state_at)
        return exchange.response

    async def _exchange(self, request: httpx.Request, exchange: _Exchange) -> None:
        if self._observers.revoked():
            request.headers["Authorization"] = "Bearer ch_sk_test_revoked"
        _current.set(exchange)
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
