"""Protocols for what the durable record knows beside its runs, and any process may look up or change.

Invariant: none of these methods needs to be the writer. Neighbours: `ports.RunHistory` includes them; `journal`
implements them, `cli` and `web` use them.
"""

import datetime
from collections.abc import Collection, Mapping
from typing import Protocol

from worker.core.model.identifiers import DriverId, FleetId


class NameRegister(Protocol):
    """What people are called, as the durable record knows it: only those whom a run was about."""

    async def names(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return the names of those of these drivers and fleets that are known, sorted by id."""
        ...

    async def fleets(self) -> Mapping[FleetId, str]:
        """Return the known fleets with their names, sorted by id."""
        ...

    async def drivers_named(self, text: str, *, limit: int) -> tuple[DriverId, ...]:
        """Return drivers whose name or e-mail address contains the text, or that it referred to; case does not count.

        Drivers whose name or address is exactly the text come alone.
        """
        ...

    async def forget(self, driver: DriverId, *, now: datetime.datetime) -> bool:
        """Erase a driver's name and e-mail addresses, and do not store them again.

        Returns whether no trace is left in the file; otherwise the writer's next run removes the last ones.
        """
        ...
