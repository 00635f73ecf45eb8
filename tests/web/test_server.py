"""The server on a real socket: it listens, bounds its clients, and stops at once."""

import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Sequence

import anyio
import httpx
import pytest
from starlette import requests, responses, routing

from tests.web import doubles
from worker.core.model.errors import SettingsError
from worker.web import app, metrics, server

pytestmark = pytest.mark.anyio

PATIENCE = 60
"""Seconds that only a hang takes."""


@pytest.fixture
def anyio_backend() -> str:
    """Uvicorn runs on asyncio only."""
    return "asyncio"


class Served:
    """A page being served."""

    def __init__(self, url: str, scope: anyio.CancelScope, ended: anyio.Event) -> None:
        self.url = url
        self.port = httpx.URL(url).port or 0
        self._scope = scope
        self._ended = ended

    async def end(self) -> None:
        """Stop serving."""
        self._scope.cancel()
        with anyio.fail_after(PATIENCE):
            await self._ended.wait()


@contextlib.asynccontextmanager
async def serving(
    service: doubles.Service,
    *,
    host: str = "127.0.0.1",
    limits: server.Limits = server.LIMITS,
    routes: Sequence[routing.BaseRoute] = (),
) -> AsyncIterator[Served]:
    """Serve the page, with further routes, during the block."""
    made = app.create(service, metrics.Metrics())
    made.router.routes.extend(routes)
    urls: list[str] = []
    listening, ended = anyio.Event(), anyio.Event()

    def on_listening(url: str) -> None:
        urls.append(url)
        listening.set()

    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def run() -> None:
            with scope:
                await server.serve(made, host=host, port=0, on_listening=on_listening, limits=limits)
            ended.set()

        tasks.start_soon(run)
        with anyio.fail_after(PATIENCE):
            await listening.wait()
        yield Served(urls[0], scope, ended)
        tasks.cancel_scope.cancel()


async def test_it_serves_without_naming_its_software(capfd: pytest.CaptureFixture[str]) -> None:
    async with serving(doubles.Service()) as served, httpx.AsyncClient(timeout=PATIENCE) as client:
        answer = await client.get(served.url)
    assert answer.status_code == 200
    assert "server" not in answer.headers
    assert capfd.readouterr() == ("", "")
    assert not logging.getLogger("uvicorn").handlers


async def test_no_header_changes_the_address_that_a_client_is_limited_by() -> None:
    async def address(request: requests.Request) -> responses.Response:
        assert request.client
        return responses.PlainTextResponse(f"{request.client.host} {request.url.scheme}")

    forged = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    async with (
        serving(doubles.Service(), routes=[routing.Route("/address", address)]) as served,
        httpx.AsyncClient(timeout=PATIENCE, headers=forged) as client,
    ):
        assert (await client.get(f"{served.url}address")).text == "127.0.0.1 http"


async def test_it_serves_on_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with serving(doubles.Service(), host="::1") as served, httpx.AsyncClient(timeout=PATIENCE) as client:
        assert served.url.startswith("http://[::1]:")
        assert (await client.get(f"{served.url}healthz")).text == "ok\n"


async def test_signal_handlers_are_left_to_the_service() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with serving(doubles.Service()):
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_it_stops_at_once_while_a_stream_is_open() -> None:
    """An open stream ends properly and does not use up the grace period of responses."""
    limits = server.Limits(grace_seconds=10 * PATIENCE)
    async with serving(doubles.Service(), limits=limits) as served, httpx.AsyncClient(timeout=PATIENCE) as client:
        async with client.stream("GET", f"{served.url}events") as stream:
            chunks = stream.aiter_bytes()
            assert b"event: fragments" in await anext(chunks)
            await served.end()
            assert [chunk async for chunk in chunks if chunk.startswith(b"event")] == []
        with pytest.raises(httpx.ConnectError):
            await client.get(served.url)


async def test_it_stops_soon_while_the_journal_hangs() -> None:
    class Hanging(doubles.Record):
        async def changes(self, **_: object):  # type: ignore[no-untyped-def]
            asked.set()
            await anyio.sleep_forever()

    asked = anyio.Event()
    service = doubles.Service()
    service.record = Hanging()
    broken = []
    limits = server.Limits(grace_seconds=0.05)
    async with (
        serving(service, limits=limits) as served,
        anyio.create_task_group() as tasks,
        httpx.AsyncClient(timeout=PATIENCE) as client,
    ):

        async def ask() -> None:
            try:
                await client.get(f"{served.url}fleets/{doubles.fleet(0)}")
            except httpx.TransportError as error:
                broken.append(error)

        tasks.start_soon(ask)
        await asked.wait()
        await served.end()
    assert len(broken) == 1


async def test_an_address_in_use_is_a_settings_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        made = app.create(doubles.Service(), metrics.Metrics())
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}: .*in use") as raised:
            await server.serve(made, host="127.0.0.1", port=port)
    assert "Choose another port" in raised.value.remedy
    assert raised.value.exit_code == 1


async def test_an_address_of_another_machine_is_a_settings_error() -> None:
    made = app.create(doubles.Service(), metrics.Metrics())
    with pytest.raises(SettingsError, match="cannot listen on") as raised:
        await server.serve(made, host="192.0.2.1", port=8080)
    assert "address of this machine" in raised.value.remedy


@pytest.mark.parametrize(
    ("error", "port", "expected"),
    [
        (PermissionError(13, "Permission denied"), 80, "choose a higher one"),
        (OverflowError("port must be 0-65535"), 70000, "Set"),
    ],
)
async def test_every_listen_error_has_a_remedy(error: OSError | OverflowError, port: int, expected: str) -> None:
    assert expected in server.remedy(error, port)


async def test_a_silent_connection_is_closed() -> None:
    """Connections are bounded: silent ones must not keep others out."""
    async with serving(doubles.Service(), limits=server.Limits(request_seconds=0.05)) as served:
        stream = await anyio.connect_tcp("127.0.0.1", served.port)
        async with stream:
            with anyio.fail_after(PATIENCE), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()


@pytest.mark.parametrize("begun", [b"GET /healthz HTT", b"GET /healthz HTTP/1.1\r\nHost: loc"])
async def test_an_incomplete_second_request_is_closed_too(begun: bytes) -> None:
    """A liveness probe must get through, however many connections do this."""
    answered = False
    for seconds in (0.05, 0.5, 5.0):  # a slow machine takes longer for the first request
        async with (
            serving(doubles.Service(), limits=server.Limits(request_seconds=seconds)) as served,
            await anyio.connect_tcp("127.0.0.1", served.port) as stream,
        ):
            with anyio.fail_after(PATIENCE), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answered = b"200 OK" in await stream.receive()
                await stream.send(begun)
                while True:
                    await stream.receive()
        if answered:
            return
    pytest.fail("the first request was never answered")


async def test_a_new_connection_displaces_the_oldest_one() -> None:
    """Idle sockets must not keep a liveness probe out: without this, 140 of them did."""
    limits = server.Limits(connections=4, request_seconds=10 * PATIENCE)
    async with serving(doubles.Service(), limits=limits) as served, contextlib.AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", served.port)) for _ in range(6)]
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=PATIENCE))
        assert (await client.get(f"{served.url}healthz")).text == "ok\n"
        for displaced in idle[:3]:
            with anyio.fail_after(PATIENCE), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await displaced.receive()
        await idle[-1].send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in await idle[-1].receive()


async def test_pipelined_requests_are_answered_one_after_another() -> None:
    async with (
        serving(doubles.Service()) as served,
        await anyio.connect_tcp("127.0.0.1", served.port) as stream,
    ):
        await stream.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10)
        received = b""
        with anyio.fail_after(PATIENCE):
            while received.count(b"ok\n") < 10:
                received += await stream.receive()
        assert received.count(b"HTTP/1.1 200 OK") == 10
