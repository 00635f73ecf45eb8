"""Decides what answers of 403 to writes mean: that Charge forbids one driver, one fleet, or every write of the key.

Invariant: a key that may write to any fleet is never to blame, and a fleet that forbids writes keeps no other fleet
waiting. Neighbours: `engine.membership_writer` counts the answers and obeys.
"""

import collections
from collections.abc import Iterable

from worker.core.model.identifiers import FleetId

MOST = 5
"""Answers of 403 in a row, with no write accepted, after which it is not about one driver any more."""


class ForbiddenWrites:
    """The answers to the writes of one run."""

    def __init__(self, fleets: Iterable[FleetId] = ()) -> None:
        """Start without an answer. `fleets` are those that the run changes."""
        self._fleets = frozenset(fleets)
        self._writable: set[FleetId] = set()
        self._in_a_row: list[FleetId] = []
        self._of_fleet: collections.Counter[FleetId] = collections.Counter()

    def accept(self, fleet: FleetId) -> None:
        """Note that Charge accepted a write to a fleet."""
        self._writable.add(fleet)

    def fail(self, fleet: FleetId, *, forbidden: bool) -> None:
        """Note that Charge refused a write to a fleet, with 403 or otherwise."""
        self._in_a_row = [*self._in_a_row[-MOST:], fleet] if forbidden else []
        self._of_fleet[fleet] = self._of_fleet[fleet] + 1 if forbidden else 0

    @property
    def blame_key(self) -> bool:
        """Return whether the key may write nothing at all: no other fleet of the run may show that it may."""
        fleets = frozenset(self._in_a_row)
        return not self._writable and len(self._in_a_row) >= MOST and (len(fleets) > 1 or fleets >= self._fleets)

    def blame_fleet(self, fleet: FleetId) -> bool:
        """Return whether Charge forbids writes to this fleet."""
        return fleet not in self._writable and self._of_fleet[fleet] >= MOST
