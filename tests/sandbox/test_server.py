"""The sandbox over a real socket: connection faults are real, and stopping is quick."""

import contextlib
import errno
import functools
import itertools
import logging
import socket
import urllib.parse
from collections.abc import AsyncIterator

import anyio
import anyio.abc
import anyio.lowlevel
import httpx
import pytest

from tests.sandbox import conftest
from tests.support import sandbox as support
from worker.sandbox import app, faults, http_types, quirks, server, state

pytestmark = pytest.mark.anyio

PATIENCE = 60


@pytest.fixture
def anyio_backend() -> str:
    """Uvicorn runs on asyncio only."""
    return "asyncio"


@contextlib.asynccontextmanager
async def _served(sandbox: http_types.App, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    urls: list[str] = []
    listening = anyio.Event()

    def started(url: str) -> None:
        urls.append(url)
        listening.set()

    async def run() -> None:
        await server.serve(sandbox, host=host, port=port, started=started)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await listening.wait()
            yield urls[0]
            tasks.cancel_scope.cancel()


def _client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"{url}/", headers={"Authorization": f"Bearer {app.KEY}"}, trust_env=False)


async def _raw(url: str, path: str) -> anyio.abc.SocketStream:
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname and parts.port
    stream = await anyio.connect_tcp(parts.hostname, parts.port)
    request = f"GET {parts.path}/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {app.KEY}\r\n\r\n"
    await stream.send(request.encode())
    return stream


async def test_it_answers_over_http(account: conftest.Account) -> None:
    async with _served(account.sandbox) as url, _client(url) as api:
        assert url.startswith("http://127.0.0.1:") and url.endswith("/v1")
        reply = await api.post(f"drivers/{account.alice}/attach", json={"fleet": account.depot})
        assert reply.json()["fleets"] == [account.vans, account.depot]
        assert "server" not in reply.headers
        assert len(reply.headers.get_list("date")) == 1


async def test_links_lead_back_to_the_port() -> None:
    sandbox = app.Sandbox(state.SandboxState.populate(drivers=30, fleets=2))
    async with _served(sandbox) as url, _client(url) as api:
        pages = await support.walk(api, "drivers?limit=7")
    assert list(itertools.chain(*pages)) == list(sandbox.state.newest_drivers())


@pytest.mark.parametrize(("fault", "effects"), [("reset_before", 0), ("reset_after", 1)])
async def test_a_reset_really_resets(account: conftest.Account, fault: str, effects: int) -> None:
    account.sandbox.faults = faults.Faults(script=[fault])
    async with _served(account.sandbox) as url, _client(url) as api:
        with pytest.raises(httpx.ReadError):
            await api.post(f"drivers/{account.alice}/attach", json={"fleet": account.depot})
        assert len(account.state.effects) == effects
        assert (await api.get("fleets")).status_code == 200


async def test_a_reset_sends_no_byte(account: conftest.Account) -> None:
    account.sandbox.faults = faults.Faults(script=["reset_before"])
    async with _served(account.sandbox) as url, await _raw(url, "fleets") as stream:
        with pytest.raises(anyio.BrokenResourceError) as caught:
            await stream.receive()
    assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_a_truncated_reply_is_really_cut(account: conftest.Account) -> None:
    account.sandbox.faults = faults.Faults(script=["truncated"])
    got = b""
    async with _served(account.sandbox) as url:
        async with await _raw(url, "fleets") as stream:
            with pytest.raises(anyio.EndOfStream):
                while True:
                    got += await stream.receive()
        async with _client(url) as api:
            account.sandbox.faults = faults.Faults(script=["truncated"])
            with pytest.raises(httpx.RemoteProtocolError):
                await api.get("fleets")
            assert (await api.get("fleets")).status_code == 200
    head, _, body = got.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    assert 0 < len(body) < length


async def test_a_hanging_request_gets_nothing_and_keeps_nobody_from_leaving(account: conftest.Account) -> None:
    hanging = anyio.Event()

    def hang(request: http_types.Request) -> str:
        hanging.set()
        return "hang"

    account.sandbox.faults = faults.Faults(script=hang)
    async with _served(account.sandbox) as url:
        stream = await _raw(url, "fleets")
        await hanging.wait()
    async with stream:
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()


def _announcing(sandbox: app.Sandbox, arrived: anyio.Event, *, number: int = 1) -> http_types.App:
    """Return the sandbox, which sets the event when so many requests have arrived.

    `wait_all_tasks_blocked` may wait for ever here: it looks every 0.1 s, just when uvicorn wakes up.
    """
    numbers = itertools.count(1)

    async def watched(scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
        if next(numbers) == number:
            arrived.set()
        await sandbox(scope, receive, send)

    return watched


async def test_a_slow_request_keeps_nobody_from_leaving(account: conftest.Account) -> None:
    arrived = anyio.Event()
    account.sandbox.quirks = quirks.Quirks(latency_seconds=3600)
    async with _served(_announcing(account.sandbox, arrived)) as url:
        stream = await _raw(url, "fleets")
        await arrived.wait()
    await stream.aclose()
    assert account.sandbox.requests == []


async def test_a_client_that_gives_up_does_not_undo_the_write(account: conftest.Account) -> None:
    account.sandbox.faults = faults.Faults(script=["hang_after"])
    async with _served(account.sandbox) as url, _client(url) as api:
        async with anyio.create_task_group() as tasks:
            attach = functools.partial(api.post, json={"fleet": account.depot}, timeout=PATIENCE)
            tasks.start_soon(attach, f"drivers/{account.alice}/attach")
            with anyio.fail_after(PATIENCE):
                while not account.state.members(account.depot):
                    await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert account.state.members(account.depot) == {account.alice}
        assert (await api.get("fleets")).status_code == 200


async def test_the_port_is_free_afterwards(account: conftest.Account) -> None:
    async with _served(account.sandbox) as url, _client(url) as api:
        await api.get("fleets")
    async with _served(account.sandbox, port=urllib.parse.urlsplit(url).port or 0) as again, _client(again) as api:
        assert again == url
        assert (await api.get("fleets")).status_code == 200


async def test_it_listens_on_ipv6_too(account: conftest.Account) -> None:
    try:
        async with _served(account.sandbox, host="::1") as url, _client(url) as api:
            assert url.startswith("http://[::1]:")
            assert (await api.get("fleets")).status_code == 200
    except OSError:
        pytest.skip("no IPv6 here")


async def test_a_taken_port_is_an_os_error(account: conftest.Account) -> None:
    async with _served(account.sandbox) as url:
        with pytest.raises(OSError, match="in use") as caught:
            await server.serve(account.sandbox, port=urllib.parse.urlsplit(url).port or 0)
    assert caught.value.errno == errno.EADDRINUSE


async def test_it_prints_and_logs_nothing(
    account: conftest.Account, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    account.sandbox.faults = faults.Faults(script=["reset_before", "truncated", "hang"])
    hanging = anyio.Event()
    async with _served(_announcing(account.sandbox, hanging, number=3)) as url:
        for _ in range(2):
            async with _client(url) as api:
                with contextlib.suppress(httpx.TransportError):
                    await api.get("fleets")
        async with await _raw(url, "fleets"), await _raw(url, "no such\r\nrequest") as refused:
            await hanging.wait()
            assert (await refused.receive()).startswith(b"HTTP/1.1 400 ")
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []
    assert capfd.readouterr() == ("", "")


async def test_a_body_does_not_wait_behind_its_head(account: conftest.Account) -> None:
    """Nagle's algorithm and delayed acknowledgements would delay every reply by 40 ms."""
    options: list[int] = []

    async def watched(scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
        connection = scope["state"]["transport"].get_extra_info("socket")
        options.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await account.sandbox(scope, receive, send)

    async with _served(watched) as url, _client(url) as api:
        await api.get("fleets")
    assert options and all(options)
