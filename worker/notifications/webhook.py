"""Delivers notifications to a webhook in the background.

Invariants: `enqueue` never waits and never raises; the address, which is a secret, appears in no message and is sent
only to its own host; redirects are not followed and the environment's proxies are not used. Neighbours:
`core.monitoring.notifications` decides what is sent; `service.app` runs `deliver_forever` beside the loop, with
the SSL context of `service.network`.
"""

import collections
import dataclasses
import json
import ssl
from collections.abc import Callable
from urllib import parse

import anyio
import httpx
import structlog

from worker.core.model.secret import Secret
from worker.core.monitoring import notifications
from worker.notifications import payloads

log = structlog.get_logger()

DEADLINE_SECONDS = 10.0
"""Deadline of one attempt, connecting included."""

SHUTDOWN_SECONDS = 3.0
"""How long the delivery of all queued notifications may take when the service ends."""

RETRY_DELAYS = (1.0, 5.0, 25.0)
"""Seconds before each further attempt."""

JOB_SECONDS = 20.0
"""How long a job waits for the delivery of its notifications."""

MAX_QUEUED = 100
"""Queued notifications; when there are more, the oldest is dropped, because the latest state matters most."""

_MAX_RETRY_AFTER = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Failure:
    """A failed attempt: the reason, whether another may succeed, and the seconds that `Retry-After` asks for."""

    reason: str
    retryable: bool
    retry_after: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Receiver:
    """What an address accepts: its kind (see `payloads`), and which kinds of notifications."""

    kind: str = "webhook"
    events: frozenset[notifications.Kind] = frozenset(notifications.Kind)
    routing_key: Secret | None = None


WEBHOOK = Receiver()
"""A receiver of the whole body, as the documentation describes it."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Post:
    """One document to post, and the kind of notification that it is about."""

    kind: notifications.Kind
    payload: payloads.Payload


class Webhook:
    """One address that notifications are posted to. Create it inside the event loop."""

    def __init__(
        self,
        url: Secret,
        *,
        user_agent: str,
        transport: Callable[[], httpx.AsyncBaseTransport],
        receiver: Receiver = WEBHOOK,
    ) -> None:
        """Take the address, and what it accepts. `transport` makes the transport of one request."""
        self._url = url
        self._receiver = receiver
        self._host = parse.urlsplit(url.reveal()).hostname or ""
        self._new_transport = transport
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": user_agent,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        self._queue: collections.deque[_Post] = collections.deque()
        self._wakeup, self._closing = anyio.Event(), anyio.Event()

    def enqueue(self, notification: notifications.Notification) -> None:
        """Queue a notification for delivery, in order, if the receiver wants its kind. Returns at once."""
        if notification.kind not in self._receiver.events:
            return
        receiver = self._receiver
        for payload in payloads.payloads(receiver.kind, notification, routing_key=receiver.routing_key):
            if len(self._queue) >= MAX_QUEUED:
                self._log_failure(self._queue.popleft(), attempts=0, reason="too many notifications are queued")
            self._queue.append(_Post(notification.kind, payload))
        self._wakeup.set()

    async def deliver_queued(self) -> None:
        """Deliver what is queued, within `JOB_SECONDS`."""
        with anyio.move_on_after(JOB_SECONDS):
            while self._queue:
                await self._send(self._queue.popleft())
        while self._queue:
            self._log_failure(self._queue.popleft(), attempts=0, reason="there was no time left")

    async def deliver_forever(self) -> None:
        """Deliver queued notifications until cancelled; then try the rest once each, within `SHUTDOWN_SECONDS`."""
        scope = anyio.CancelScope(shield=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._deliver, scope)
            try:
                await anyio.sleep_forever()
            finally:
                scope.deadline = anyio.current_time() + SHUTDOWN_SECONDS
                self._closing.set()
                self._wakeup.set()

    async def _deliver(self, scope: anyio.CancelScope) -> None:
        with scope:
            while self._queue or not self._closing.is_set():
                if self._queue:
                    await self._send(self._queue.popleft())
                else:
                    self._wakeup = anyio.Event()
                    await self._wakeup.wait()
        while self._queue:
            self._log_failure(self._queue.popleft(), attempts=0, reason="the service ended")

    async def _send(self, post: _Post) -> None:
        """Attempt delivery until it succeeds or is given up, and log which."""
        attempts, reason = 0, "the service ended"
        try:
            for delay in (*RETRY_DELAYS, None):
                attempts += 1
                failure = await self._attempt(post)
                reason = failure.reason if failure else ""
                if failure is None or not failure.retryable or delay is None or self._closing.is_set():
                    return
                with anyio.move_on_after(max(delay, failure.retry_after)):
                    await self._closing.wait()
        finally:
            if reason:
                self._log_failure(post, attempts=attempts, reason=reason)
            else:
                log.info("notice_sent", host=self._host, kind=post.kind.value, attempts=attempts)

    def _log_failure(self, post: _Post, *, attempts: int, reason: str) -> None:
        log.warning("notice_failed", host=self._host, kind=post.kind.value, attempts=attempts, error=reason)

    async def _attempt(self, post: _Post) -> _Failure | None:
        """Post it once. The body of the response is not read."""
        transport = self._new_transport()
        try:
            with anyio.fail_after(DEADLINE_SECONDS):
                response = await transport.handle_async_request(self._request(post))
                await response.aclose()
        except TimeoutError:
            return _Failure(f"no response within {DEADLINE_SECONDS:g} s", retryable=True)
        except httpx.ConnectError as error:
            return _Failure(f"cannot connect ({error})", retryable=True)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # its message may quote the address
            return _Failure(f"the request failed ({type(error).__name__})", retryable=True)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await transport.aclose()
        if response.status_code < 300:
            return None
        retryable = response.status_code == 429 or response.status_code >= 500
        return _Failure(f"HTTP {response.status_code}", retryable=retryable, retry_after=_retry_after(response))

    def _request(self, post: _Post) -> httpx.Request:
        return httpx.Request(
            "POST",
            self._url.reveal(),
            headers=self._headers,
            content=json.dumps(post.payload, ensure_ascii=False).encode(errors="replace"),
            extensions={"timeout": httpx.Timeout(DEADLINE_SECONDS).as_dict()},
        )


def network_transport(context: ssl.SSLContext) -> httpx.AsyncBaseTransport:
    """Return a transport with one connection: notifications are too rare for a pool."""
    return httpx.AsyncHTTPTransport(verify=context, trust_env=False, retries=0)


def _retry_after(response: httpx.Response) -> float:
    """Return the delay that the response asks for, at most `_MAX_RETRY_AFTER`; 0 if it asks for none in seconds."""
    asked = response.headers.get("Retry-After", "")
    return min(float(asked), _MAX_RETRY_AFTER) if asked.isdecimal() and asked.isascii() else 0.0
