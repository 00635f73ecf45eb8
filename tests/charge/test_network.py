"""The transport over real sockets: the environment's proxies, redirects, kept connections, broken replies."""

import anyio
import pytest

from tests.charge import conftest, hostile_server
from worker.charge import connection
from worker.core.model.errors import Unreachable

pytestmark = pytest.mark.anyio

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


def server(answer: bytes = ANSWER, *, close: bool = False) -> hostile_server.HostileServer:
    """Return a server that answers each request with the same bytes, and may hang up then without having said so."""

    async def script(connection: hostile_server.Connection) -> None:
        while True:
            await connection.request()
            await connection.send(answer)
            if close:
                break

    return hostile_server.HostileServer(script)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_proxies_in_the_environment_receive_nothing(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    proxy, charge = server(), server()
    async with proxy.serving() as proxy_url, charge.serving() as url:
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
    assert conftest.KEY.encode() in charge.requests[0]


async def test_a_redirect_to_another_server_is_not_followed() -> None:
    target = server()
    async with target.serving() as target_url:
        answer = f"HTTP/1.1 307 Go\r\nlocation: {target_url}/v1/drivers\r\ncontent-length: 0\r\n\r\n".encode()
        charge = server(answer)
        async with charge.serving() as url:
            exchange = conftest.exchange(base_url=f"{url}/v1", network=conftest.DIRECT)
            assert (await exchange.exchange("GET", "/drivers")).status == 307
            await exchange.aclose()
    assert target.connections == 0


async def test_connections_are_kept_open() -> None:
    charge = server()
    async with charge.serving() as url:
        exchange = conftest.exchange(base_url=f"{url}/v1", network=conftest.DIRECT)
        for _ in range(3):
            await exchange.exchange("GET", "/drivers")
        await exchange.aclose()
    assert charge.connections == 1


async def test_a_kept_connection_that_the_server_closed_is_not_used_again() -> None:
    charge = server(close=True)
    async with charge.serving() as url:
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
    charge = server(answer, close=True)
    async with charge.serving() as url:
        exchange = conftest.exchange(base_url=f"{url}/v1", network=conftest.DIRECT)
        with pytest.raises(Unreachable) as caught:
            await exchange.exchange("GET", "/drivers")
        await exchange.aclose()
    assert caught.value.code == "connection_failed"
    assert not any(conftest.KEY in words for words in conftest.texts_of(caught.value))


async def test_a_refused_connection_is_unreachable() -> None:
    async with server().serving() as url:
        pass
    exchange = conftest.exchange(base_url=f"{url}/v1", network=conftest.DIRECT)
    with pytest.raises(Unreachable, match=r"no connection to 127\.0\.0\.1 could be made"):
        await exchange.exchange("GET", "/drivers")
    await exchange.aclose()


async def test_a_plain_answer_to_a_tls_client_is_unreachable() -> None:
    received = []

    async def script(connection: hostile_server.Connection) -> None:
        received.append(await connection.stream.receive())
        await connection.send(ANSWER)

    charge = hostile_server.HostileServer(script)
    async with charge.serving() as url:
        exchange = conftest.exchange(base_url=f"{url.replace('http:', 'https:')}/v1", network=conftest.DIRECT)
        with pytest.raises(Unreachable) as caught:
            await exchange.exchange("GET", "/drivers")
        await exchange.aclose()
    assert received
    assert not any(conftest.KEY.encode() in part for part in received)
    assert not any(conftest.KEY in words for words in conftest.texts_of(caught.value))


def test_the_representation_of_a_proxy_shows_no_password() -> None:
    proxy = connection.Proxy.parse("http://user:Sesame@proxy.example:3128")
    assert proxy.authorization.startswith(b"Basic ")
    assert proxy.authorization.decode() not in repr(proxy)
