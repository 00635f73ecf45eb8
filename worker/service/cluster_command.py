"""Lends a command the journal of an account of a cluster, as a worker has it: with a claim and a permit.

Invariants: a command writes for an account only while no worker does; however it ends, the account is free again and
due at once, so that a worker reports its state. Neighbours: `cluster_run` is what a worker does, `journal.claims` keeps
the permit, `cli.context` calls this for commands that write.
"""

import contextlib
from collections.abc import AsyncIterator, Callable

import anyio
import structlog
from anyio import to_thread

import worker
from worker.core.model.errors import JournalBusy, JournalError
from worker.engine import concurrency
from worker.journal import claims, connection_pool, fenced_journal
from worker.service import cluster, cluster_run, composition

log = structlog.get_logger()

_SESSIONS = 3
_REMEDY = (
    "Wait until its run has ended. If no worker is left, start one: what a worker that was killed had is free within "
    "seconds. Nothing was changed."
)
TRIES = 30
_HEARTBEAT_SECONDS = 1.0
"""Between two tries to claim an account that a worker has, and between two renewals of the permit."""


Prepare = Callable[[claims.Claims, claims.Claim], object]
"""What is done first with a claim, in a thread."""


@contextlib.asynccontextmanager
async def journal(
    found: cluster.Cluster, name: str, *, tries: int = TRIES, prepare: Prepare = lambda held, claim: None
) -> AsyncIterator[fenced_journal.FencedJournal]:
    """Claim an account for the block. What `prepare` raises ends it before it begins.

    Waits while a worker has it. Raises errors.JournalBusy if that takes half a minute, or as many tries a second apart,
    errors.JournalError if the database cannot be used.
    """
    clock = composition.SystemClock()
    pool = connection_pool.ConnectionPool(found.url, size=_SESSIONS)
    own = claims.Claims(pool, worker=claims.process_name(), seconds=found.settings.permit_seconds, uptime=clock.uptime)
    try:
        await to_thread.run_sync(own.register, worker.__version__)
        async with concurrency.background_tasks() as background:
            background.start_soon(_send_heartbeats, own)
            claim, settled = await _claimed(own, name, tries=tries), False
            try:
                await to_thread.run_sync(prepare, own, claim)
                if claim.unsettled_for:
                    await anyio.sleep(claim.unsettled_for + cluster_run.MARGIN_SECONDS)
                settled = True
                yield fenced_journal.FencedJournal(pool, account=name, permit=claim.permit, clock=clock)
            finally:
                await _left(own, claim, settled=settled)
    finally:
        with (
            anyio.CancelScope(shield=True),
            contextlib.suppress(JournalError),
        ):  # then the others find out by themselves
            await to_thread.run_sync(own.unregister)
        pool.close()


async def _claimed(own: claims.Claims, name: str, *, tries: int) -> claims.Claim:
    for left in reversed(range(tries)):
        await to_thread.run_sync(own.request_run, name)
        claim = await to_thread.run_sync(own.claim, name)
        if claim is not None:
            return claim
        if left == tries - 1:
            log.warning("account_busy", account=name, waits_seconds=left * _HEARTBEAT_SECONDS)
        if left:
            await anyio.sleep(_HEARTBEAT_SECONDS)
    raise JournalBusy(f"a worker of the cluster has the account {name}", remedy=_REMEDY)


async def _send_heartbeats(own: claims.Claims) -> None:
    """Keep the permit. The journal reports a database that does not answer."""
    while True:
        with contextlib.suppress(JournalError):
            await to_thread.run_sync(own.heartbeat)
        await anyio.sleep(_HEARTBEAT_SECONDS)


async def _left(own: claims.Claims, claim: claims.Claim, *, settled: bool) -> None:
    """Release the account; a worker runs it at once."""
    with anyio.CancelScope(shield=True):
        try:
            left = claims.Release(delay=0.0, failures=claim.failures, closed_for=claim.closed_for, settled=settled)
            await to_thread.run_sync(own.release, claim, left)
        except JournalError as error:
            log.warning("account_not_released", error=error.message)
