"""Protocols for what the durable record knows beside its runs, and any process may look up or change.

Invariant: none of these methods needs to be the writer. Neighbours: `ports.RunHistory` includes them; `journal`
implements them, `cli` and `web` use them.
"""

import datetime
from collections.abc import Collection, Mapping
from typing import Protocol

from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.pauses import Pause


class NameRegister(Protocol):
    """What people are called, as the durable record knows it: only those whom a run was about."""

    async def names(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return the names of those of these drivers and fleets that are known, sorted by id."""
        ...

    async def fleets(self) -> Mapping[FleetId, str]:
        """Return the known fleets with their names, sorted by id."""
        ...

    async def drivers_named(self, text: str, *, limit: int) -> tuple[DriverId, ...]:
        """Return drivers whose name or e-mail address contains the text; case does not count.

        If the text is the whole name or address of a driver, or once resolved to one, only those are returned.
        """
        ...

    async def forget(self, driver: DriverId, *, now: datetime.datetime) -> bool:
        """Erase a driver's name and e-mail addresses, and do not store them again.

        Returns whether no trace is left in the file; otherwise the writer's next run removes the last ones.
        """
        ...


class PauseRegister(Protocol):
    """Pauses, as the durable record keeps them: also those that have ended."""

    async def pauses(self, *, now: datetime.datetime) -> tuple[Pause, ...]:
        """Return the pauses in force, the oldest first."""
        ...

    async def pause(self, pause: Pause) -> None:
        """Begin a pause. It replaces the one of the same fleet, or of all fleets, that is in force."""
        ...

    async def resume(self, *, now: datetime.datetime, by: str, fleet: FleetId | None = None) -> tuple[Pause, ...]:
        """End the pause of a fleet, or all pauses, and return those that were in force."""
        ...


class ChangeStatistics(Protocol):
    """Counts of changes, as the durable record knows them."""

    async def changes_a_day(self, *, since: datetime.datetime) -> Mapping[datetime.date, Mapping[str, int]]:
        """Return how many changes had each outcome, by the day (UTC) on which their run started, since then.

        Leaves out days without a change.
        """
        ...
