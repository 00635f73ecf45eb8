"""TLS and proxies over real sockets: who is trusted, and what a proxy gets to see."""

import base64
import contextlib
import socket
import ssl

import anyio
import anyio.abc
import pytest
import trustme

from tests.charge import conftest
from tests.charge.hostile_server import Connection, HostileServer, Script, answering
from worker.charge import connection, transport
from worker.core.model.errors import NotSent, Unreachable

pytestmark = pytest.mark.anyio

REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
STALE = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{stale}"
PATIENT = 60.0

AUTHORITY = trustme.CA()
LOGIN = "Basic " + base64.b64encode(b"user:p@ss").decode()


@pytest.fixture
def anyio_backend() -> str:
    """Use asyncio, as the program does."""
    return "asyncio"


def server_context(*names: str, authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("127.0.0.1",))).configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def exchange(
    origin: str,
    *,
    proxy: str = "",
    ignored: tuple[str, ...] = (),
    context: ssl.SSLContext | None = None,
    timeout: float = PATIENT,
) -> transport.Transport:
    network = transport.Network(
        4, context or client_context(), connection.Proxy.parse(proxy) if proxy else None, ignored_proxies=ignored
    )
    return conftest.exchange(base_url=f"{origin}/v1", network=network, timeout=timeout)


async def failure(http: transport.Transport) -> Unreachable:
    with pytest.raises(Unreachable) as caught:
        await http.exchange("POST", "/drivers")
    await http.aclose()
    assert not any(conftest.KEY in words for words in conftest.texts_of(caught.value))
    return caught.value


class ConnectProxy(HostileServer):
    """A real CONNECT proxy; with `login` it asks for it. It notes what it can read."""

    def __init__(self, *, login: str = "") -> None:
        super().__init__(self._tunnel)
        self._login = login
        self.tunnelled = b""

    async def _tunnel(self, client: Connection) -> None:
        head = (await client.request()).decode()
        if self._login and f"Proxy-Authorization: {self._login}\r\n" not in head:
            await client.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\r\n")
            return
        host, _, port = head.split()[1].rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as target, anyio.create_task_group() as tasks:
            await client.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            tasks.start_soon(self._pump, client.stream, target)
            await self._pump(target, client.stream)
            tasks.cancel_scope.cancel()

    async def _pump(self, source: anyio.abc.ByteStream, target: anyio.abc.ByteStream) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                data = await source.receive()
                self.tunnelled += data
                await target.send(data)


# --- Through a proxy


@pytest.mark.parametrize("login", ["", LOGIN], ids=["open", "with-login"])
async def test_a_proxy_sees_host_and_port_and_never_the_key(login: str) -> None:
    charge, proxy = HostileServer(answering(*[REPLY] * 3), context=server_context()), ConnectProxy(login=login)
    async with charge.serving() as origin, proxy.serving() as proxy_url:
        http = exchange(origin, proxy=proxy_url.replace("//", "//user:p%40ss@") if login else proxy_url)
        for _ in range(3):
            assert (await http.exchange("POST", "/drivers", content=b"{}")).body == b"{}"
        await http.aclose()
    (seen,) = proxy.requests
    target = origin.removeprefix("https://")
    expected = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *([f"Proxy-Authorization: {login}"] if login else [])]
    assert seen.decode().split("\r\n") == [*expected, "", ""]
    assert proxy.tunnelled
    assert conftest.KEY.encode() not in proxy.tunnelled
    assert all(conftest.KEY.encode() in request and b"Proxy-" not in request for request in charge.requests)
    assert (proxy.connections, charge.connections, len(charge.requests)) == (1, 1, 3)


async def test_a_proxy_that_wants_another_login_says_where_to_write_it() -> None:
    proxy = ConnectProxy(login=LOGIN)
    async with proxy.serving() as proxy_url:
        error = await failure(exchange("https://charge.invalid", proxy=proxy_url.replace("//", "//user:sesame@")))
    assert isinstance(error, NotSent)
    assert error.code == "proxy_failed"
    assert "407" in error.message
    assert "charge.proxy_url_file" in error.remedy
    assert "sesame" not in f"{error.message}{error.remedy}"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", r"refused to connect to charge\.invalid \(403\)"),
        (
            b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 99999999\r\n\r\n",
            r"refused to connect to charge\.invalid \(502\)",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "closed the connection, or its reply was not HTTP"),
        (b"", "closed the connection, or its reply was not HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000, "closed the connection, or its reply was not HTTP"),
    ],
    ids=["403", "502", "not-http", "nothing", "endless"],
)
async def test_a_proxy_that_does_not_connect_is_named(answer: bytes, words: str) -> None:
    proxy = HostileServer(answering(answer))
    async with proxy.serving() as proxy_url:
        error = await failure(exchange("https://charge.invalid", proxy=proxy_url))
    assert isinstance(error, NotSent)
    assert error.code == "proxy_failed"
    assert "charge.proxy_url" in error.remedy
    with pytest.raises(NotSent, match=words):
        raise error


async def test_a_proxy_that_is_not_there_is_named() -> None:
    async with ConnectProxy().serving() as proxy_url:
        pass
    error = await failure(exchange("https://charge.invalid", proxy=proxy_url))
    assert isinstance(error, NotSent)
    assert error.message.startswith(f"the proxy {proxy_url.removeprefix('http://')} cannot be reached (")
    assert (error.code, "charge.proxy_url" in error.remedy) == ("proxy_failed", True)


async def test_proxies_of_the_environment_are_mentioned_when_a_connection_fails() -> None:
    async with HostileServer(answering()).serving() as origin:
        pass
    error = await failure(exchange(origin, ignored=("HTTPS_PROXY",)))
    assert "fleet-sync ignores HTTPS_PROXY in the environment" in error.remedy
    assert "charge.proxy_url" in error.remedy
    assert "ignores" not in (await failure(exchange(origin))).remedy


# --- When making the connection takes long


@pytest.mark.parametrize("late", [True, False])
async def test_a_write_that_may_not_be_sent_any_more_once_it_is_connected_never_leaves(late: bool) -> None:
    """The server accepts slowly. A process that was stopped meanwhile must not send when it goes on."""
    permitted, connecting, goes_on = True, anyio.Event(), anyio.Event()

    class SlowProxy(ConnectProxy):
        async def _tunnel(self, client: Connection) -> None:
            connecting.set()
            await goes_on.wait()
            await super()._tunnel(client)

    charge, proxy = HostileServer(answering(REPLY), context=server_context()), SlowProxy()
    outcomes: list[object] = []

    async def send() -> None:
        http = exchange(origin, proxy=proxy_url)
        try:
            outcomes.append((await http.exchange("POST", "/drivers", content=b"{}", may_send=lambda: permitted)).status)
        except NotSent as error:
            outcomes.append(error.code)
        await http.aclose()

    async with charge.serving() as origin, proxy.serving() as proxy_url:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await connecting.wait()
            permitted = not late
            goes_on.set()
        assert outcomes == (["permit_ended"] if late else [200])
        assert len(charge.requests) == (0 if late else 1)
        assert charge.connections == 1


@pytest.mark.parametrize("through_proxy", [False, True], ids=["tls", "proxy"])
async def test_a_connection_that_is_not_made_in_time_has_sent_nothing(through_proxy: bool) -> None:
    """Story: behind a firewall that drops packets, every write of a run ended as unknown."""

    async def script(client: Connection) -> None:
        await anyio.sleep_forever()

    silent = HostileServer(script)
    async with silent.serving() as origin:
        https = "https://charge.invalid" if through_proxy else origin.replace("http:", "https:")
        error = await failure(exchange(https, proxy=origin if through_proxy else "", timeout=0.01))
    assert isinstance(error, NotSent)
    assert error.code == "connection_failed"
    assert "it took longer than 0.01 s" in error.message


@pytest.mark.parametrize("host", ["xn--bcher-kva.invalid", "xn--a.invalid"], ids=["name", "no-name"])
async def test_a_host_reaches_a_proxy_as_the_base_url_has_it(host: str) -> None:
    """Story: a host with letters outside ASCII ended in a traceback behind a proxy; xn--a stands for no letters."""
    proxy = HostileServer(answering(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"))
    async with proxy.serving() as proxy_url:
        error = await failure(exchange(f"https://{host}", proxy=proxy_url))
    assert proxy.requests[0].startswith(f"CONNECT {host}:443 HTTP/1.1\r\n".encode())
    assert error.message.endswith(f"refused to connect to {host} (403)")


def test_the_host_of_a_proxy_is_the_one_that_its_address_has() -> None:
    for host in ("xn--bcher-kva.example", "xn--a.example"):
        assert str(connection.Proxy.parse(f"http://{host}:3128")) == f"{host}:3128"


# --- TLS


async def untrusted(context: ssl.SSLContext) -> Unreachable:
    charge = HostileServer(answering(REPLY), context=context)
    async with charge.serving() as origin:
        error = await failure(exchange(origin))
    assert charge.requests == []
    return error


@pytest.mark.parametrize(
    ("context", "words"),
    [
        (
            server_context(authority=trustme.CA()),
            "self-signed certificate in certificate chain|unable to get local issuer",
        ),
        (server_context("other.example"), "mismatch"),
    ],
    ids=["authority", "name"],
)
async def test_a_certificate_that_does_not_fit_is_said_to_be_the_reason(context: ssl.SSLContext, words: str) -> None:
    error = await untrusted(context)
    assert isinstance(error, NotSent)
    assert (error.code, "charge.ca_file" in error.remedy) == ("tls_failed", True)
    with pytest.raises(NotSent, match=words):
        raise error


async def test_a_server_without_tls_is_said_to_be_the_reason() -> None:
    async def script(client: Connection) -> None:
        await client.stream.receive()
        await client.send(REPLY)

    async with HostileServer(script).serving() as origin:
        error = await failure(exchange(origin.replace("http:", "https:")))
    assert isinstance(error, NotSent)
    assert error.code == "tls_failed"


async def test_a_server_that_hangs_up_during_the_handshake_received_nothing() -> None:
    async def script(client: Connection) -> None:
        await client.stream.receive()

    async with HostileServer(script).serving() as origin:
        error = await failure(exchange(origin.replace("http:", "https:")))
    assert isinstance(error, NotSent)
    assert "closed during the TLS handshake" in error.message or "eof" in error.message


def sending_in_records(*parts: bytes) -> Script:
    """Return a script that answers the first request with these parts, a TLS record each, and others with REPLY.

    Where the system can do that, all records leave together: a socket that is not readable proves nothing then.
    """
    first = [parts]

    async def script(client: Connection) -> None:
        raw = client.stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 - no Django here
        cork = getattr(socket, "TCP_CORK", None)
        while True:
            await client.request()
            if cork:
                raw.setsockopt(socket.IPPROTO_TCP, cork, 1)
            for part in first.pop() if first else (REPLY,):
                await client.send(part)
            if cork:
                raw.setsockopt(socket.IPPROTO_TCP, cork, 0)

    return script


@pytest.mark.parametrize("parts", [(REPLY + STALE,), (REPLY, STALE)], ids=["one-record", "two-records"])
async def test_what_follows_a_reply_inside_tls_is_never_taken_for_the_next_one(parts: tuple[bytes, ...]) -> None:
    charge = HostileServer(sending_in_records(*parts), context=server_context())
    async with charge.serving() as origin:
        http = exchange(origin)
        for _ in range(3):
            assert (await http.exchange("POST", "/drivers", content=b"{}")).body == b"{}"
            await anyio.wait_all_tasks_blocked()
        await http.aclose()
