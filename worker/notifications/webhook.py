"""Posts notices to a webhook, beside the runs.

Invariants: whoever tells a notice never waits and never hears of a failure; the address, which is a secret, is in no
message and goes nowhere but to its own host; redirects are never followed, the environment's proxies never asked.
Neighbours: `core.notice` decides what is told, `service` runs `deliver_forever` beside its loop.
"""

import collections
import dataclasses
import json
import ssl
from collections.abc import Callable
from urllib import parse

import anyio
import certifi
import httpx
import structlog

from worker.core.model.secret import Secret
from worker.core.monitoring import notifications

log = structlog.get_logger()

DEADLINE_SECONDS = 10.0
"""Of one attempt, connection included."""

FAREWELL_SECONDS = 3.0
"""What still waits when the service ends has so long to be delivered, all together."""

PAUSES = (1.0, 5.0, 25.0)
"""Before each further attempt."""

MOST_WAITING = 100
"""Beyond that the oldest is given up: the latest state counts."""

_LONGEST_PAUSE = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Failure:
    """Why an attempt failed, whether another may help, and how long the other side asks to wait."""

    reason: str
    again: bool
    wait: float = 0.0


class Webhook:
    """One address that is told. To be made inside the event loop."""

    def __init__(
        self,
        url: Secret,
        *,
        user_agent: str,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
    ) -> None:
        """Take where to post. `transport` makes the transport of one request, in place of the network's."""
        split = parse.urlsplit(url.reveal())
        self._url = url
        self._host = split.hostname or ""
        self._transport = transport or _network(split.scheme)
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": user_agent,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        self._waiting: collections.deque[notifications.Notification] = collections.deque()
        self._stirred, self._leaving = anyio.Event(), anyio.Event()

    def tell(self, told: notifications.Notification) -> None:
        """Have a notice delivered, after those that were told before it. Returns at once."""
        if len(self._waiting) >= MOST_WAITING:
            self._failed(self._waiting.popleft(), attempts=0, reason="too many others wait")
        self._waiting.append(told)
        self._stirred.set()

    async def deliver_forever(self) -> None:
        """Deliver what is told, until cancelled; what waits then gets `FAREWELL_SECONDS`, and one attempt each."""
        scope = anyio.CancelScope(shield=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._deliver, scope)
            try:
                await anyio.sleep_forever()
            finally:
                scope.deadline = anyio.current_time() + FAREWELL_SECONDS
                self._leaving.set()
                self._stirred.set()

    async def _deliver(self, scope: anyio.CancelScope) -> None:
        with scope:
            while self._waiting or not self._leaving.is_set():
                if self._waiting:
                    await self._send(self._waiting.popleft())
                else:
                    self._stirred = anyio.Event()
                    await self._stirred.wait()
        while self._waiting:
            self._failed(self._waiting.popleft(), attempts=0, reason="the service ended")

    async def _send(self, told: notifications.Notification) -> None:
        """Attempt it until it is delivered, or not worth it any more; the log says which."""
        attempts, reason = 0, "the service ended"
        try:
            for pause in (*PAUSES, None):
                attempts += 1
                failure = await self._attempt(told)
                reason = failure.reason if failure else ""
                if failure is None or not failure.again or pause is None or self._leaving.is_set():
                    return
                with anyio.move_on_after(max(pause, failure.wait)):
                    await self._leaving.wait()
        finally:
            if reason:
                self._failed(told, attempts=attempts, reason=reason)
            else:
                log.info("notice_sent", host=self._host, kind=told.kind.value, attempts=attempts)

    def _failed(self, told: notifications.Notification, *, attempts: int, reason: str) -> None:
        log.warning("notice_failed", host=self._host, kind=told.kind.value, attempts=attempts, error=reason)

    async def _attempt(self, told: notifications.Notification) -> _Failure | None:
        """Post it once. The answer's body is not read: nothing in it would change anything."""
        transport = self._transport()
        try:
            with anyio.fail_after(DEADLINE_SECONDS):
                response = await transport.handle_async_request(self._request(told))
                await response.aclose()
        except TimeoutError:
            return _Failure(f"no answer within {DEADLINE_SECONDS:g} s", again=True)
        except httpx.ConnectError as error:
            return _Failure(f"no connection could be made ({error})", again=True)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # a library's words may quote a lot
            return _Failure(f"the request failed ({type(error).__name__})", again=True)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await transport.aclose()
        if response.status_code < 300:
            return None
        again = response.status_code == 429 or response.status_code >= 500
        return _Failure(f"HTTP {response.status_code}", again=again, wait=_asked(response))

    def _request(self, told: notifications.Notification) -> httpx.Request:
        return httpx.Request(
            "POST",
            self._url.reveal(),
            headers=self._headers,
            content=json.dumps(told.body, ensure_ascii=False).encode(errors="replace"),
            extensions={"timeout": httpx.Timeout(DEADLINE_SECONDS).as_dict()},
        )


def _asked(response: httpx.Response) -> float:
    """Give the pause that an answer asks for, in seconds and within bounds."""
    asked = response.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_PAUSE) if asked.isdecimal() and asked.isascii() else 0.0


def _network(scheme: str) -> Callable[[], httpx.AsyncBaseTransport]:
    """Give a maker of real connections, one for each request: notices are rare."""
    if scheme == "https":
        context = ssl.create_default_context(cafile=certifi.where())
        context.load_default_certs()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return lambda: httpx.AsyncHTTPTransport(verify=context, trust_env=False, retries=0)
