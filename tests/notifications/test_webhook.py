"""The webhook: it is told in the background, a few times if need be, and its address is nobody's to read."""

import contextlib
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

pytestmark = pytest.mark.anyio

URL = "https://hooks.test:8443/services/Sesame?token=Sesame"
Log = list[structlog.typing.EventDict]


def told(number: int = 1) -> notifications.Notification:
    return notifications.Notification(
        notifications.Kind.HELD, f"notice {number}", {"text": f"notice {number}", "kind": "held"}
    )


class Channel:
    """Answers as it is told, then with 200; keeps what came, and when."""

    def __init__(self, *answers: int | httpx.Response | Exception | float) -> None:
        """Take statuses, whole answers, failures, or seconds for which to say nothing."""
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


@contextlib.asynccontextmanager
async def delivering(hook: webhook.Webhook, *, seconds: float = 3600) -> AsyncIterator[None]:
    """Deliver for so long after the block, then end as the service does."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hook.deliver_forever)
        yield
        await anyio.sleep(seconds)
        tasks.cancel_scope.cancel()


def logged(log: Log) -> list[tuple[str, int, str]]:
    return [(line["event"], line["attempts"], line.get("error", "")) for line in log]


async def test_a_notice_is_posted_as_it_is(log: Log) -> None:
    channel = Channel()
    hook = hook_of(channel)
    async with delivering(hook):
        hook.enqueue(told())
    (request,) = channel.requests
    assert (request.method, str(request.url)) == ("POST", URL)
    assert json.loads(request.content) == told().body
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"] == "fleet-sync/test"
    assert request.headers["Host"] == "hooks.test:8443"
    assert "Authorization" not in request.headers and "Cookie" not in request.headers
    assert log == [
        {"event": "notice_sent", "host": "hooks.test", "kind": "held", "attempts": 1, "log_level": "info"},
    ]


async def test_notices_come_in_the_order_in_which_they_were_told() -> None:
    channel = Channel(500)
    hook = hook_of(channel)
    for number in range(3):
        hook.enqueue(told(number))
    async with delivering(hook):
        await anyio.sleep(60)
        hook.enqueue(told(3))
    assert channel.said == ["notice 0", "notice 0", "notice 1", "notice 2", "notice 3"]


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
async def test_what_may_pass_is_tried_again_with_growing_pauses(answer: Any, log: Log) -> None:
    channel = Channel(answer, answer, answer)
    hook = hook_of(channel)
    async with delivering(hook):
        hook.enqueue(told())
    deadline = webhook.DEADLINE_SECONDS if isinstance(answer, float) else 0
    assert channel.pauses == [pause + deadline for pause in webhook.RETRY_DELAYS]
    assert logged(log) == [("notice_sent", 4, "")]


@pytest.mark.parametrize("answer", [301, 302, 308, 400, 401, 403, 404, 410])
async def test_what_will_not_pass_is_not_tried_again(answer: int, log: Log) -> None:
    channel = Channel(httpx.Response(answer, headers={"Location": "https://evil.test/"}))
    hook = hook_of(channel)
    async with delivering(hook):
        hook.enqueue(told())
    assert len(channel.requests) == 1
    assert logged(log) == [("notice_failed", 1, f"HTTP {answer}")]


async def test_a_notice_is_given_up_after_a_few_attempts_and_the_next_one_goes_on(log: Log) -> None:
    channel = Channel(*[500] * 4)
    hook = hook_of(channel)
    async with delivering(hook):
        hook.enqueue(told(1))
        hook.enqueue(told(2))
    assert channel.said == [*["notice 1"] * 4, "notice 2"]
    assert logged(log) == [("notice_failed", 4, "HTTP 500"), ("notice_sent", 1, "")]


@pytest.mark.parametrize(
    ("asked", "pause"), [("30", 30.0), ("0", 1.0), ("99999", 60.0), ("soon", 1.0), ("\u0663", 1.0), ("9" * 400, 60.0)]
)
async def test_a_pause_that_is_asked_for_is_kept_within_bounds(asked: str, pause: float) -> None:
    channel = Channel(httpx.Response(429, headers=[(b"Retry-After", asked.encode())]))
    hook = hook_of(channel)
    async with delivering(hook):
        hook.enqueue(told())
    assert channel.pauses == [pause]


async def test_to_tell_never_waits_and_the_latest_states_win(log: Log) -> None:
    channel = Channel()
    hook = hook_of(channel)
    for number in range(webhook.MAX_QUEUED + 3):
        hook.enqueue(told(number))
    assert logged(log) == [("notice_failed", 0, "too many notifications are queued")] * 3
    async with delivering(hook):
        pass
    assert channel.said == [f"notice {number}" for number in range(3, webhook.MAX_QUEUED + 3)]


async def test_at_the_end_what_waits_is_still_delivered() -> None:
    channel = Channel()
    hook = hook_of(channel)
    async with delivering(hook, seconds=0):
        for number in range(3):
            hook.enqueue(told(number))
    assert channel.said == ["notice 0", "notice 1", "notice 2"]


async def test_at_the_end_nobody_waits_for_a_webhook_that_hangs(log: Log) -> None:
    channel = Channel(9.0)
    hook = hook_of(channel)
    async with delivering(hook, seconds=1):
        hook.enqueue(told(1))
        hook.enqueue(told(2))
        began = anyio.current_time()
    assert anyio.current_time() - began == pytest.approx(1 + webhook.SHUTDOWN_SECONDS)
    assert logged(log) == [("notice_failed", 1, "the service ended"), ("notice_failed", 0, "the service ended")]


async def test_at_the_end_a_pause_is_cut_short_for_a_last_attempt(log: Log) -> None:
    channel = Channel(500, 500)
    hook = hook_of(channel)
    async with delivering(hook, seconds=0.5):
        hook.enqueue(told())
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
async def test_the_address_is_in_no_log_line(answer: Any, log: Log) -> None:
    hook = hook_of(Channel(*[answer] * 4))
    async with delivering(hook):
        hook.enqueue(told())
    assert log[-1]["event"] == "notice_failed" and log[-1]["host"] == "hooks.test"
    assert "Sesame" not in f"{log} {hook!r} {vars(hook)}"


class Server:
    """An ASGI application that answers every request alike, and keeps what came."""

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
        """Deliver one notice, until the log says what came of it."""
        hook = webhook.Webhook(Secret(url), user_agent="fleet-sync/test")
        hook.enqueue(told())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hook.deliver_forever)
            with anyio.fail_after(20):
                while not log:
                    await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

    async def test_a_notice_arrives(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        server = Server(200)
        with served.over_http(server) as base, served.trap() as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.delenv("NO_PROXY", raising=False)
            await self.deliver(f"{base}/hook?a=b", log)
            assert proxy.caught == []
        assert server.paths == ["/v1/hook?a=b"]
        assert server.bodies == [told().body]
        assert logged(log) == [("notice_sent", 1, "")]

    async def test_a_redirect_is_not_followed(self, log: Log) -> None:
        with served.trap() as elsewhere:
            server = Server(307, [(b"location", f"http://127.0.0.1:{elsewhere.port}/".encode())])
            with served.over_http(server) as base:
                await self.deliver(base, log)
            assert elsewhere.caught == []
        assert logged(log) == [("notice_failed", 1, "HTTP 307")]

    async def test_an_answer_of_any_length_is_not_read(self, log: Log) -> None:
        with served.over_http(Server(200, body=b"x" * 50_000_000)) as base:
            await self.deliver(base, log)
        assert logged(log) == [("notice_sent", 1, "")]

    @pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/Sesame", "https://{label}.test/Sesame"])
    async def test_where_nobody_is_it_fails_like_any_other(self, url: str, log: Log) -> None:
        """A name that cannot be looked up is no OSError."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        hook = webhook.Webhook(Secret(url.format(port=port, label="a" * 64)), user_agent="fleet-sync/test")
        hook.enqueue(told())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hook.deliver_forever)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        (line,) = log
        assert line["event"] == "notice_failed"
        assert "Sesame" not in str(line)
