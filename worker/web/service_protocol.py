"""What the HTTP side needs of the service, as a protocol; `worker.service` implements it, and the tests fake it.

Invariant: a page is made of one snapshot and of the journal's record, and changes nothing but by `sync` and `approve`.
Neighbours: `app` puts the pages together, `orders` calls what changes something, `feed` waits for changes.
"""

from typing import Final, Protocol

from worker.core.model.ports import RunHistory
from worker.core.monitoring import status

MOST_FLEETS: Final = 200
"""Fleets that are told one by one, in a table, a list to choose from, or the metrics: an account may have thousands."""


class ServiceProtocol(Protocol):
    """The running service, as it lets itself be watched and asked."""

    @property
    def record(self) -> RunHistory:
        """Give the journal, to look things up in."""
        ...

    def snapshot(self) -> status.Status:
        """Give a fresh snapshot."""
        ...

    async def changed(self) -> None:
        """Return when the snapshot changed in a way worth showing; any number of tasks may wait side by side."""
        ...

    def ready(self) -> str:
        """Give the reason why the service is not ready, or nothing when it is."""
        ...

    def sync(self) -> None:
        """Reconcile soon; requests that come before that come to one run."""
        ...

    async def approve(self, digest: str) -> None:
        """Allow the held changes of this plan. Raises errors.FleetSyncError where that cannot be written down."""
        ...
