"""Limits how often clients are answered, so that runs and probes always have room.

Invariant: a request over its limit waits and costs nothing meanwhile; a connection has one request at work, so that as
many wait as there are connections. Every kind of request has limits of its own: readers of pages cannot delay probes.
Neighbours: `app` wraps everything in `ThrottleMiddleware`, `server` bounds the connections.
"""

import dataclasses
import ipaddress
import math
import re
from collections.abc import Mapping
from typing import Final

import anyio
from starlette import responses, types

from worker.web import security

MAX_WAIT_SECONDS: Final = 15.0
"""A request that would have to wait longer is refused."""

REFUSAL_SECONDS: Final = 1.0
"""How long a refusal is delayed, so that clients that retry at once cost little."""

_PREFIX: Final = re.compile(r"^/accounts/[^/]+(?=/)")

_MIN_PRUNED: Final = 256
"""Addresses that are kept without looking for idle ones."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second, and how many may come at once."""

    per_second: float
    burst: int


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one kind of request: for each address, and for all together."""

    address: Rate
    total: Rate


DEFAULT: Final = Limits(address=Rate(1, 10), total=Rate(2, 20))
"""For pages that read the journal and are rendered for each request."""

BY_PATH: Final[Mapping[str, Limits]] = {
    "/healthz": Limits(address=Rate(20, 40), total=Rate(100, 100)),
    "/readyz": Limits(address=Rate(20, 40), total=Rate(100, 100)),
    "/metrics": Limits(address=Rate(1, 10), total=Rate(2, 20)),
    "/sync": Limits(address=Rate(10, 50), total=Rate(20, 100)),
    "/approve": Limits(address=Rate(10, 50), total=Rate(20, 100)),
    "/pause": Limits(address=Rate(1, 10), total=Rate(2, 20)),
    "/resume": Limits(address=Rate(1, 10), total=Rate(2, 20)),
    "/login": Limits(address=Rate(1, 10), total=Rate(2, 20)),
    "/logout": Limits(address=Rate(1, 10), total=Rate(2, 20)),
    "/": Limits(address=Rate(10, 30), total=Rate(25, 100)),  # rendered once a second for all readers
    "/events": Limits(address=Rate(10, 30), total=Rate(25, 100)),
    "/static": Limits(address=Rate(10, 30), total=Rate(25, 100)),
}


class Turnstile:
    """Gives out turns at a rate, in the order in which they are asked for."""

    def __init__(self, rate: Rate) -> None:
        """Start with the whole burst available."""
        self._interval = 1 / rate.per_second
        self._slack = (rate.burst - 1) * self._interval
        self._next = -math.inf

    def delay(self, now: float) -> float:
        """Return the seconds until the next turn."""
        return max(0.0, self._next - self._slack - now)

    def take(self, now: float) -> None:
        """Take the next turn."""
        self._next = max(self._next, now) + self._interval

    def is_idle(self, now: float) -> bool:
        """Return whether the whole burst is available again."""
        return self._next <= now


class Throttle:
    """Holds the limits of one kind of request."""

    def __init__(self, limits: Limits) -> None:
        """Start with every burst available."""
        self._limits = limits
        self._total = Turnstile(limits.total)
        self._by_address: dict[str, Turnstile] = {}
        self._prune_at = _MIN_PRUNED

    async def admit(self, address: str) -> bool:
        """Wait until the request may be answered; return False at once if that would take too long.

        The total counts only after the address's own turn: an address that floods waits for itself, not for others.
        """
        return await _turn(self._of(address)) and await _turn(self._total)

    def _of(self, address: str) -> Turnstile:
        if address not in self._by_address and len(self._by_address) >= self._prune_at:
            now = anyio.current_time()
            self._by_address = {known: turns for known, turns in self._by_address.items() if not turns.is_idle(now)}
            self._prune_at = max(_MIN_PRUNED, 2 * len(self._by_address))  # doubled, so that pruning stays cheap
        return self._by_address.setdefault(address, Turnstile(self._limits.address))


class ThrottleMiddleware:
    """Delays requests over their limits, and refuses those that would wait too long."""

    def __init__(self, app: types.ASGIApp) -> None:
        """Wrap the app."""
        self._app = app
        self._default = Throttle(DEFAULT)
        self._by_path = {path: Throttle(limits) for path, limits in BY_PATH.items()}

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        """Answer when it is the request's turn."""
        if scope["type"] == "http":
            throttle = self._by_path.get(_kind(scope["path"]), self._default)
            if not await throttle.admit(_address(scope)):
                await anyio.sleep(REFUSAL_SECONDS)
                headers = {**security.HEADERS, "Retry-After": f"{MAX_WAIT_SECONDS:g}", "Connection": "close"}
                refusal = responses.PlainTextResponse("Too many requests are waiting.\n", 503, headers)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _turn(turnstile: Turnstile) -> bool:
    now = anyio.current_time()
    delay = turnstile.delay(now)
    if delay > MAX_WAIT_SECONDS:
        return False
    turnstile.take(now)
    if delay:
        await anyio.sleep(delay)
    return True


def _kind(path: str) -> str:
    """Return the kind of request; the pages of every account of a folder are of the kinds that those of one are."""
    return "/static" if path.startswith("/static/") else _PREFIX.sub("", path)


def _address(scope: types.Scope) -> str:
    """Return the client's address; for IPv6 its /64 network, which one client owns as a whole."""
    host = scope["client"][0] if scope.get("client") else ""
    try:
        return str(ipaddress.ip_network((host, 64), strict=False)) if ":" in host else host
    except ValueError:  # an address with a zone
        return host
