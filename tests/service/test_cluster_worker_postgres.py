"""Workers that share the accounts of a cluster: who runs what, and what moves with an account."""

import contextlib
import functools
import os
import pathlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import anyio
import httpx
import psycopg
import pytest
import structlog.testing

from tests.journal import backends, cluster
from tests.journal.conftest import postgres_host, postgresql_backend
from tests.support import command, served
from worker.core.model.errors import Stopped
from worker.core.monitoring.account_overview import AccountStatus, Condition
from worker.dispatch import job_queue
from worker.sandbox import app as sandbox
from worker.sandbox import http_types, state
from worker.service import cluster as clusters
from worker.service import cluster_defaults, cluster_worker, composition
from worker.web import accounts_page, metrics

__all__ = ["postgres_host", "postgresql_backend"]

pytestmark = pytest.mark.anyio

ENDED = Stopped("the test ends", exit_code=0)


@pytest.fixture
def anyio_backend() -> str:
    """Return asyncio: the job queue is built on it, and threads talk to the database."""
    return "asyncio"


class Account:
    """An account, and a Charge of its own."""

    def __init__(self, folder: "Folder", name: str, key: str) -> None:
        self.name = name
        self.charge = sandbox.Sandbox(state.SandboxState.populate(drivers=6, fleets=2), key=key)
        self.on_request: Callable[[str], None] = lambda method: None
        url = folder.stack.enter_context(served.over_http(self._answer))
        members = {fleet: sorted(self.charge.state.members(fleet)) for fleet in self.charge.state.fleets}
        (folder.path / f"{name}.yaml").write_text(command.document(members))
        (folder.path / f"key-{name}").write_text(key)
        self.settings = f'[charge]\nbase_url = "{url}"\n[[sources]]\npath = "{name}.yaml"\n'

    async def _answer(self, scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
        self.on_request(scope["method"])
        await self.charge(scope, receive, send)


class Folder:
    """The folder of a cluster, its database and its accounts."""

    def __init__(self, path: pathlib.Path, backend: backends.PostgresBackend) -> None:
        self.path = path
        self.stack = contextlib.ExitStack()
        self.shared = cluster.Cluster(backend)
        self.shared.tell("DELETE FROM cluster_accounts")
        (path / "database").write_text(backend.url)
        self.write_defaults(permit_seconds=60)

    def write_defaults(self, *, permit_seconds: int) -> None:
        """Write the settings of the cluster. A slow machine renews a long permit in time; a short one is waited for."""
        (self.path / "_defaults.toml").write_text(
            f'[cluster]\nurl_file = "database"\npermit_seconds = {permit_seconds}\nstall_seconds = {permit_seconds}\n'
            '[secrets]\npath = "key-{account}"\n[sync]\ninterval_seconds = 86400\n'
        )

    def add(self, name: str, *, key: str = "", more: str = "") -> Account:
        """Add an account that matches its Charge."""
        account = Account(self, name, key or f"ch_sk_test_{name}_0123456789")
        with psycopg.connect(self.shared.backend.url) as connection:
            row = (name, account.settings + more)
            connection.execute("INSERT INTO cluster_accounts (name, settings) VALUES (%s, %s)", row)
        return account

    @contextlib.asynccontextmanager
    async def worker(self, name: str) -> AsyncIterator[cluster_worker.ClusterWorker]:
        """Run a worker."""
        member = job_queue.Member(name, concurrency=4, stall_seconds=60)
        defaults = cluster_defaults.ClusterDefaults(functools.partial(clusters.cluster, self.path))
        process = cluster_worker.ClusterWorker(defaults, member, environ=os.environ, gauges=metrics.Metrics())
        await process.open()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(process.run)
                try:
                    yield process
                finally:
                    process.request_stop(ENDED)
        finally:
            await process.aclose()


@pytest.fixture
def folder(tmp_path: pathlib.Path, postgresql_backend: backends.PostgresBackend) -> Iterator[Folder]:
    made = Folder(tmp_path, postgresql_backend)
    with made.stack:
        yield made
    made.shared.close()


async def until(
    process: cluster_worker.ClusterWorker, happened: Callable[[dict[str, AccountStatus]], bool]
) -> dict[str, AccountStatus]:
    """Wait until a worker knows that the accounts are so, with a deadline that only a hang can reach."""
    with anyio.fail_after(60):
        while True:
            seen = {each.name: each for each in process.status().accounts}
            if happened(seen):
                return seen
            await anyio.sleep(0.02)


def _in_sync(*names: str) -> Callable[[dict[str, AccountStatus]], bool]:
    return lambda seen: all(name in seen and seen[name].condition is Condition.IN_SYNC for name in names)


async def test_a_worker_keeps_every_account_in_sync_and_shows_them(folder: Folder) -> None:
    for name in ("acme", "bolt"):
        folder.add(name)
    async with folder.worker("a") as process:
        seen = await until(process, _in_sync("acme", "bolt"))
        assert all(each.last_success for each in seen.values())
        assert process.unready_reason() == ""
        pages = httpx.ASGITransport(accounts_page.create(process, metrics.Metrics()))
        async with httpx.AsyncClient(transport=pages, base_url="http://127.0.0.1") as reader:
            shown = {place: (await reader.get(place)).text for place in ("/", "/accounts/bolt/", "/readyz", "/metrics")}
        assert "acme" in shown["/"]
        assert "In sync" in shown["/accounts/bolt/"]
        assert shown["/readyz"].strip() == "ready"
        assert 'fleet_sync_accounts{condition="in_sync"} 2' in shown["/metrics"]
        assert "0123456789" not in "".join(shown.values())
    dumped = folder.shared.process("reader").pool.transaction(
        lambda database: str(
            [database.query(f"SELECT * FROM {table}") for table in ("cluster_accounts", "runs", "accounts", "lists")]  # noqa: S608
        )
    )
    assert "0123456789" not in dumped


async def test_the_account_of_a_worker_that_ends_is_another_ones_at_once(folder: Folder) -> None:
    acme = folder.add("acme")
    asked, goes_on = threading.Event(), threading.Event()

    def hang(method: str) -> None:
        asked.set()
        goes_on.wait(60)

    acme.on_request = hang
    async with folder.worker("b") as second, folder.worker("a") as first:
        with anyio.fail_after(60):
            while not asked.is_set():  # noqa: ASYNC110 - another thread sets it
                await anyio.sleep(0.01)
        running = "a" if "acme" in first._runs else "b"
        (first if running == "a" else second).request_stop(ENDED)
        goes_on.set()
        await until(second if running == "a" else first, _in_sync("acme"))
    rows = folder.shared.process("reader").pool.transaction(
        lambda database: database.query("SELECT epoch, released, worker FROM cluster_accounts")
    )
    assert [(row["epoch"], row["released"]) for row in rows] == [(2, True)]
    assert rows[0]["worker"] != running


async def test_a_write_without_an_answer_is_aborted_when_a_worker_must_end(folder: Folder) -> None:
    acme = folder.add("acme")
    with (folder.path / "_defaults.toml").open("a") as defaults:
        defaults.write("drain_seconds = 600\n[charge]\ntimeout_seconds = 600\n")
    people = acme.charge.state
    fleet = min(people.fleets)
    people.detach(min(people.members(fleet)), fleet)
    sent, goes_on = threading.Event(), threading.Event()

    def hang(method: str) -> None:
        if method == "POST":
            sent.set()
            goes_on.wait(60)

    acme.on_request = hang
    with anyio.fail_after(30):
        async with folder.worker("a") as process:
            while not sent.is_set():  # noqa: ASYNC110 - another thread sets it
                await anyio.sleep(0.01)
            process.request_stop(ENDED)
            process.abort_writes()
    goes_on.set()
    rows = folder.shared.process("reader").pool.transaction(
        lambda database: database.query("SELECT outcome FROM intents")
    )
    assert [row["outcome"] for row in rows] == ["unknown"]


async def test_nothing_is_sent_while_a_predecessor_may_still_send(folder: Folder) -> None:
    """The permit of a worker that was taken for dead has run out before its successor asks for anything."""
    acme = folder.add("acme")
    folder.write_defaults(permit_seconds=1)
    clock = composition.SystemClock()
    gone = cluster.Process(folder.shared.backend, "gone", seconds=1.0)
    gone.claims.uptime = clock.uptime
    permit = gone.claimed().permit
    folder.shared.bury(gone)
    late = []
    acme.on_request = lambda method: late.append(permit.is_valid())
    async with folder.worker("a") as process:
        while True:
            moment = clock.uptime()
            (row,) = gone.pool.transaction(lambda database: database.query("SELECT epoch FROM cluster_accounts"))
            if row["epoch"] > permit.epoch:
                break
            permit.until = moment + 1.0  # renewed until right before the claim
            await anyio.sleep(0.01)
        await until(process, _in_sync("acme"))
    assert late and not any(late)
    gone.pool.close()


async def test_a_worker_that_ends_while_it_waits_leaves_the_waiting_to_the_next_one(folder: Folder) -> None:
    acme = folder.add("acme")
    gone = folder.shared.process("gone", seconds=90.0)
    epoch = gone.claimed().permit.epoch
    folder.shared.bury(gone)
    asked: list[str] = []
    acme.on_request = asked.append

    def row() -> Mapping[str, Any]:
        return gone.pool.transaction(lambda database: database.query("SELECT * FROM cluster_accounts"))[0]

    async with folder.worker("a"):
        with anyio.fail_after(60):
            while row()["epoch"] == epoch:  # noqa: ASYNC110 - another process changes it
                await anyio.sleep(0.01)
    left = row()
    assert (left["released"], left["permit_seconds"], asked) == (True, 90.0, [])


async def test_two_accounts_with_one_key_are_not_both_run(folder: Folder) -> None:
    folder.add("acme", key="ch_sk_test_shared_0123456789")
    other = folder.add("bolt", key="ch_sk_test_shared_0123456789")
    other_settings = folder.shared.process("editor").pool.transaction(
        lambda database: database.query("SELECT settings FROM cluster_accounts WHERE name = 'acme'")[0]["settings"]
    )
    with psycopg.connect(folder.shared.backend.url) as connection:  # one key at one Charge
        text = other_settings.replace("acme.yaml", "bolt.yaml")
        connection.execute("UPDATE cluster_accounts SET settings = %s WHERE name = 'bolt'", (text,))
    async with folder.worker("a") as process:
        seen = await until(process, lambda seen: {each.condition for each in seen.values()} >= {Condition.BROKEN})
    (broken,) = [each for each in seen.values() if each.condition is Condition.BROKEN]
    assert "has the same key" in broken.gist
    assert other.charge.requests == []


async def test_settings_that_are_broken_harm_no_other_account(folder: Folder) -> None:
    folder.add("acme")
    folder.add("bolt", more="[sync]\ninterval_seconds = -1\n")
    async with folder.worker("a") as process:
        await until(process, _in_sync("acme"))
        seen = await until(process, lambda seen: seen["bolt"].condition is Condition.BROKEN)
        assert _in_sync("acme")(seen)
        assert "bolt.toml:6:20" in seen["bolt"].gist
        assert process.service("bolt") is None
        error = process.error("bolt")
        assert error is not None and "bolt.toml" in error.message


async def test_defaults_that_change_count_from_the_next_run_on_and_broken_ones_are_shown(folder: Folder) -> None:
    """Nobody sends a signal."""
    acme = folder.add("acme")
    defaults = folder.path / "_defaults.toml"
    valid = defaults.read_text()
    async with folder.worker("a") as process:
        await until(process, _in_sync("acme"))
        defaults.write_text("[sync]\ninterval_seconds = -1\n")
        await until(process, lambda _: "_defaults.toml:2:20" in process.unready_reason())
        assert "_defaults.toml:2:20" in process.status().error
        defaults.write_text(f"{valid}[charge]\npage_size = 7\n")
        await until(process, lambda _: not process.unready_reason())
        service = process.service("acme")
        assert service is not None
        service.sync()
        await until(process, lambda _: acme.charge.requests[-1].query.get("limit") == "7")


async def test_a_worker_reports_what_changed_and_does_not_wait_for_a_receiver_when_it_ends(folder: Folder) -> None:
    told, goes_on, answered = threading.Event(), threading.Event(), threading.Event()

    async def receiver(scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
        told.set()
        goes_on.wait(60)  # much longer than a worker that ends would wait
        answered.set()

    url = folder.stack.enter_context(served.over_http(receiver))
    folder.add("acme", more=f'[sync]\ndrain_seconds = 0\n[[notify]]\nurl = "{url.removesuffix("/v1")}/hook"\n')
    (folder.path / "acme.yaml").write_text("fleets: [")
    async with folder.worker("a"):
        with anyio.fail_after(60):
            while not told.is_set():  # noqa: ASYNC110 - another thread sets it
                await anyio.sleep(0.01)
    assert not answered.is_set()
    goes_on.set()


async def test_a_worker_that_was_given_up_comes_back(folder: Folder) -> None:
    folder.add("acme")
    folder.write_defaults(permit_seconds=1)
    async with folder.worker("a") as process:
        await until(process, _in_sync("acme"))
        folder.shared.tell("DELETE FROM cluster_workers; DELETE FROM procrastinate_workers")
        folder.add("late")
        await until(process, _in_sync("acme", "late"))


async def test_what_is_requested_on_the_page_runs_at_once(folder: Folder) -> None:
    acme = folder.add("acme")
    async with folder.worker("a") as process:
        await until(process, _in_sync("acme"))
        service = process.service("acme")
        assert service is not None
        for want in ("a run", "an approval"):
            before = len(acme.charge.requests)
            if want == "a run":
                service.sync()
            else:
                await service.approve("sha256:" + "0" * 64, by="Emma")
            await until(process, lambda _, before=before: len(acme.charge.requests) > before)  # type: ignore[misc]


async def test_a_worker_shows_life_while_its_claims_wait(folder: Folder) -> None:
    """Story: claims that waited for stopped processes had all connections, and the permits of all runs ran out."""
    for name in ("acme", "bolt"):
        folder.add(name)
    waiting = "SELECT pid, query_start FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    url, seen = folder.shared.backend.url, dict[object, int]()
    async with folder.worker("a") as process:
        await until(process, _in_sync("acme", "bolt"))
        with psycopg.connect(url) as stopped, psycopg.connect(url, autocommit=True) as watching, anyio.fail_after(60):
            watching.execute("UPDATE cluster_accounts SET due_at = now()")
            stopped.execute("SELECT name FROM cluster_accounts FOR UPDATE")
            while True:
                controls = process.controls("bolt")
                assert controls is not None
                controls.sync()
                claims = frozenset(watching.execute(waiting).fetchall())
                ((beats,),) = watching.execute("SELECT beats FROM cluster_workers")
                if len(claims) == 2 and beats > seen.setdefault(claims, beats) + 1:
                    break
                await anyio.sleep(0.02)
        await until(process, _in_sync("acme", "bolt"))


async def test_a_worker_that_ends_while_the_database_is_away_leaves_the_rest_to_the_others(folder: Folder) -> None:
    """Story: it tried for minutes to tell the database what the other workers find out within seconds."""
    asked, goes_on = threading.Event(), threading.Event()

    def hold(method: str) -> None:
        asked.set()
        goes_on.wait(60)

    folder.add("acme").on_request = hold
    with structlog.testing.capture_logs() as logs:
        async with folder.worker("a") as process:
            await anyio.to_thread.run_sync(asked.wait)
            folder.shared.tell("ALTER TABLE cluster_accounts RENAME TO accounts_away")
            folder.shared.tell("ALTER TABLE procrastinate_jobs RENAME TO jobs_away")
            process.request_stop(ENDED)
            goes_on.set()
    events = [each["event"] for each in logs]
    assert events.count("account_not_released") == 1
    assert "job_not_finished" not in events
