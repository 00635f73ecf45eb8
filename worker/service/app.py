"""The service with everything around it: the status page, the metrics, the notices, the settings that may change.

Invariant: nothing out here can end or hold up a reconciliation; only a port that cannot be had ends the start.
Neighbours: `loop` is what runs, `status` and `notices` are the edges, `cli.run` gives the settings.
"""

import dataclasses
from collections.abc import Callable

import anyio
import anyio.abc
import structlog
from anyio import to_thread
from starlette import applications

from worker.core.model.errors import SettingsError
from worker.core.model.ports import Clock, RunHistory
from worker.core.model.problem import Problem
from worker.core.model.secret import Secret
from worker.core.monitoring import notifications, status
from worker.core.safety import guard
from worker.engine import concurrency
from worker.journal import sql
from worker.notifications import webhook
from worker.service import composition, scheduler, shutdown, state
from worker.settings import model, urls
from worker.web import app, metrics, server

log = structlog.get_logger()

_OWN_NAMES = ("127.0.0.1", "localhost", "::1")
"""What a page that only this machine can reach is called: another name comes from a site that wants to read it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Operator:
    """What the operator gives: the settings with their secrets. `token` is `None` where nobody may ask for anything."""

    settings: model.Settings
    key: Secret
    token: Secret | None = None
    webhook: Secret | None = None


class ServiceFacade:
    """Implements status.views.Service: the service, as it lets itself be watched and asked."""

    def __init__(self, service: scheduler.Service, clock: Clock) -> None:
        """Take the running service."""
        self._service = service
        self._clock = clock

    @property
    def record(self) -> RunHistory:
        """Give the journal, to look things up in."""
        return self._service.account.record

    def snapshot(self) -> status.Status:
        """Give a fresh snapshot."""
        return self._service.service_state.snapshot(self._service.account)

    async def changed(self) -> None:
        """Return at the next change."""
        await self._service.service_state.changed()

    def ready(self) -> str:
        """Give the reason why the service is not ready, or nothing when it is."""
        return self._service.service_state.unready()

    def sync(self) -> None:
        """Reconcile soon."""
        self._service.wake(status.Trigger.REQUEST)

    async def approve(self, digest: str) -> None:
        """Allow the held changes of this plan, and reconcile. Raises errors.FleetSyncError."""
        now = self._clock.now()
        await self.record.approve(digest, now=now, until=now + guard.APPROVAL_LIFETIME)
        self.sync()


async def run(read: Callable[[], Operator]) -> int:
    """Run the service of these settings until a signal ends it; give the exit code.

    `read` reads the settings as they are now, and raises errors.SettingsError. Raises errors.FleetSyncError where the
    service cannot start.
    """
    operator = read()
    clock, service_state, gauges = (
        composition.SystemClock(),
        state.ServiceState(clock=composition.SystemClock()),
        metrics.Metrics(),
    )
    end, journal = shutdown.Shutdown(), sql.SqlJournal(operator.settings.journal_url, clock=clock)

    def account(of: Operator, *, before: composition.AccountRuntime | None = None) -> composition.AccountRuntime:
        return composition.AccountRuntime(
            settings=of.settings,
            key=of.key,
            journal=journal,
            process_shutdown=end,
            progress=service_state,
            observe=lambda operation, code, seconds: gauges.observe_request(operation, code, seconds=seconds),
            before=before,
        )

    async def renew() -> composition.AccountRuntime:
        fresh = await to_thread.run_sync(read)
        _see_unchanged(operator, fresh)
        return account(fresh, before=service.account)

    service = scheduler.Service(
        account(operator), renew=renew, service_state=service_state, clock=clock, ended=gauges.observe_run
    )
    try:
        return await shutdown.run_until_signal(
            end,
            lambda: _accompanied(service, operator, ServiceFacade(service, clock), gauges),
            drain_seconds=lambda: service.account.settings.sync.drain_seconds,
        )
    finally:
        with anyio.CancelScope(shield=True):
            await service.account.aclose()
            await journal.aclose()


async def _accompanied(
    service: scheduler.Service, operator: Operator, face: ServiceFacade, gauges: metrics.Metrics
) -> int:
    """Run the service with its page and its notices beside it."""
    async with concurrency.background_tasks() as beside:
        if listen := operator.settings.status.listen:
            host, port = urls.endpoint(listen)
            page = app.create(face, gauges, token=operator.token, hosts=_OWN_NAMES if urls.is_loopback(host) else ())
            await beside.start(_serve, page, host, port)
        if operator.webhook is not None:
            hook = webhook.Webhook(operator.webhook, user_agent=composition.USER_AGENT)
            beside.start_soon(_tell, service.service_state, face, hook)
        return await service.run()


async def _serve(
    page: applications.Starlette, host: str, port: int, *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    def started(url: str) -> None:
        log.info("serving", url=url)
        task_status.started()

    await server.serve(page, host=host, port=port, started=started)


async def _tell(service_state: state.ServiceState, face: ServiceFacade, hook: webhook.Webhook) -> None:
    """Tell of every change of state, as long as the service runs and a moment longer."""
    told = notifications.NotificationState()
    async with concurrency.background_tasks() as beside:
        beside.start_soon(hook.deliver_forever)
        while True:
            try:
                news, told = notifications.diff(face.snapshot(), told)
            except Exception:  # a notice is not worth the service
                log.exception("notice_crashed")
                news = ()
            for each in news:
                hook.tell(each)
            await service_state.turned()


def _see_unchanged(before: Operator, after: Operator) -> None:
    """Raise errors.SettingsError where something changed that needs a restart."""
    fixed = {
        "journal.url": before.settings.journal_url != after.settings.journal_url,
        "status.listen": before.settings.status.listen != after.settings.status.listen,
        "the status token": _revealed(before.token) != _revealed(after.token),
        "notify": _revealed(before.webhook) != _revealed(after.webhook),
    }
    problems = [Problem(name, "it changed, and is only read at the start") for name in fixed if fixed[name]]
    if problems:
        raise SettingsError(problems, remedy="Restart the service, or take that change back.")


def _revealed(text: Secret | None) -> str | None:
    return None if text is None else text.reveal()
