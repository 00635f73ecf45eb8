"""Runs the service with its surroundings: status page, metrics, notifications and settings reload.

Invariant: nothing here can end or delay a reconciliation; only an address that cannot be listened on fails the start.
Neighbours: `scheduler` is the loop, `web` and `notifications` are the edges, `cli.run` supplies the settings.
"""

import dataclasses
from collections.abc import Callable, Sequence

import anyio
import anyio.abc
import structlog
from anyio import to_thread
from starlette import applications

from worker.core.model.errors import SettingsError
from worker.core.model.identifiers import FleetId
from worker.core.model.pauses import Pause
from worker.core.model.ports import Clock, RunHistory
from worker.core.model.problem import Problem
from worker.core.model.secret import Secret
from worker.core.monitoring import notifications, status
from worker.core.safety import guard
from worker.engine import concurrency
from worker.journal import sql_journal
from worker.notifications import webhook
from worker.service import composition, job_notifications, scheduler, shutdown, state
from worker.settings import model, secrets, urls
from worker.web import app, metrics, server

log = structlog.get_logger()

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
"""Host names accepted on a loopback address: any other one comes from a site that wants to read the page."""


@dataclasses.dataclass(frozen=True, slots=True)
class Operator:
    """What the operator configures: the settings and their secrets. Without a `token`, requests change nothing.

    With `adopt_journal`, the first run takes over a journal that belongs to another account.
    """

    settings: model.Settings
    credentials: secrets.Credentials
    token: Secret | None = None
    targets: tuple[secrets.NotificationTarget, ...] = ()
    adopt_journal: bool = False


class ServiceFacade:
    """Implements web.service_protocol.ServiceProtocol."""

    def __init__(self, service: scheduler.Service, record: RunHistory, clock: Clock) -> None:
        """Wrap the running service. `record` is the journal on a connection of its own: readers delay no run."""
        self._service = service
        self._record = record
        self._clock = clock

    @property
    def record(self) -> RunHistory:
        """Return the journal, for queries."""
        return self._record

    def snapshot(self) -> status.Status:
        """Return the present state."""
        return self._service.service_state.snapshot(self._service.account)

    async def changed(self) -> None:
        """Wait for the next change."""
        await self._service.service_state.changed()

    def unready_reason(self) -> str:
        """Return why the service is not ready, or an empty text if it is."""
        return self._service.service_state.unready_reason()

    def sync(self) -> None:
        """Request a run as soon as possible."""
        self._service.wake(status.Trigger.REQUEST)

    async def approve(self, digest: str, *, by: str) -> None:
        """Approve the held changes of this plan and request a run. Raises errors.FleetSyncError."""
        now = self._clock.now()
        await self._record.approve(digest, now=now, until=now + guard.APPROVAL_LIFETIME, by=by)
        self.sync()

    async def pause(self, pause: Pause) -> None:
        """Begin a pause and request a run, which shows it. Raises errors.FleetSyncError."""
        await self._record.pause(pause)
        await self._service.look_for_pauses()

    async def resume(self, *, by: str, fleet: FleetId | None) -> tuple[Pause, ...]:
        """End the pause of a fleet, or all, and request a run. Raises errors.FleetSyncError."""
        ended = await self._record.resume(now=self._clock.now(), by=by, fleet=fleet)
        await self._service.look_for_pauses()
        return ended


async def run(read_operator: Callable[[], Operator]) -> int:
    """Run the service until a signal ends it; return the exit code.

    `read_operator` reads the current settings and raises errors.SettingsError. Raises errors.FleetSyncError if the
    service cannot start.
    """
    operator, clock = read_operator(), composition.SystemClock()
    service_state, gauges = state.ServiceState(clock=clock), metrics.Metrics()
    process_shutdown = shutdown.Shutdown()
    journal = sql_journal.SqlJournal(operator.settings.journal_url, clock=clock)
    readers_journal = sql_journal.SqlJournal(operator.settings.journal_url, clock=clock)

    def account(of: Operator, *, before: composition.AccountRuntime | None = None) -> composition.AccountRuntime:
        return composition.AccountRuntime(
            settings=of.settings,
            credentials=of.credentials,
            journal=journal,
            process_shutdown=process_shutdown,
            progress=service_state,
            observe=lambda operation, code, seconds: gauges.observe_request(operation, code, seconds=seconds),
            before=before,
        )

    async def reload() -> composition.AccountRuntime:
        fresh = await to_thread.run_sync(read_operator)
        _require_unchanged(operator, fresh)
        return account(fresh, before=service.account)

    first = account(operator)
    first.adopt_journal(allowed=operator.adopt_journal)
    service = scheduler.Service(
        first, reload=reload, service_state=service_state, clock=clock, on_run_end=gauges.observe_run
    )
    try:
        return await shutdown.run_until_signal(
            process_shutdown,
            lambda: _run_with_edges(service, operator, ServiceFacade(service, readers_journal, clock), gauges),
            drain_seconds=lambda: service.account.settings.sync.drain_seconds,
        )
    finally:
        with anyio.CancelScope(shield=True):
            await service.account.aclose()
            await readers_journal.aclose()
            await journal.aclose()


async def _run_with_edges(
    service: scheduler.Service, operator: Operator, facade: ServiceFacade, gauges: metrics.Metrics
) -> int:
    """Run the loop, with the status page and notifications in the background."""
    async with concurrency.background_tasks() as background:
        if listen := operator.settings.status.listen:
            host, port = urls.endpoint(listen)
            is_loopback = urls.is_loopback(host)
            page = app.create(
                facade,
                gauges,
                token=operator.token,
                hosts={*_LOOPBACK_NAMES, host} if is_loopback else (),
                locked=not is_loopback and operator.token is None,
                anonymous_read=_may_read(operator, is_loopback=is_loopback),
            )
            await background.start(_serve, page, host, port)
        if operator.targets:
            hooks = [job_notifications.hook(target) for target in operator.targets]
            background.start_soon(_notify, service.service_state, facade, hooks)
        return await service.run()


def _may_read(operator: Operator, *, is_loopback: bool) -> bool:
    """Return whether pages are shown without signing in."""
    chosen = operator.settings.status.anonymous_read
    return is_loopback and operator.token is None if chosen is None else chosen


async def _serve(
    page: applications.Starlette, host: str, port: int, *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    def on_listening(url: str) -> None:
        log.info("serving", url=url)
        task_status.started()

    await server.serve(page, host=host, port=port, on_listening=on_listening)


async def _notify(service_state: state.ServiceState, facade: ServiceFacade, hooks: Sequence[webhook.Webhook]) -> None:
    """Send a notification for every transition; when cancelled, the webhooks deliver what is queued."""
    notified = notifications.NotificationState()
    async with concurrency.background_tasks() as background:
        for hook in hooks:
            background.start_soon(hook.deliver_forever)
        while True:
            try:
                new, notified = notifications.diff(facade.snapshot(), notified)
            except Exception:  # a defect in a notification must not end the service
                log.exception("notice_crashed")
                new = ()
            for notification in new:
                for hook in hooks:
                    hook.enqueue(notification)
            await service_state.transitioned()


def _require_unchanged(before: Operator, after: Operator) -> None:
    """Raise errors.SettingsError if something changed that takes effect only at a start."""
    changed = {
        "journal.url": before.settings.journal_url != after.settings.journal_url,
        "status.listen": before.settings.status.listen != after.settings.status.listen,
        "status.anonymous_read": before.settings.status.anonymous_read != after.settings.status.anonymous_read,
        "the status token": _revealed(before.token) != _revealed(after.token),
        "notify": list(map(_target, before.targets)) != list(map(_target, after.targets)),
    }
    problems = [Problem(name, "it has changed, but is read only at the start") for name in changed if changed[name]]
    if problems:
        raise SettingsError(problems, remedy="Restart the service, or undo this change.")


def _target(target: secrets.NotificationTarget) -> tuple[object, ...]:
    return target.kind, target.url.reveal(), target.events, _revealed(target.routing_key)


def _revealed(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()
