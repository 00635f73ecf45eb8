"""The sandbox: an ASGI application that imitates the Charge API and injects faults on request.

Invariant: `_decide` never waits, so requests cannot interleave and each write is atomic.
Neighbours: `state` holds the account, `endpoints` implements the API, `quirks` lists what the reference leaves open,
`faults` lists what can go wrong, and `server` serves the application on a port. A connection fault is raised as
`faults.Disconnect`; the server or transport that runs the application must break the connection.
"""

import dataclasses
import email.utils
import math
import time
from collections.abc import Callable
from typing import Final

import anyio

from worker.sandbox import endpoints, faults, http_types, idempotency, limiter, objects, quirks, state

KEY: Final = "ch_sk_test_sandbox"
_LOST: Final = frozenset({"hang", "hang_after", "late", "reset_before", "reset_after"})


@dataclasses.dataclass(frozen=True, slots=True)
class _LateWrite:
    """A write that takes effect at `due`, by `anyio.current_time()`."""

    due: float
    request: http_types.Request


class Sandbox:
    """Imitates Charge. `quirks` and `faults` may be replaced while it runs."""

    def __init__(
        self,
        state: state.SandboxState,
        *,
        quirks: quirks.Quirks = quirks.PLAUSIBLE,
        faults: faults.Faults = faults.NONE,
        key: str = KEY,
        clock: Callable[[], float] = time.time,
        record: bool = True,
    ) -> None:
        """Serve this account.

        `clock` returns the wall-clock time, in seconds since 1970, for dates; rate limits and lifetimes use
        `anyio.current_time()`. With `record=False` the list of requests stays empty, which saves memory in benchmarks.
        """
        self.state = state
        self.quirks = quirks
        self.faults = faults
        self.requests: list[http_types.Record] = []
        self._key = key
        self._clock = clock
        self._record = record
        self._count = 0
        self._keys = idempotency.Keys()
        self._limiter = limiter.Limiter()
        self._date = (0, b"")
        self._late: list[_LateWrite] = []
        state.clock = clock
        self._remember()

    async def __call__(self, scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
        """Answer one request, or make it fail."""
        if scope["type"] != "http":
            raise ValueError(f"the sandbox answers http only, not {scope['type']}")
        content = await http_types.body(receive)
        if content is None:
            return
        self._count += 1
        now = anyio.current_time()
        request = http_types.request(scope, content, number=self._count, key=self._key, now=now)
        await self._pause()
        answer, fault = self._decide(request)
        if self._record:
            status = None if fault in _LOST else answer.status
            self.requests.append(http_types.record(request, status=status, fault=fault))
        await self._pause()
        await self._deliver(request, answer, fault, receive=receive, send=send)

    async def _pause(self) -> None:
        if self.quirks.latency_seconds:
            await anyio.sleep(self.quirks.latency_seconds / 2)

    def late_keys(self) -> frozenset[str]:
        """Return the idempotency keys of the late writes that have not taken effect yet."""
        return frozenset(late.request.key or "" for late in self._late)

    def deliver_late(self) -> None:
        """Carry out the late writes that are due. The sandbox does this itself before every request."""
        now = anyio.current_time()
        due = sorted((late for late in self._late if late.due <= now), key=lambda late: late.due)
        self._late = [late for late in self._late if late.due > now]
        for late in due:
            happened = self._clock() - (now - late.due)
            self.state.clock = lambda: happened  # noqa: B023 - called within this round only
            self._perform(late.request, None)
        self.state.clock = self._clock

    def _remember(self) -> None:
        # The quirks may have been replaced since the last request.
        self.state.remember_seconds = max(self.quirks.list_lag_seconds, self.quirks.read_lag_seconds)

    def _decide(self, request: http_types.Request) -> tuple[http_types.Answer, str | None]:
        self.deliver_late()
        self._remember()
        if not request.authorized:
            return objects.error(request, 401, None, "The key is missing or invalid."), None
        result = self._limiter.admit(self.quirks, request.time)
        headers = _rate_limit(result) if result and self.quirks.rate_limit_headers else ()
        if result and result.wait:
            answer, fault = self._too_many(request, result.wait, self.quirks.retry_after), None
        else:
            fault = self.faults.draw(request)
            answer = self._answer(request, fault)
        return dataclasses.replace(answer, headers=answer.headers + headers) if headers else answer, fault

    def _answer(self, request: http_types.Request, fault: str | None) -> http_types.Answer:
        """Return the answer to a request with this fault, which happens before or after the effect."""
        match fault:
            case "rate_limited":
                return self._too_many(request, self.quirks.injected_retry_after_seconds, "none")
            case "rate_limited_seconds":
                return self._too_many(request, self.quirks.injected_retry_after_seconds, "seconds")
            case "rate_limited_date":
                return self._too_many(request, self.quirks.injected_retry_after_seconds, "date")
            case "503":
                return objects.error(request, 503, None, "Charge is not available at the moment.")
            case "html":
                return objects.html(502)
            case "html_200" | "hang" | "reset_before":
                return objects.html(200)
            case "late" | "late_504":
                due = request.time + self.faults.delay(*self.quirks.late_seconds)
                self._late.append(_LateWrite(due, request))
                return objects.html(504)
            case _:
                return _spoil(self._perform(request, fault), fault)

    def _perform(self, request: http_types.Request, fault: str | None) -> http_types.Answer:
        misdirected = endpoints.misdirected(request)
        if misdirected is not None:
            return misdirected
        call = endpoints.Call(
            request=request, state=self._visible_state(request), quirks=self.quirks, fault=fault, now=self._clock()
        )
        writes = request.route in http_types.WRITES
        answer = self._keys.answer(call, endpoints.perform) if writes else endpoints.perform(call)
        return endpoints.failure(call) if fault in ("500", "500_after") else answer

    def _visible_state(self, request: http_types.Request) -> state.SandboxState:
        """Return the state that a request sees: reads may lag behind writes."""
        if request.route in http_types.WRITES:
            return self.state
        quirks = self.quirks
        lag = quirks.list_lag_seconds if request.route in http_types.LISTS else quirks.read_lag_seconds
        return self.state.as_of(self._clock() - lag) if lag else self.state

    def _too_many(self, request: http_types.Request, wait: float, form: str) -> http_types.Answer:
        answer = objects.error(request, 429, "rate_limit_exceeded", "Too many requests.")
        if form == "none":
            return answer
        if form == "seconds":
            value = str(max(1, math.ceil(wait)))
        else:
            value = email.utils.formatdate(math.ceil(self._server_time() + wait), usegmt=True)
        return dataclasses.replace(answer, headers=((b"retry-after", value.encode()),))

    async def _deliver(
        self,
        request: http_types.Request,
        answer: http_types.Answer,
        fault: str | None,
        *,
        receive: http_types.Receive,
        send: http_types.Send,
    ) -> None:
        if fault in ("hang", "hang_after", "late"):
            await http_types.disconnected(receive)
            return
        if fault in ("reset_before", "reset_after"):
            raise faults.ConnectionReset(fault)
        await send({"type": "http.response.start", "status": answer.status, "headers": self._headers(request, answer)})
        if fault == "truncated":
            await send({"type": "http.response.body", "body": answer.body[: len(answer.body) // 2], "more_body": True})
            raise faults.ConnectionCut(fault)
        await send({"type": "http.response.body", "body": answer.body})

    def _headers(self, request: http_types.Request, answer: http_types.Answer) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"content-type", answer.content_type),
            (b"content-length", b"%d" % len(answer.body)),
            *answer.headers,
        ]
        if self.quirks.date_header:
            headers.append((b"date", self._date_header()))
        if self.quirks.request_id_header and answer.content_type == http_types.JSON:  # HTML comes from a gateway
            headers.append((b"request-id", request.id.encode()))
        return headers

    def _date_header(self) -> bytes:
        second = int(self._server_time())
        if second != self._date[0]:
            self._date = (second, email.utils.formatdate(second, usegmt=True).encode())
        return self._date[1]

    def _server_time(self) -> float:
        return self._clock() + self.quirks.date_skew_seconds


def _spoil(answer: http_types.Answer, fault: str | None) -> http_types.Answer:
    if fault == "gateway_timeout":
        return objects.html(504)
    return objects.wrong_types(answer) if fault == "wrong_types" else answer


def _rate_limit(result: limiter.Admission) -> http_types.Headers:
    return (
        (b"ratelimit-limit", b"%d" % result.limit),
        (b"ratelimit-remaining", b"%d" % max(0, result.remaining)),
        (b"ratelimit-reset", b"%d" % math.ceil(result.reset)),
    )
