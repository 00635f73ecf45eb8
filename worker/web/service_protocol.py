"""What the HTTP side needs from the service, as a protocol.

Invariant: a page is made from one snapshot and the journal, and only `sync`, `approve`, `pause` and `resume` change
anything. Neighbours: `worker.service.app` implements this, `actions` calls what changes something, `live_updates` waits
for changes.
"""

from typing import Final, Protocol

from worker.core.model.identifiers import FleetId
from worker.core.model.pauses import Pause
from worker.core.model.ports import RunHistory
from worker.core.monitoring import status

MAX_FLEETS: Final = 200
"""Most fleets that a table, a list or the metrics show one by one: an account may have thousands."""


class Controls(Protocol):
    """What may be asked of an account wherever it runs."""

    def sync(self) -> None:
        """Request a run as soon as possible; requests that arrive before it begins share one run."""
        ...

    async def pause(self, pause: Pause) -> None:
        """Begin a pause. Raises errors.FleetSyncError if that cannot be recorded."""
        ...

    async def resume(self, *, by: str, fleet: FleetId | None) -> tuple[Pause, ...]:
        """End the pause of a fleet, or all, and return those that ended. Raises errors.FleetSyncError."""
        ...


class ServiceProtocol(Controls, Protocol):
    """The running service, as the HTTP side sees it."""

    @property
    def record(self) -> RunHistory:
        """Return the journal, for queries."""
        ...

    def snapshot(self) -> status.Status:
        """Return the present state."""
        ...

    async def changed(self) -> None:
        """Wait for the next change of the snapshot. Any number of tasks may wait at once."""
        ...

    def unready_reason(self) -> str:
        """Return why the service is not ready, or an empty text if it is."""
        ...

    async def approve(self, digest: str, *, by: str) -> None:
        """Approve the held changes of this plan. Raises errors.FleetSyncError if that cannot be recorded."""
        ...
