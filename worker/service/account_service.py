"""One account of the service: its loop with journal, state, notifications, and what the page needs of it.

Invariant: settings that are read again replace the present ones whole or not at all. Neighbours: `scheduler` is the
loop, `app` runs one account in a process, `account_supervisor` many.
"""

import dataclasses
from collections.abc import Callable, Sequence

import anyio
import structlog
from anyio import to_thread

from worker.core.model.identifiers import FleetId
from worker.core.model.pauses import Pause
from worker.core.model.ports import Clock, RunHistory
from worker.core.model.secret import Secret
from worker.core.monitoring import notifications, status
from worker.core.safety import guard
from worker.engine import concurrency
from worker.notifications import webhook
from worker.service import composition, job_notifications, scheduler, shutdown, state
from worker.settings import model, secrets
from worker.web import metrics

log = structlog.get_logger()


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


ReadOperator = Callable[[], Operator]


class ServiceFacade:
    """Implements web.service_protocol.ServiceProtocol."""

    def __init__(self, service: scheduler.Service, record: RunHistory, clock: Clock) -> None:
        """Wrap the running service. `record` is the journal on a connection of its own: readers delay no run."""
        self._service = service
        self.record = record
        self._clock = clock

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
        await self.record.approve(digest, now=now, until=now + guard.APPROVAL_LIFETIME, by=by)
        self.sync()

    async def pause(self, pause: Pause) -> None:
        """Begin a pause and request a run, which shows it. Raises errors.FleetSyncError."""
        await self.record.pause(pause)
        await self._service.check_pauses()

    async def resume(self, *, by: str, fleet: FleetId | None) -> tuple[Pause, ...]:
        """End the pause of a fleet, or all, and request a run. Raises errors.FleetSyncError."""
        ended = await self.record.resume(now=self._clock.now(), by=by, fleet=fleet)
        await self._service.check_pauses()
        return ended


class AccountService:
    """An account with all that keeps it in sync. Create it inside the event loop, and close it in the end."""

    def __init__(
        self,
        operator: Operator,
        *,
        read_operator: ReadOperator,
        clock: Clock,
        gauges: metrics.Metrics,
        retry_spread: float = 0.0,
    ) -> None:
        """Take what the operator configured, and `read_operator`, which reads it again or raises errors.SettingsError.

        `retry_spread` is the fraction by which pauses after failed runs may be shorter. Raises errors.FleetSyncError.
        """
        self.operator = operator
        self._read_operator = read_operator
        self._observe = gauges.observe_request
        self.state = state.ServiceState(clock=clock)
        self.shutdown = shutdown.Shutdown()
        self._journal = composition.journal(operator.settings, clock=clock)
        self._readers_journal = composition.journal(operator.settings, clock=clock)
        first = self._account(operator)
        first.adopt_journal(allowed=operator.adopt_journal)
        self.service = scheduler.Service(
            first,
            reload=self._reload,
            service_state=self.state,
            clock=clock,
            on_run_end=gauges.observe_run,
            retry_spread=retry_spread,
        )
        self.facade = ServiceFacade(self.service, self._readers_journal, clock)

    @property
    def drain_seconds(self) -> float:
        """Return how long writes in flight may take to finish."""
        return self.service.account.settings.sync.drain_seconds

    async def run(self) -> int:
        """Run the loop until the shutdown is requested, with notifications in the background; return the exit code."""
        async with concurrency.background_tasks() as background:
            if self.operator.targets:
                hooks = [job_notifications.hook(target) for target in self.operator.targets]
                background.start_soon(_notify, self.state, self.facade, hooks)
            return await self.service.run()

    async def aclose(self) -> None:
        """Close the connections and the journal."""
        with anyio.CancelScope(shield=True):
            await self.service.account.aclose()
            await self._readers_journal.aclose()
            await self._journal.aclose()

    async def _reload(self) -> composition.AccountRuntime:
        fresh = await to_thread.run_sync(self._read_operator)
        return self._account(fresh, before=self.service.account)

    def _account(self, of: Operator, *, before: composition.AccountRuntime | None = None) -> composition.AccountRuntime:
        return composition.AccountRuntime(
            settings=of.settings,
            credentials=of.credentials,
            journal=self._journal,
            process_shutdown=self.shutdown,
            progress=self.state,
            observe=lambda operation, code, seconds: self._observe(operation, code, seconds=seconds),
            before=before,
        )


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


def needs_restart(before: Operator, after: Operator) -> bool:
    """Return whether something changed that an account uses only from its start: its journal, or its notifications."""
    return before.settings.journal_url != after.settings.journal_url or before.targets != after.targets
