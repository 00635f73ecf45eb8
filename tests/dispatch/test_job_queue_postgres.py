"""The job queue on a real server: who gets an account, what a dead worker leaves, and what a late one can still do."""

import contextlib
from collections.abc import AsyncIterator

import anyio
import procrastinate
import psycopg
import pytest
from procrastinate import jobs

from tests.journal import backends, cluster
from worker.dispatch import job_manager, job_queue

pytestmark = pytest.mark.anyio


class Workers:
    """A cluster, and the managers of the queue that its processes have."""

    def __init__(self, shared: cluster.Cluster) -> None:
        self.shared = shared
        self._stack = contextlib.AsyncExitStack()

    async def start(self, name: str) -> job_manager.JobManager:
        """Register a process and its manager."""
        self.shared.process(name)
        connector = procrastinate.PsycopgConnector(conninfo=self.shared.backend.url, min_size=1, max_size=2)
        app = procrastinate.App(connector=connector)
        await self._stack.enter_async_context(app.open_async())
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        return job_manager.JobManager(connector, worker=name, on_stuck=lambda: None)

    async def aclose(self) -> None:
        await self._stack.aclose()
        self.shared.close()

    async def fetch_cut_off(self, manager: job_manager.JobManager, number: int) -> list[jobs.Job | None]:
        """Return what a worker fetches while the server ends its session."""
        fetched: list[jobs.Job | None] = []

        async def fetch() -> None:
            fetched.append(await manager.fetch_job(["accounts"], number))

        ended = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        with psycopg.connect(self.shared.backend.url) as connection:
            connection.execute("LOCK TABLE procrastinate_jobs")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fetch)
                while not connection.execute(ended).fetchall():  # noqa: ASYNC110 - the server's list
                    await anyio.sleep(0.02)
        return fetched

    def due_in_seconds(self, account: str) -> float:
        """Return when an account is due, by the server's clock."""
        due = "SELECT extract(epoch FROM due_at - now())::float FROM cluster_accounts WHERE name = %s"
        with psycopg.connect(self.shared.backend.url) as connection:
            row = connection.execute(due, [account]).fetchone()
        assert row is not None
        seconds: float = row[0]
        return seconds

    def jobs(self) -> list[tuple[str, str, int | None]]:
        """Return account, state and worker of each job."""
        with psycopg.connect(self.shared.backend.url) as connection:
            return connection.execute("SELECT lock, status::text, worker_id FROM procrastinate_jobs").fetchall()


@pytest.fixture
async def workers(postgresql_backend: backends.PostgresBackend) -> AsyncIterator[Workers]:
    """Return a cluster with one account."""
    found = Workers(cluster.Cluster(postgresql_backend))
    yield found
    await found.aclose()


async def _fetched(manager: job_manager.JobManager, number: int) -> jobs.Job:
    job = await manager.fetch_job(["accounts"], number)
    assert job is not None
    return job


async def test_an_account_that_is_due_has_one_job(workers: Workers) -> None:
    workers.shared.add("other")
    manager = await workers.start("a")
    assert await manager.tick(10) == 2
    assert await manager.tick(10) == 0
    assert sorted(workers.jobs()) == [("acme", "todo", None), ("other", "todo", None)]
    number = await manager.register_worker()
    assert (await _fetched(manager, number)).task_kwargs == {"name": "acme"}
    assert await manager.tick(10) == 0  # nothing is queued ahead of a run


async def test_a_tick_makes_no_more_jobs_than_asked_for_and_begins_with_the_oldest(workers: Workers) -> None:
    workers.shared.add("late")
    workers.shared.tell("UPDATE cluster_accounts SET due_at = now() - interval '1 hour' WHERE name = 'late'")
    manager = await workers.start("a")
    assert await manager.tick(1) == 1
    assert [account for account, _, _ in workers.jobs()] == ["late"]


async def test_what_has_been_due_longest_is_run_first_whenever_it_was_queued(workers: Workers) -> None:
    """In overload, jobs wait: one that was queued early must not go before an account that is due for longer."""
    manager = await workers.start("a")
    await manager.tick(10)
    workers.shared.add("late")
    workers.shared.tell("UPDATE cluster_accounts SET due_at = now() - interval '1 hour' WHERE name = 'late'")
    await manager.tick(10)
    number = await manager.register_worker()
    assert [(await _fetched(manager, number)).lock for _ in range(2)] == ["late", "acme"]


@pytest.mark.parametrize(("due", "clock"), [("1970-01-01", "0 s"), ("2150-01-01", "130 years")])
async def test_no_date_is_too_far_for_the_order(workers: Workers, due: str, clock: str) -> None:
    """A server's clock may be anywhere; the accounts go on."""
    workers.shared.set_clock(clock)
    workers.shared.tell(f"UPDATE cluster_accounts SET due_at = '{due}'")  # noqa: S608
    manager = await workers.start("a")
    assert await manager.tick(10) == 1


async def test_an_account_is_due_though_the_clock_of_the_server_was_set_back(workers: Workers) -> None:
    workers.shared.tell("UPDATE cluster_accounts SET due_at = now() + interval '30 minutes', delay_seconds = 3600")
    manager = await workers.start("a")
    assert await manager.tick(10) == 0
    workers.shared.set_clock("-1 hour")
    assert await manager.tick(10) == 1


async def test_a_late_worker_finishes_nothing_that_another_one_has_by_now(workers: Workers) -> None:
    """Story: its `finish` freed the lock of the account while the successor was at work."""
    first, second = await workers.start("a"), await workers.start("b")
    await first.tick(10)
    one, two = await first.register_worker(), await second.register_worker()
    job = await _fetched(first, one)
    workers.shared.tell(f"UPDATE procrastinate_jobs SET worker_id = {two}")  # noqa: S608
    await first.finish_job(job, jobs.Status.SUCCEEDED, True)
    assert workers.jobs() == [("acme", "doing", two)]


async def test_a_finished_job_leaves_nothing(workers: Workers) -> None:
    manager = await workers.start("a")
    await manager.tick(10)
    job = await _fetched(manager, await manager.register_worker())
    await manager.finish_job(job, jobs.Status.FAILED, True)
    assert workers.jobs() == []


async def test_what_a_dead_worker_had_is_free_and_it_must_register_again(workers: Workers) -> None:
    first, second = await workers.start("a"), await workers.start("b")
    await first.tick(10)
    number = await first.register_worker()
    await _fetched(first, number)
    seen = await second.workers()
    assert seen == {"a": 0, "b": 0}
    assert await second.bury("a", seen["a"])
    assert workers.jobs() == []
    assert await second.tick(10) == 1
    with pytest.raises(procrastinate.exceptions.ConnectorException):
        await first.fetch_job(["accounts"], number)


async def test_a_worker_goes_on_taking_jobs_after_the_database_was_away(workers: Workers) -> None:
    """Story: it took none until its longest run had ended. What was handed out when the answer got lost is free."""
    workers.shared.add("bolt")
    manager = await workers.start("a")
    await manager.tick(10)
    number = await manager.register_worker()
    running = await _fetched(manager, number)
    workers.shared.tell(f"UPDATE procrastinate_jobs SET status = 'doing', worker_id = {number}")  # noqa: S608
    assert await workers.fetch_cut_off(manager, number) == [None]
    assert await manager.fetch_job(["accounts"], number) is None
    assert workers.jobs() == [(running.lock, "doing", number)]
    assert await manager.tick(10) == 1
    assert (await _fetched(manager, number)).lock != running.lock
    await manager.finish_job(running, jobs.Status.SUCCEEDED, True)
    assert len(workers.jobs()) == 1


async def test_what_a_dead_worker_left_in_the_middle_of_a_run_comes_before_all_that_waits(workers: Workers) -> None:
    """Story: in a storm of 1,000 accounts it waited for 20 seconds behind what was merely due."""
    workers.shared.add("waiting")
    workers.shared.tell("UPDATE cluster_accounts SET due_at = now() - interval '1 hour' WHERE name = 'acme'")
    first, second = await workers.start("a"), await workers.start("b")
    await first.tick(10)
    assert (await _fetched(first, await first.register_worker())).lock == "acme"
    assert workers.shared.processes[0].claims.claim("acme")
    assert await second.bury("a", 0)
    assert await second.tick(10) == 1
    assert (await _fetched(second, await second.register_worker())).lock == "acme"


async def test_an_account_that_kills_one_worker_after_the_other_waits_ever_longer(workers: Workers) -> None:
    """Otherwise it comes first for the next worker, and kills that one too, before another account has had its run."""
    waits = []
    for name in ("a", "b", "c", "d", "e"):
        manager = await workers.start(name)
        process = workers.shared.processes[-1]
        workers.shared.tell("UPDATE cluster_accounts SET due_at = now()")
        await manager.tick(10)
        await _fetched(manager, await manager.register_worker())
        assert process.claims.claim("acme")
        undertaker = await workers.start(f"after {name}")
        assert await undertaker.bury(name, 0)
        waits.append(0 if await undertaker.tick(10) else workers.due_in_seconds("acme"))
    assert waits == [0, 0, 0, pytest.approx(20, abs=5), pytest.approx(40, abs=5)]


async def test_a_worker_that_has_shown_life_meanwhile_keeps_its_jobs(workers: Workers) -> None:
    first, second = await workers.start("a"), await workers.start("b")
    await first.tick(10)
    number = await first.register_worker()
    await _fetched(first, number)
    seen = await second.workers()
    workers.shared.processes[0].claims.heartbeat()
    assert not await second.bury("a", seen["a"])
    assert workers.jobs() == [("acme", "doing", number)]


async def test_a_process_that_registers_again_has_no_jobs_left(workers: Workers) -> None:
    manager = await workers.start("a")
    await manager.tick(10)
    before = await manager.register_worker()
    await _fetched(manager, before)
    assert await manager.register_worker() != before
    assert workers.jobs() == []


async def test_a_job_without_a_worker_blocks_nothing(workers: Workers) -> None:
    manager = await workers.start("a")
    await manager.tick(10)
    number = await manager.register_worker()
    await _fetched(manager, number)
    await manager.unregister_worker(number)
    assert await manager.tick(10) == 1


async def test_the_queue_runs_what_is_due_and_goes_on_after_its_worker_was_given_up(workers: Workers) -> None:
    shared = workers.shared
    process = shared.process("a")
    ran = anyio.Event()

    async def run_account(name: str) -> None:
        assert name == "acme"
        shared.tell("UPDATE cluster_accounts SET due_at = now() + interval '1 hour', delay_seconds = 3600")
        ran.set()
        raise RuntimeError("a defect")  # is logged, and does not end the queue

    member = job_queue.Member("a", concurrency=2, stall_seconds=60)
    queue = job_queue.JobQueue(shared.backend.url, member, run_account=run_account, uptime=process.uptime)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.run)
        await ran.wait()
        ran = anyio.Event()
        shared.bury(process)
        shared.tell("DELETE FROM procrastinate_jobs; DELETE FROM procrastinate_workers")
        process.claims.register("1.0")
        queue.start_again()
        process.claims.request_run("acme")
        await ran.wait()
        queue.stop()
    assert workers.jobs() == []


async def test_the_queue_gives_up_the_dead_but_never_its_own_process(workers: Workers) -> None:
    await workers.start("gone")
    process = workers.shared.process("a")

    async def run_account(name: str) -> None:
        pass

    member = job_queue.Member("a", concurrency=1, stall_seconds=1.0)
    queue = job_queue.JobQueue(workers.shared.backend.url, member, run_account=run_account, uptime=process.uptime)
    async with anyio.create_task_group() as tasks:
        await tasks.start(queue.run)
        for _ in range(2):  # in which neither of them shows life
            await queue.tick()
            process.uptime.seconds += 2.0
        await queue.tick()
        queue.stop()
    with psycopg.connect(workers.shared.backend.url) as connection:
        assert connection.execute("SELECT worker FROM cluster_workers").fetchall() == [("a",)]
