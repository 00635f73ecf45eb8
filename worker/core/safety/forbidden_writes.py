"""Decides what a 403 to a write means: that Charge forbids this driver, all writes to this fleet, or all writes.

Invariants: as soon as one write is accepted, the key is not blamed; a fleet that forbids writes does not delay other
fleets. Neighbours: `engine.membership_writer` counts the answers and obeys.
"""

import collections
from collections.abc import Iterable

from worker.core.model.identifiers import FleetId

MAX_IN_A_ROW = 5
"""Number of 403s in a row, with no write accepted, from which the fleet or the key is blamed, not the drivers."""


class ForbiddenWrites:
    """The answers to the writes of one run."""

    def __init__(self, fleets: Iterable[FleetId] = ()) -> None:
        """Start without answers. `fleets` are all fleets that the run changes."""
        self._fleets = frozenset(fleets)
        self._writable: set[FleetId] = set()
        self._in_a_row: list[FleetId] = []
        self._of_fleet: collections.Counter[FleetId] = collections.Counter()

    def accept(self, fleet: FleetId) -> None:
        """Note that Charge accepted a write to a fleet."""
        self._writable.add(fleet)

    def fail(self, fleet: FleetId, *, forbidden: bool) -> None:
        """Note that Charge refused a write to a fleet, with 403 or otherwise."""
        self._in_a_row = [*self._in_a_row[-MAX_IN_A_ROW:], fleet] if forbidden else []
        self._of_fleet[fleet] = self._of_fleet[fleet] + 1 if forbidden else 0

    @property
    def blame_key(self) -> bool:
        """Return whether Charge forbids every write of the key.

        403s of one fleet alone do not show that while the run has other fleets to try.
        """
        fleets = frozenset(self._in_a_row)
        enough = len(self._in_a_row) >= MAX_IN_A_ROW
        return enough and not self._writable and (len(fleets) > 1 or fleets >= self._fleets)

    def blame_fleet(self, fleet: FleetId) -> bool:
        """Return whether Charge forbids writes to this fleet."""
        return fleet not in self._writable and self._of_fleet[fleet] >= MAX_IN_A_ROW
