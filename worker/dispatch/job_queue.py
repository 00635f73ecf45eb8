"""Runs accounts as jobs: Procrastinate hands each out to one worker at a time, by a lock of its name.

Invariants: no run is queued ahead (a job that is due later would block one that is due now); whatever happens to the
database, the queue starts again once it is back. The queue is asked every second instead of listening: LISTEN would
need a connection that no pooler can give, and save at most that second. Neighbours: `job_manager` has the statements,
`stall_watch` finds dead workers, `service.cluster_worker` is what runs.
"""

import dataclasses
import logging
from collections.abc import Awaitable, Callable

import anyio
import procrastinate
import structlog
from anyio import abc
from procrastinate import exceptions, jobs, worker

from worker.core.model.errors import JournalError
from worker.dispatch import job_manager, stall_watch

log = structlog.get_logger()

TICK_SECONDS = 1.0
"""Seconds between two checks of what is due, of the queue, and of the other workers."""

_SESSIONS = 3
_CONNECT_SECONDS = 10.0
_NEVER = 86400.0
"""Seconds between two heartbeats of Procrastinate's own: those of the permit say more."""

_REMEDY = "Allow the user of `[cluster] url` to create tables, functions and types, and make sure that it is reachable."

_PER_TICK = 4
"""Jobs that a tick makes at most, for each run that may be in progress: the queue stays short."""


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """This process as a member of the cluster: its name, its runs at once, and when others count as dead."""

    name: str
    concurrency: int
    stall_seconds: float


class JobQueue:
    """The queue, as this process works on it. Create it inside the event loop, which must be asyncio's."""

    def __init__(
        self,
        url: str,
        member: Member,
        *,
        run_account: Callable[[str], Awaitable[None]],
        uptime: Callable[[], float],
    ) -> None:
        """Take the database's address, and what runs an account; it must not raise."""
        logging.getLogger("procrastinate").setLevel(logging.ERROR)  # two lines a run say nothing new
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # `queue_unavailable` says it
        self._member = member
        self._uptime = uptime
        limits = {"connect_timeout": _CONNECT_SECONDS, "prepare_threshold": None}
        self._connector = procrastinate.PsycopgConnector(
            conninfo=url, min_size=1, max_size=_SESSIONS, timeout=_CONNECT_SECONDS, kwargs=limits
        )
        self._manager = job_manager.JobManager(self._connector, worker=member.name, on_stuck=self.start_again)
        self._app = procrastinate.App(connector=self._connector)
        self._app.job_manager = self._manager

        async def task(name: str) -> None:
            await run_account(name)

        self._app.task(name=job_manager.TASK, queue=job_manager.QUEUE)(task)
        self._worker: worker.Worker | None = None
        self._watch = stall_watch.StallWatch(seconds=member.stall_seconds)
        self._stopped = False

    async def run(self, *, task_status: abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run what is due until `stop` is called; then wait for the runs in progress.

        Raises errors.JournalError if the queue has no tables, and they cannot be made.
        """
        try:
            await self._open()
            task_status.started()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._tick_regularly)
                while not self._stopped:
                    await self._work()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._app.close_async()

    def stop(self) -> None:
        """Take no further job."""
        self._stopped = self._manager.is_ending = True
        self.start_again()

    async def tick(self) -> None:
        """Make jobs of what is due, and give up what dead workers had. Raises exceptions.ProcrastinateException."""
        asked = self._uptime()
        workers = await self._manager.workers()
        for name, beats in self._watch.dead_workers(workers, asked=asked, answered=self._uptime()).items():
            if name != self._member.name and await self._manager.bury(name, beats):
                log.warning("worker_stalled", worker=name)
        await self._manager.tick(_PER_TICK * self._member.concurrency)

    async def _work(self) -> None:
        """Work on the queue until it is stopped or fails; after a failure, return in a second."""
        self._worker = worker.Worker(
            self._app,
            queues=[job_manager.QUEUE],
            concurrency=self._member.concurrency,
            fetch_job_polling_interval=TICK_SECONDS,
            abort_job_polling_interval=_NEVER,
            listen_notify=False,
            delete_jobs=jobs.DeleteJobCondition.ALWAYS,
            install_signal_handlers=False,
            update_heartbeat_interval=_NEVER,
            stalled_worker_timeout=_NEVER * 3650,
        )
        if self._stopped:
            return
        try:
            with anyio.CancelScope(shield=True):  # it ends by itself, and must remove itself from the queue
                await self._worker.run()  # type: ignore[no-untyped-call]
        except exceptions.ProcrastinateException as error:
            log.warning("queue_unavailable", error=_cause(error))
            await anyio.sleep(TICK_SECONDS)

    async def _tick_regularly(self) -> None:
        failing = False
        while True:
            try:
                await self.tick()
                failing = False
            except exceptions.ProcrastinateException as error:
                if not failing:
                    log.warning("queue_unavailable", error=_cause(error))
                failing = True
            await anyio.sleep(TICK_SECONDS)

    async def _open(self) -> None:
        try:
            await self._app.open_async()
            await self._make_tables()
        except exceptions.ProcrastinateException as error:
            raise JournalError(f"the queue of the cluster cannot be used: {_cause(error)}", remedy=_REMEDY) from error

    async def _make_tables(self) -> None:
        """Make the queue's tables, unless another worker has just done so."""
        if await self._app.check_connection_async():
            return
        try:
            await self._app.schema_manager.apply_schema_async()
        except exceptions.ProcrastinateException:
            if not await self._app.check_connection_async():
                raise

    def start_again(self) -> None:
        """Register with the queue anew, once the runs in progress have ended."""
        if self._worker is not None:
            self._worker.stop()  # type: ignore[no-untyped-call]


def _cause(error: BaseException) -> str:
    return " ".join(str(error.__cause__ or error).split())
