"""The service with its surroundings: what it closes when it ends, and what needs a restart."""

import contextlib
import dataclasses
import gc
import os
import pathlib
import signal
import socket
import threading
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import httpx
import pytest
import structlog.testing

from tests.support import clocks
from worker.core.model.errors import SettingsError
from worker.core.model.secret import Secret
from worker.journal import sql_journal
from worker.service import account_service, app
from worker.settings import model, secrets

KEY = Secret("ch_sk_test_x")

pytestmark = pytest.mark.anyio

REPLY = b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def anyio_backend() -> str:
    """Uvicorn runs on asyncio only."""
    return "asyncio"


class KeepAliveServer:
    """Rejects every key, keeps connections open, and knows when the client has closed them."""

    def __init__(self, listener: socket.socket) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        self.answered, self.closed = threading.Event(), threading.Event()
        self._listener = listener

    def serve(self) -> None:
        """Answer on one connection until the client closes it."""
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            with connection:
                while connection.recv(65536):
                    connection.sendall(REPLY)
                    self.answered.set()
            self.closed.set()


@pytest.fixture
def charge() -> Iterator[KeepAliveServer]:
    """Serve in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = KeepAliveServer(listener)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def operator(tmp_path: pathlib.Path, charge: KeepAliveServer) -> account_service.Operator:
    source = tmp_path / "membership.yaml"
    source.write_text(f"fleets:\n  flt_{'a' * 32}:\n    drivers: [drv_{'b' * 32}]\n")
    settings = model.Settings.model_validate(
        {
            "charge": {"base_url": charge.url},
            "sources": [{"path": str(source)}],
            "journal": {"url": f"sqlite:///{tmp_path / 'journal.db'}"},
        }
    )
    return account_service.Operator(settings, secrets.Credentials(KEY, lambda: KEY))


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Turn garbage collection off: it must not close what the service leaves open."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_gc")
async def test_at_the_end_connections_are_closed_and_the_journal_is_free(
    operator: account_service.Operator, charge: KeepAliveServer
) -> None:
    async with anyio.create_task_group() as tasks:

        async def stop() -> None:
            await anyio.to_thread.run_sync(charge.answered.wait)
            os.kill(os.getpid(), signal.SIGTERM)

        tasks.start_soon(stop)
        assert await app.run(lambda: operator) == 143
    assert await anyio.to_thread.run_sync(charge.closed.wait, 5)
    journal = sql_journal.SqlJournal(operator.settings.journal_url, clock=clocks.Still())
    await journal.open()
    await journal.aclose()


@pytest.mark.integration
async def test_every_loopback_address_answers_under_its_own_name(operator: account_service.Operator) -> None:
    settings = operator.settings.model_copy(update={"status": model.Status(listen="127.0.0.2:0")})
    with structlog.testing.capture_logs() as logs:
        async with anyio.create_task_group() as tasks:

            async def read_page() -> None:
                while not (serving := [line for line in logs if line["event"] == "serving"]):
                    await anyio.lowlevel.checkpoint()
                async with httpx.AsyncClient(trust_env=False) as client:
                    assert (await client.get(serving[0]["url"])).status_code == 200
                    foreign = await client.get(serving[0]["url"], headers={"Host": "127.0.0.2:80@evil.com"})
                    assert foreign.status_code == 421
                os.kill(os.getpid(), signal.SIGTERM)

            with anyio.fail_after(60):
                tasks.start_soon(read_page)
                assert await app.run(lambda: dataclasses.replace(operator, settings=settings)) == 143


PAGER = secrets.NotificationTarget("webhook", Secret("https://hooks.test/Sesame"), ("held",))


def _changed(before: account_service.Operator, name: str) -> account_service.Operator:
    """Return what is configured with one thing changed that is used from the start on."""
    settings = before.settings
    match name:
        case "journal.url":
            journal = settings.journal.model_copy(update={"url": "sqlite:////var/lib/other.db"})
            return dataclasses.replace(before, settings=settings.model_copy(update={"journal": journal}))
        case "status.listen":
            status = settings.status.model_copy(update={"listen": "127.0.0.1:9999"})
            return dataclasses.replace(before, settings=settings.model_copy(update={"status": status}))
        case "status.anonymous_read":
            status = settings.status.model_copy(update={"anonymous_read": not settings.status.anonymous_read})
            return dataclasses.replace(before, settings=settings.model_copy(update={"status": status}))
        case "the status token":
            return dataclasses.replace(before, token=Secret("t" * 32))
        case _:
            return dataclasses.replace(before, targets=(PAGER,))


@pytest.mark.parametrize(
    ("name", "restarts_account"),
    [
        ("journal.url", True),
        ("status.listen", False),
        ("status.anonymous_read", False),
        ("the status token", False),
        ("notify", True),
    ],
)
def test_what_is_read_only_at_the_start_is_refused_by_its_name_when_it_changes(
    operator: account_service.Operator, name: str, *, restarts_account: bool
) -> None:
    """A folder starts just the account again, whose page belongs to the process."""
    after = _changed(operator, name)
    with pytest.raises(SettingsError) as caught:
        app._require_unchanged(operator, after)
    assert caught.value.message == f"{name}: it has changed, but is read only at the start"
    assert account_service.needs_restart(operator, after) is restarts_account


def test_other_settings_may_change_while_the_service_runs(operator: account_service.Operator) -> None:
    sync = operator.settings.sync.model_copy(update={"interval_seconds": 77.0})
    after = dataclasses.replace(operator, settings=operator.settings.model_copy(update={"sync": sync}))
    app._require_unchanged(operator, after)
    assert not account_service.needs_restart(operator, after)
