"""`fleet-sync worker`: one of the processes that share the accounts of a cluster.

Invariants: a signal ends the runs of this process, and their accounts are free for the others at once; whatever becomes
of the database, the process goes on, and works again once the database does. Neighbours: `cluster_run` is one run,
`dispatch.job_queue` says whose turn it is, `journal.claims` keeps the permits, `cluster_defaults` has the settings.
"""

import collections
import contextlib
import functools
import signal
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import structlog
from anyio import abc, to_thread

import worker
from worker.core.model.errors import FleetSyncError, JournalError, Stopped
from worker.core.monitoring import status, summary
from worker.core.monitoring.account_overview import AccountsStatus, AccountStatus
from worker.dispatch import job_queue
from worker.engine import concurrency
from worker.journal import claims, connection_pool, fenced_journal
from worker.service import (
    account_reader,
    cluster,
    cluster_defaults,
    cluster_facade,
    cluster_run,
    composition,
    page_server,
    shutdown,
)
from worker.web import accounts_page, metrics, service_protocol

log = structlog.get_logger()

BEAT_SECONDS = 1.0
_STATUS_SECONDS = 2.0
"""Between two readings of the state of all accounts, for the page and the metrics."""

_CLAIM_SESSIONS = 2
_SESSIONS = (_CLAIM_SESSIONS, 1, 10)
"""For claims, for heartbeats and for journals. With three for the queue, a worker has 16 sessions."""

_CONDITIONS, _PARTS = frozenset(summary.Condition), frozenset(status.Part)

_RECENT = 200
"""Accounts whose last run here the page shows."""

_THREADS = 40
_THREADS_PER_RUN = 2
"""Threads that sources and settings may use at once."""

_ELSEWHERE = "`fleet-sync --account NAME history` shows its runs, and the page of the worker that ran it last."


async def run(read: Callable[[], cluster.Cluster], environ: Mapping[str, str], *, concurrency_limit: int) -> int:
    """Work for a cluster until a signal ends it; return the exit code.

    `read` reads `_defaults.toml`, again when it changes and at each SIGHUP. Raises errors.FleetSyncError if that cannot
    start: the database or the page's address cannot be used.
    """
    defaults = cluster_defaults.ClusterDefaults(read)
    found, gauges, token = defaults.found, metrics.Metrics(), account_reader.status_token(environ)
    member = job_queue.Member(claims.process_name(), concurrency_limit, found.settings.stall_seconds)
    process = ClusterWorker(defaults, member, environ=environ, gauges=gauges)
    await process.open()
    try:

        async def work() -> int:
            async with concurrency.background_tasks() as background:
                await background.start(_reload_on_hangup, defaults)
                if found.status.listen:
                    made = accounts_page.create(process, gauges, page_server.access(found.status, token))
                    await background.start(page_server.serve, made, found.status.listen)
                return await process.run()

        return await shutdown.run_until_signal(process, work, drain_seconds=lambda: process.drain_seconds)
    finally:
        await process.aclose()


class ClusterWorker:
    """A process of the cluster. Implements `accounts_page.AccountsProtocol` and `shutdown.Stoppable`."""

    def __init__(
        self,
        defaults: cluster_defaults.ClusterDefaults,
        member: job_queue.Member,
        *,
        environ: Mapping[str, str],
        gauges: metrics.Metrics,
    ) -> None:
        """Take the defaults of the cluster, and what this process is in it. Create it inside the event loop."""
        found, self._defaults = defaults.found, defaults
        self._clock = composition.SystemClock()
        self._started = self._clock.now()
        self._pools = [connection_pool.ConnectionPool(found.url, size=size) for size in _SESSIONS]
        claiming, beats, self._journals = self._pools
        seconds = found.settings.permit_seconds
        self._claims = claims.Claims(
            claiming, beats=beats, worker=member.name, seconds=seconds, uptime=self._clock.uptime
        )
        self._shared = cluster_run.Shared(
            self._claims,
            self._journals,
            lambda name, text: account_reader.operator(lambda: defaults.found.validated(name, text.encode()), environ),
            self._clock,
            gauges,
        )
        self._queue = job_queue.JobQueue(
            self._journals.address.url, member, run_account=self.run_account, uptime=self._clock.uptime
        )
        self._beating = anyio.CapacityLimiter(1)
        self._claiming = anyio.CapacityLimiter(_CLAIM_SESSIONS)
        self._beat_interval = min(BEAT_SECONDS, found.settings.permit_seconds / 3)
        self._runs: dict[str, cluster_run.ClusterRun] = {}
        self._recent: collections.OrderedDict[str, cluster_facade.ClusterFacade] = collections.OrderedDict()
        self._wanted: set[str] = set()
        self._statuses: Mapping[str, AccountStatus] = {}
        self._living = 0
        self._unavailable = "the accounts have not been read yet"
        self._stopped: Stopped | None = None
        to_thread.current_default_thread_limiter().total_tokens = _THREADS + _THREADS_PER_RUN * member.concurrency

    # --- For the signals ----------------------------------------------------------------------------------

    def request_stop(self, reason: Stopped) -> None:
        """Take no further account, and end the runs in progress: writes in flight may finish."""
        self._stopped = self._stopped or reason
        self._queue.stop()
        for each in self._runs.values():
            each.shutdown.request_stop(reason)

    def abort_writes(self) -> None:
        """Abort writes that are still in flight."""
        for each in self._runs.values():
            each.shutdown.abort_writes()

    @property
    def drain_seconds(self) -> float:
        """Return how long writes in flight may take to finish: the longest of all runs."""
        return max((each.drain_seconds for each in self._runs.values()), default=0.0)

    # --- For the page -------------------------------------------------------------------------------------

    def status(self) -> AccountsStatus:
        """Return how all accounts of the cluster are, as their last runs said."""
        accounts = tuple(self._statuses.values())
        return AccountsStatus(
            self._clock.now(), self._started, worker.__version__, accounts, self.unready_reason(), self._living
        )

    def has(self, name: str) -> bool:
        """Return whether the cluster has this account."""
        return name in self._statuses

    def service(self, name: str) -> service_protocol.ServiceProtocol | None:
        """Return an account as its last run here left it, or None if there was none lately."""
        facade = self._recent.get(name)
        return facade if facade is not None and facade.account is not None else None

    def controls(self, name: str) -> service_protocol.Controls | None:
        """Return what takes effect wherever the account runs, or None if the cluster has no such account."""
        return self._facade(name) if name in self._statuses else None

    def error(self, name: str) -> FleetSyncError | None:
        """Return why there is no page of an account here."""
        present = self._statuses.get(name)
        if present is not None and present.condition is summary.Condition.BROKEN:
            return FleetSyncError(present.gist, remedy=_ELSEWHERE)
        return FleetSyncError("This worker has not run the account lately.", remedy=_ELSEWHERE)

    def unready_reason(self) -> str:
        """Return why the process is not ready, or an empty text."""
        return "\n".join(filter(None, (self._unavailable, self._defaults.error)))

    # --- The process --------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make the tables that are missing, and let the other workers know of this one. Raises errors.JournalError."""
        await to_thread.run_sync(self._journals.migrate)
        await to_thread.run_sync(self._claims.register, worker.__version__)

    async def run(self) -> int:
        """Run what is due until a stop is requested; return the exit code.

        Raises errors.JournalError if the queue cannot be made.
        """
        log.info("worker_started", worker=self._claims.worker)
        async with concurrency.background_tasks() as background:
            background.start_soon(self._send_heartbeats)
            background.start_soon(self._request_regularly)
            background.start_soon(self._read_statuses_regularly)
            background.start_soon(self._defaults.follow)
            try:
                await self._queue.run()
            finally:
                self._queue.stop()
        return self._stopped.exit_code if self._stopped else 0

    async def run_account(self, name: str) -> None:
        """Claim an account, run it and release it; do nothing if no run is due, or another process has it."""
        try:
            claim = await to_thread.run_sync(self._claims.claim, name, limiter=self._claiming)
        except JournalError as error:
            log.warning("account_not_claimed", account=name, error=error.message)
            return
        if claim is None:
            return
        run = self._runs[name] = cluster_run.ClusterRun(claim, self._shared, self._facade(name))
        if self._stopped is not None:
            run.shutdown.request_stop(self._stopped)
        try:
            await run.run()
        finally:
            self._runs.pop(name)

    async def aclose(self) -> None:
        """Let the other workers know that this one has ended, and close the connections."""
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(JournalError):  # then they find out by themselves
                await self._request_runs()
                await to_thread.run_sync(self._claims.unregister)
            for pool in self._pools:
                await to_thread.run_sync(pool.close)

    def _facade(self, name: str) -> cluster_facade.ClusterFacade:
        """Return the account as the page sees it; the one that has not run here for the longest time is forgotten."""
        facade = self._recent.pop(name, None) or cluster_facade.ClusterFacade(
            fenced_journal.FencedJournal(
                self._journals, account=name, permit=self._claims.no_permit(), clock=self._clock
            ),
            clock=self._clock,
            request_run=functools.partial(self._wanted.add, name),
        )
        self._recent[name] = facade
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        return facade

    async def _send_heartbeats(self) -> None:
        """Keep the permits, and come back if the others have given this process up."""
        failing = False
        while True:
            try:
                if not await to_thread.run_sync(self._claims.heartbeat, limiter=self._beating):
                    log.warning("worker_was_given_up", worker=self._claims.worker)
                    await to_thread.run_sync(self._claims.register, worker.__version__, limiter=self._beating)
                    self._queue.start_again()
                failing = False
            except JournalError as error:
                if not failing:
                    log.warning("permits_not_renewed", error=error.message)
                failing = True
            await anyio.sleep(self._beat_interval)

    async def _request_regularly(self) -> None:
        """Pass on which runs were asked for. It may have to wait for a claim, as heartbeats may not."""
        while True:
            with contextlib.suppress(JournalError):  # `_send_heartbeats` says that the database is away
                await self._request_runs()
            await anyio.sleep(self._beat_interval)

    async def _request_runs(self) -> None:
        """Pass on requested runs; keep those that the database does not accept. Raises errors.JournalError."""
        while self._wanted:
            name = self._wanted.pop()
            try:
                await to_thread.run_sync(self._claims.request_run, name, limiter=self._claiming)
            except JournalError:
                self._wanted.add(name)
                raise

    async def _read_statuses_regularly(self) -> None:
        """Read the state of all accounts, for the page and the metrics."""
        while True:
            try:
                rows = await to_thread.run_sync(self._claims.statuses, limiter=self._claiming)
                self._living = await to_thread.run_sync(self._claims.living, limiter=self._claiming)
            except JournalError as error:
                self._unavailable = error.message
            else:
                self._statuses, self._unavailable = {row["name"]: _status(row) for row in rows}, ""
            await anyio.sleep(_STATUS_SECONDS)


async def _reload_on_hangup(defaults: cluster_defaults.ClusterDefaults, *, task_status: abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            await defaults.read()


def _status(row: Mapping[str, Any]) -> AccountStatus:
    """Return an account in one line, as its last run left it: on a worker that may be of a newer version."""
    written = row["condition"] or summary.Condition.STARTING
    condition = summary.Condition(written) if written in _CONDITIONS else summary.Condition.ATTENTION
    broken = frozenset(status.Part(part) for part in row["broken"].split() if part in _PARTS)
    return AccountStatus(
        row["name"], condition, row["gist"] or "Waiting for its first run", row["last_success"], broken
    )
