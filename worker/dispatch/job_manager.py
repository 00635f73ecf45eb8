"""Procrastinate's jobs, as several workers may safely share them.

Invariants: a worker that was taken for dead and goes on cannot finish a job that another worker has by then; a job of a
worker that is gone, or that was handed out in a lost answer, blocks its account no longer than until the next tick. A
run that was lost is not retried: its account is due still, and the tick makes a new job. Neighbours: `job_queue` runs
the jobs.
"""

from collections.abc import Callable, Iterable

import anyio
import psycopg
import structlog
from procrastinate import connector, exceptions, jobs, manager

log = structlog.get_logger()

QUEUE = "accounts"
TASK = "run_account"

_FINISH = "DELETE FROM procrastinate_jobs WHERE id = %(job_id)s AND worker_id = %(worker_id)s AND status = 'doing'"
"""One statement: Procrastinate's own would finish the job of whichever worker has it."""

_TICK = """
    SELECT procrastinate_defer_jobs_v1(array_agg(
        ROW('accounts', 'run_account', priority, name, NULL, jsonb_build_object('name', name), NULL)
        ::procrastinate_job_to_defer_v1
    )) AS ids
    FROM (
        SELECT name, CASE
            WHEN NOT released AND NOT EXISTS (
                SELECT 1 FROM cluster_workers WHERE cluster_workers.worker = cluster_accounts.worker
            ) THEN 2147483647
            ELSE CAST(greatest(-2e9, least(2e9,
                extract(epoch FROM timestamptz '2050-01-01 00:00Z' - least(due_at, now()))
            )) AS integer)
        END AS priority
        FROM cluster_accounts
        WHERE (due_at <= now() OR due_at > now() + make_interval(secs => delay_seconds + 1))
        AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs WHERE procrastinate_jobs.lock = cluster_accounts.name)
        ORDER BY priority DESC, due_at LIMIT %(most)s
    ) AS due
    HAVING count(*) > 0
"""
"""Accounts that a dead worker left in the middle of a run come first, because the outcome of their writes is unclear.

The others follow in the order in which they became due, not in that of their jobs, which may have waited. Priorities
are only compared, so any moment serves as their zero.

Two workers that tick at once may make two jobs for one account: the second run finds that nothing is due.
"""

_FORGET_JOBS = "DELETE FROM procrastinate_jobs WHERE status = 'doing' AND worker_id IS NULL"

_GIVE_BACK = """
    DELETE FROM procrastinate_jobs WHERE status = 'doing' AND worker_id = %(worker_id)s AND id <> ALL(%(running)s)
"""
"""Deletes jobs that were handed out in an answer that did not arrive, so that no worker runs them."""

_REGISTERED = """
    WITH before AS (SELECT queue_worker FROM cluster_workers WHERE worker = %(worker)s),
    jobs AS (DELETE FROM procrastinate_jobs USING before WHERE worker_id = queue_worker AND status = 'doing'),
    gone AS (DELETE FROM procrastinate_workers USING before WHERE id = queue_worker)
    UPDATE cluster_workers SET queue_worker = %(queue_worker)s WHERE worker = %(worker)s
"""
_BURY = """
    WITH dead AS (
        DELETE FROM cluster_workers WHERE worker = %(worker)s AND beats = %(beats)s RETURNING queue_worker
    ),
    jobs AS (DELETE FROM procrastinate_jobs USING dead WHERE worker_id = queue_worker AND status = 'doing'),
    gone AS (DELETE FROM procrastinate_workers USING dead WHERE id = queue_worker),
    lost AS (
        SELECT name, CASE WHEN failures < 3 THEN 0 ELSE least(300, 5 * 2 ^ least(failures - 1, 6)) END AS pause
        FROM cluster_accounts WHERE worker = %(worker)s AND NOT released AND EXISTS (SELECT 1 FROM dead)
        FOR UPDATE SKIP LOCKED
    ),
    counted AS (
        UPDATE cluster_accounts SET failures = failures + 1,
            due_at = CASE WHEN pause > 0 THEN now() + make_interval(secs => pause) ELSE due_at END,
            delay_seconds = CASE WHEN pause > 0 THEN pause ELSE delay_seconds END
        FROM lost WHERE lost.name = cluster_accounts.name
    )
    SELECT count(*) AS buried FROM dead
"""
"""Takes everything from a dead worker, in one statement: a worker whose heartbeat has changed meanwhile keeps it all.

A lost run counts as failed. An account whose runs are lost one after the other may be what kills the workers: from the
fourth on it waits ever longer, so that other accounts get their runs. Two in a row are not rare where workers come and
go. A row that a stopped process has locked is left out, because this statement must not wait.
"""

_WORKERS = "SELECT worker, beats FROM cluster_workers"

_FINISH_TRIES = 20


class JobManager(manager.JobManager):
    """Procrastinate's manager, bound to one process of the cluster."""

    def __init__(self, database: connector.BaseAsyncConnector, *, worker: str, on_stuck: Callable[[], None]) -> None:
        """Take the name of this process, and what to call when a finished job cannot be removed."""
        super().__init__(connector=database)
        self._worker = worker
        self._on_stuck = on_stuck
        self._running = set[int]()
        self._is_answer_lost = False
        self.is_ending = False

    async def register_worker(self) -> int:
        """Register with the queue, and give up the jobs that this process had before."""
        self._running, self._is_answer_lost = set(), False
        number = await super().register_worker()
        await self.connector.execute_query_async(_REGISTERED, worker=self._worker, queue_worker=number)
        return number

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> jobs.Job | None:
        """Return the next job, or None if there is none. While the database is away, there is none.

        If this raised then, the queue would take no job until all runs in progress have ended, however long they take.
        """
        try:
            if self._is_answer_lost:
                await self.connector.execute_query_async(_GIVE_BACK, worker_id=worker_id, running=sorted(self._running))
            self._is_answer_lost = True  # until it arrives
            job = await super().fetch_job(queues=queues, worker_id=worker_id)
        except exceptions.ConnectorException as error:
            if isinstance(error.__cause__, psycopg.OperationalError):
                return None
            raise  # others gave this worker up: it has to register again
        self._is_answer_lost = False
        if job is not None and job.id is not None:
            self._running.add(job.id)
        return job

    async def finish_job(self, job: jobs.Job, status: jobs.Status, delete_job: bool) -> None:
        """Remove a job that has ended, if it still is its worker's. Tries again for a while if the database is away."""
        if job.id is not None:
            self._running.discard(job.id)
        for _ in range(_FINISH_TRIES):
            try:
                await self.connector.execute_query_async(_FINISH, job_id=job.id, worker_id=job.worker_id)
            except exceptions.ConnectorException:
                if self.is_ending:  # the others free what a process had that is gone
                    return
                await anyio.sleep(1.0)
            else:
                return
        log.error("job_not_finished", account=job.lock)
        self._on_stuck()

    async def tick(self, most: int) -> int:
        """Make jobs of the accounts that are due and have none, at most so many; return how many."""
        await self.connector.execute_query_async(_FORGET_JOBS)
        rows = await self.connector.execute_query_all_async(_TICK, most=most)
        return sum(len(row["ids"]) for row in rows)

    async def workers(self) -> dict[str, int]:
        """Return the heartbeats of all processes of the cluster, by name."""
        rows = await self.connector.execute_query_all_async(_WORKERS)
        return {row["worker"]: row["beats"] for row in rows}

    async def bury(self, worker: str, beats: int) -> bool:
        """Remove a process without further heartbeats, and its jobs. Return whether it was removed."""
        row = await self.connector.execute_query_one_async(_BURY, worker=worker, beats=beats)
        return bool(row["buried"])
