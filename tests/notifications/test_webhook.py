"""The webhook: delivery in the background with retries, and an address that stays secret."""

import contextlib
import functools
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
import structlog

from tests.support import served
from worker.core.model.secret import Secret
from worker.core.monitoring import notifications
from worker.notifications import webhook
from worker.service import network

pytestmark = pytest.mark.anyio

URL = "https://hooks.test:8443/services/Sesame?token=Sesame"
Log = list[structlog.typing.EventDict]


def notification(number: int = 1) -> notifications.Notification:
    return notifications.Notification(
        notifications.Kind.HELD, f"notification {number}", {"text": f"notification {number}", "kind": "held"}
    )


class Channel:
    """Answers as scripted, then with 200; records requests and their times."""

    def __init__(self, *answers: int | httpx.Response | Exception | float) -> None:
        """Take statuses, whole responses, failures, or seconds of silence."""
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []
        self._answers = list(answers)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.times.append(anyio.current_time())
        match self._answers.pop(0) if self._answers else 200:
            case Exception() as failure:
                raise failure
            case float() as seconds:
                await anyio.sleep(seconds)
                return httpx.Response(200)
            case int() as status:
                return httpx.Response(status)
            case httpx.Response() as response:
                return response

    @property
    def said(self) -> list[str]:
        return [json.loads(request.content)["text"] for request in self.requests]

    @property
    def pauses(self) -> list[float]:
        return [round(later - earlier, 3) for earlier, later in zip(self.times, self.times[1:], strict=False)]


def hook_of(channel: Channel) -> webhook.Webhook:
    return webhook.Webhook(
        Secret(URL), user_agent="fleet-sync/test", transport=lambda: httpx.MockTransport(channel.answer)
    )


def networked(url: str) -> webhook.Webhook:
    """Return a webhook that uses the network, as in the service."""
    transport = functools.partial(webhook.network_transport, network.webhook_context(Secret(url)))
    return webhook.Webhook(Secret(url), user_agent="fleet-sync/test", transport=transport)


@contextlib.asynccontextmanager
async def delivering(hook: webhook.Webhook, *, seconds: float = 3600) -> AsyncIterator[None]:
    """Deliver during the block and for so long after it, then stop as the service does."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hook.deliver_forever)
        yield
        await anyio.sleep(seconds)
        tasks.cancel_scope.cancel()


def logged(log: Log) -> list[tuple[str, int, str]]:
    return [(line["event"], line["attempts"], line.get("error", "")) for line in log]


async def test_a_notification_is_posted_unchanged(log: Log) -> None:
    channel = Channel()
    hook = hook_of(channel)
    async with delivering(hook):
        hook.enqueue(notification())
    (request,) = channel.requests
    assert (request.method, str(request.url)) == ("POST", URL)
    assert json.loads(request.content) == notification().body
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"] == "fleet-sync/test"
    assert request.headers["Host"] == "hooks.test:8443"
    assert "Authorization" not in request.headers and "Cookie" not in request.headers
    assert log == [
        {"event": "notice_sent", "host": "hooks.test", "kind": "held", "attempts": 1, "log_level": "info"},
    ]


async def test_notifications_are_delivered_in_order() -> None:
    channel = Channel(500)
    hook = hook_of(channel)
    for number in range(3):
        hook.enqueue(notification(number))
    async with delivering(hook):
        await anyio.sleep(60)
        hook.enqueue(notification(3))
    assert channel.said == ["notification 0", "notification 0", "notification 1", "notification 2", "notification 3"]


@pytest.mark.parametrize(
    "answer",
    [
        429,
        500,
        503,
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        OSError("gone"),
        ssl.SSLError("torn"),
        60.0,
    ],
)
async def test_temporary_failures_are_retried_with_growing_delays(answer: Any, log: Log) -> None:
    channel = Channel(answer, answer, answer)
    hook = hook_of(channel)
    async with delivering(hook):
        hook.enqueue(notification())
    deadline = webhook.DEADLINE_SECONDS if isinstance(answer, float) else 0
    assert channel.pauses == [pause + deadline for pause in webhook.RETRY_DELAYS]
    assert logged(log) == [("notice_sent", 4, "")]


@pytest.mark.parametrize("answer", [301, 302, 308, 400, 401, 403, 404, 410])
async def test_permanent_failures_are_not_retried(answer: int, log: Log) -> None:
    channel = Channel(httpx.Response(answer, headers={"Location": "https://evil.test/"}))
    hook = hook_of(channel)
    async with delivering(hook):
        hook.enqueue(notification())
    assert len(channel.requests) == 1
    assert logged(log) == [("notice_failed", 1, f"HTTP {answer}")]


async def test_a_notification_is_given_up_after_four_attempts_and_the_next_one_is_sent(log: Log) -> None:
    channel = Channel(*[500] * 4)
    hook = hook_of(channel)
    async with delivering(hook):
        hook.enqueue(notification(1))
        hook.enqueue(notification(2))
    assert channel.said == [*["notification 1"] * 4, "notification 2"]
    assert logged(log) == [("notice_failed", 4, "HTTP 500"), ("notice_sent", 1, "")]


@pytest.mark.parametrize(
    ("asked", "pause"), [("30", 30.0), ("0", 1.0), ("99999", 60.0), ("soon", 1.0), ("\u0663", 1.0), ("9" * 400, 60.0)]
)
async def test_retry_after_is_obeyed_within_bounds(asked: str, pause: float) -> None:
    channel = Channel(httpx.Response(429, headers=[(b"Retry-After", asked.encode())]))
    hook = hook_of(channel)
    async with delivering(hook):
        hook.enqueue(notification())
    assert channel.pauses == [pause]


async def test_enqueue_never_waits_and_drops_the_oldest(log: Log) -> None:
    channel = Channel()
    hook = hook_of(channel)
    for number in range(webhook.MAX_QUEUED + 3):
        hook.enqueue(notification(number))
    assert logged(log) == [("notice_failed", 0, "too many notifications are queued")] * 3
    async with delivering(hook):
        pass
    assert channel.said == [f"notification {number}" for number in range(3, webhook.MAX_QUEUED + 3)]


async def test_at_shutdown_queued_notifications_are_delivered() -> None:
    channel = Channel()
    hook = hook_of(channel)
    async with delivering(hook, seconds=0):
        for number in range(3):
            hook.enqueue(notification(number))
    assert channel.said == ["notification 0", "notification 1", "notification 2"]


async def test_at_shutdown_a_hanging_webhook_is_abandoned(log: Log) -> None:
    channel = Channel(9.0)
    hook = hook_of(channel)
    async with delivering(hook, seconds=1):
        hook.enqueue(notification(1))
        hook.enqueue(notification(2))
        began = anyio.current_time()
    assert anyio.current_time() - began == pytest.approx(1 + webhook.SHUTDOWN_SECONDS)
    assert logged(log) == [("notice_failed", 1, "the service ended"), ("notice_failed", 0, "the service ended")]


async def test_at_shutdown_a_retry_delay_is_cut_short_for_a_last_attempt(log: Log) -> None:
    channel = Channel(500, 500)
    hook = hook_of(channel)
    async with delivering(hook, seconds=0.5):
        hook.enqueue(notification())
    assert channel.pauses == [0.5]
    assert logged(log) == [("notice_failed", 2, "HTTP 500")]


async def test_an_idle_webhook_ends_at_once() -> None:
    began = anyio.current_time()
    async with delivering(hook_of(Channel()), seconds=0):
        pass
    assert anyio.current_time() == began


@pytest.mark.parametrize(
    "answer",
    [404, httpx.ReadError(f"{URL} broke"), httpx.InvalidURL(f"{URL} is none"), ValueError(URL), OSError(URL)],
)
async def test_the_webhook_address_is_never_logged(answer: Any, log: Log) -> None:
    hook = hook_of(Channel(*[answer] * 4))
    async with delivering(hook):
        hook.enqueue(notification())
    assert log[-1]["event"] == "notice_failed" and log[-1]["host"] == "hooks.test"
    assert "Sesame" not in f"{log} {hook!r} {vars(hook)}"


class Closing(httpx.MockTransport):
    """A transport that records what was closed, its response included."""

    def __init__(self, channel: Channel, closed: list[str]) -> None:
        super().__init__(channel.answer)
        self._closed = closed

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        closed = self._closed

        class Stream(httpx.AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield b""

            async def aclose(self) -> None:
                await anyio.lowlevel.checkpoint()
                closed.append("response")

        return httpx.Response(response.status_code, stream=Stream())

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        self._closed.append("transport")


@pytest.mark.parametrize("answer", [200, 404])
async def test_every_attempt_closes_its_response_and_its_connection(answer: int) -> None:
    channel, closed = Channel(answer), list[str]()
    hook = webhook.Webhook(Secret(URL), user_agent="fleet-sync/test", transport=lambda: Closing(channel, closed))
    async with delivering(hook):
        hook.enqueue(notification())
    assert closed == ["response", "transport"]


async def test_a_failed_attempt_closes_its_connection() -> None:
    channel, closed = Channel(httpx.ReadError("reset")), list[str]()
    hook = webhook.Webhook(Secret(URL), user_agent="fleet-sync/test", transport=lambda: Closing(channel, closed))
    async with delivering(hook):
        hook.enqueue(notification())
    assert closed == ["transport", "response", "transport"]


class Server:
    """An ASGI application that gives every request the same response and records it."""

    def __init__(self, status: int, headers: Sequence[tuple[bytes, bytes]] = (), body: bytes = b"ok") -> None:
        self.paths: list[str] = []
        self.bodies: list[Any] = []
        self._status, self._headers, self._body = status, list(headers), body

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        self.paths.append(f"{scope['path']}?{scope['query_string'].decode()}")
        self.bodies.append(json.loads((await receive())["body"]))
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})


class TestOverHttp:
    """The same over real connections, in real time."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @staticmethod
    async def deliver(url: str, log: Log) -> None:
        """Deliver one notification, until its outcome is logged."""
        hook = networked(url)
        hook.enqueue(notification())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hook.deliver_forever)
            with anyio.fail_after(20):
                while not log:
                    await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

    async def test_a_notification_arrives(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        server = Server(200)
        with served.over_http(server) as base, served.trap() as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.delenv("NO_PROXY", raising=False)
            await self.deliver(f"{base}/hook?a=b", log)
            assert proxy.caught == []
        assert server.paths == ["/v1/hook?a=b"]
        assert server.bodies == [notification().body]
        assert logged(log) == [("notice_sent", 1, "")]

    async def test_a_redirect_is_not_followed(self, log: Log) -> None:
        with served.trap() as elsewhere:
            server = Server(307, [(b"location", f"http://127.0.0.1:{elsewhere.port}/".encode())])
            with served.over_http(server) as base:
                await self.deliver(base, log)
            assert elsewhere.caught == []
        assert logged(log) == [("notice_failed", 1, "HTTP 307")]

    @pytest.mark.integration
    async def test_the_body_of_a_response_is_not_read(self, log: Log) -> None:
        with served.over_http(Server(200, body=b"x" * 50_000_000)) as base:
            await self.deliver(base, log)
        assert logged(log) == [("notice_sent", 1, "")]

    @pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/Sesame", "https://{label}.test/Sesame"])
    async def test_an_unreachable_webhook_is_a_failed_attempt(self, url: str, log: Log) -> None:
        """A name that cannot be resolved raises no OSError."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        hook = networked(url.format(port=port, label="a" * 64))
        hook.enqueue(notification())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hook.deliver_forever)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        (line,) = log
        assert line["event"] == "notice_failed"
        assert "Sesame" not in str(line)
