"""The transport over real sockets: the environment's proxies, redirects, kept connections, broken replies."""

import contextlib
from collections.abc import AsyncIterator

import anyio
import anyio.abc
import pytest

from tests.charge import conftest
from worker.core.model.errors import Unreachable

pytestmark = pytest.mark.anyio

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Listener:
    """Accepts connections on a free port, keeps what comes in, and answers each request with the same bytes."""

    def __init__(self, *, answer: bytes = ANSWER, close: bool = False) -> None:
        """Take the answer, and whether to hang up after it without having said so."""
        self.received: list[bytes] = []
        self.connections = 0
        self.hung_up = anyio.Event()
        self._answer = answer
        self._close = close

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen, and give the address."""
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django here
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listener.serve, self._serve)
                yield f"http://127.0.0.1:{port}"
                tasks.cancel_scope.cancel()

    async def _serve(self, stream: anyio.abc.SocketStream) -> None:
        self.connections += 1
        async with stream:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    self.received.append(await stream.receive())
                    await stream.send(self._answer)
                    if self._close:
                        break
        self.hung_up.set()


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_proxies_in_the_environment_receive_nothing(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    proxy, charge = Listener(), Listener()
    async with proxy.listening() as proxy_url, charge.listening() as url:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy_url.replace("http", scheme))
            monkeypatch.setenv(name.lower(), proxy_url.replace("http", scheme))
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "")
        exchange = conftest.exchange(base_url=f"{url}/v1", network=conftest.DIRECT)
        assert (await exchange.exchange("GET", "/drivers")).body == b"{}"
        await exchange.aclose()
        # A made-up host must fail to resolve here, not be asked of a proxy.
        exchange = conftest.exchange(base_url="https://charge.invalid/v1", network=conftest.DIRECT)
        with pytest.raises(Unreachable):
            await exchange.exchange("GET", "/drivers")
        await exchange.aclose()
    assert (proxy.connections, charge.connections) == (0, 1)
    assert conftest.KEY.encode() in charge.received[0]


async def test_a_redirect_to_another_server_is_not_followed() -> None:
    target = Listener()
    async with target.listening() as target_url:
        answer = f"HTTP/1.1 307 Go\r\nlocation: {target_url}/v1/drivers\r\ncontent-length: 0\r\n\r\n".encode()
        charge = Listener(answer=answer)
        async with charge.listening() as url:
            exchange = conftest.exchange(base_url=f"{url}/v1", network=conftest.DIRECT)
            assert (await exchange.exchange("GET", "/drivers")).status == 307
            await exchange.aclose()
    assert target.connections == 0


async def test_connections_are_kept_open() -> None:
    charge = Listener()
    async with charge.listening() as url:
        exchange = conftest.exchange(base_url=f"{url}/v1", network=conftest.DIRECT)
        for _ in range(3):
            await exchange.exchange("GET", "/drivers")
        await exchange.aclose()
    assert charge.connections == 1


async def test_a_kept_connection_that_the_server_closed_is_not_used_again() -> None:
    charge = Listener(close=True)
    async with charge.listening() as url:
        exchange = conftest.exchange(base_url=f"{url}/v1", network=conftest.DIRECT)
        for _ in range(3):
            charge.hung_up = anyio.Event()
            assert (await exchange.exchange("GET", "/drivers")).status == 200
            await charge.hung_up.wait()
            await anyio.wait_all_tasks_blocked()
        await exchange.aclose()
    assert charge.connections == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000,
        b"",
    ],
    ids=["not-http", "cut", "chunks", "headers", "nothing"],
)
async def test_a_reply_that_is_not_http_is_unreachable(answer: bytes) -> None:
    charge = Listener(answer=answer, close=True)
    async with charge.listening() as url:
        exchange = conftest.exchange(base_url=f"{url}/v1", network=conftest.DIRECT)
        with pytest.raises(Unreachable) as caught:
            await exchange.exchange("GET", "/drivers")
        await exchange.aclose()
    assert caught.value.code == "connection_failed"
    assert not any(conftest.KEY in words for words in conftest.texts_of(caught.value))


async def test_a_refused_connection_is_unreachable() -> None:
    async with Listener().listening() as url:
        pass
    exchange = conftest.exchange(base_url=f"{url}/v1", network=conftest.DIRECT)
    with pytest.raises(Unreachable, match=r"no connection to 127\.0\.0\.1 could be made"):
        await exchange.exchange("GET", "/drivers")
    await exchange.aclose()


async def test_a_plain_answer_to_a_tls_client_is_unreachable() -> None:
    charge = Listener()
    async with charge.listening() as url:
        exchange = conftest.exchange(base_url=f"{url.replace('http:', 'https:')}/v1", network=conftest.DIRECT)
        with pytest.raises(Unreachable) as caught:
            await exchange.exchange("GET", "/drivers")
        await exchange.aclose()
    assert not any(conftest.KEY.encode() in received for received in charge.received)
    assert not any(conftest.KEY in words for words in conftest.texts_of(caught.value))
