"""An account of a cluster as the page of one worker shows it: as its last run there left it.

Invariant: what is requested here takes effect wherever the account runs next. Neighbours: `cluster_worker` keeps one
for each account that it ran lately, `cluster_run` is what it shows.
"""

from collections.abc import Callable

from worker.core.model.identifiers import FleetId
from worker.core.model.pauses import Pause
from worker.core.model.ports import Clock, RunHistory
from worker.core.monitoring import status
from worker.core.safety import guard
from worker.service import composition, state


class ClusterFacade:
    """Implements web.service_protocol.ServiceProtocol. Create it inside the event loop."""

    def __init__(self, record: RunHistory, *, clock: Clock, request_run: Callable[[], None]) -> None:
        """Take the journal of the account, for readers, and what makes a run due now."""
        self.state = state.ServiceState(clock=clock)
        self.account: composition.AccountRuntime | None = None
        self.record = record
        self._clock = clock
        self._request_run = request_run

    def snapshot(self) -> status.Status:
        """Return the present state."""
        if self.account is None:
            raise RuntimeError("there was no run yet")
        return self.state.snapshot(self.account)

    async def changed(self) -> None:
        """Wait for the next change that is made here."""
        await self.state.changed()

    def unready_reason(self) -> str:
        """Return why the last run failed, or an empty text."""
        return self.state.unready_reason()

    def sync(self) -> None:
        """Request a run as soon as possible."""
        self._request_run()

    async def approve(self, digest: str, *, by: str) -> None:
        """Approve the held changes of this plan; the database makes a run due. Raises errors.FleetSyncError."""
        now = self._clock.now()
        await self.record.approve(digest, now=now, until=now + guard.APPROVAL_LIFETIME, by=by)

    async def pause(self, pause: Pause) -> None:
        """Begin a pause; the database makes a run due, which shows it. Raises errors.FleetSyncError."""
        await self.record.pause(pause)

    async def resume(self, *, by: str, fleet: FleetId | None) -> tuple[Pause, ...]:
        """End the pause of a fleet, or all; the database makes a run due. Raises errors.FleetSyncError."""
        return await self.record.resume(now=self._clock.now(), by=by, fleet=fleet)
