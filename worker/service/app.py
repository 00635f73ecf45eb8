"""Runs the service of one account: status page, metrics, notifications and settings reload around its loop.

Invariant: nothing here can end or delay a reconciliation; only an address that cannot be listened on fails the start.
Neighbours: `account_service` is the account, `account_supervisor` runs many, `page_server` serves, `cli.run` supplies
the settings.
"""

import signal

import anyio
from anyio import abc

from worker.core.model.errors import SettingsError
from worker.core.model.problem import Problem
from worker.engine import concurrency
from worker.service import account_service, composition, page_server, scheduler, shutdown
from worker.web import app, metrics


async def run(read_operator: account_service.ReadOperator) -> int:
    """Run the service until a signal ends it; return the exit code.

    `read_operator` reads the current settings and raises errors.SettingsError. Raises errors.FleetSyncError if the
    service cannot start.
    """
    operator, gauges = read_operator(), metrics.Metrics()

    def read_again() -> account_service.Operator:
        fresh = read_operator()
        _require_unchanged(operator, fresh)
        return fresh

    account = account_service.AccountService(
        operator, read_operator=read_again, clock=composition.SystemClock(), gauges=gauges
    )
    try:
        return await shutdown.run_until_signal(
            account.shutdown, lambda: _run_with_page(account, gauges), drain_seconds=lambda: account.drain_seconds
        )
    finally:
        await account.aclose()


async def _run_with_page(account: account_service.AccountService, gauges: metrics.Metrics) -> int:
    """Run the loop, with the status page in the background."""
    operator = account.operator
    async with concurrency.background_tasks() as background:
        await background.start(_reload_on_hangup, account.service)
        if listen := operator.settings.status.listen:
            access = page_server.access(operator.settings.status, operator.token)
            await background.start(page_server.serve, app.create(account.facade, gauges, access), listen)
        return await account.run()


async def _reload_on_hangup(service: scheduler.Service, *, task_status: abc.TaskStatus[None]) -> None:
    """On SIGHUP, read the settings again before the next run and request that run."""
    with anyio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            service.request_reload()


def _require_unchanged(before: account_service.Operator, after: account_service.Operator) -> None:
    """Raise errors.SettingsError if something changed that takes effect only at a start."""
    changed = {
        "journal.url": before.settings.journal_url != after.settings.journal_url,
        "status.listen": before.settings.status.listen != after.settings.status.listen,
        "status.anonymous_read": before.settings.status.anonymous_read != after.settings.status.anonymous_read,
        "the status token": before.token != after.token,
        "notify": before.targets != after.targets,
    }
    problems = [Problem(name, "it has changed, but is read only at the start") for name in changed if changed[name]]
    if problems:
        raise SettingsError(problems, remedy="Restart the service, or undo this change.")
