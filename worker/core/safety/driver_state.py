"""Tracks what a run knows about one driver, so that every reply and reading is compared with all that is wanted.

Invariants: the newest reply or reading decides; a membership is repaired only if a reading of this run has shown it and
a later one no longer does, and at most once for each driver and run. Neighbours: `engine.driver_lane` feeds it the
replies, `engine.verification` the readings after the last write.
"""

from collections.abc import Iterable

from worker.core.model.identifiers import FleetId
from worker.core.model.plan import Change, ConcernedDriver


class DriverState:
    """One driver during one run. `wanted` are the fleets in which the sources want the driver."""

    def __init__(
        self,
        concerned: ConcernedDriver,
        *,
        excused: Iterable[FleetId] = (),
        enforced: frozenset[FleetId] = frozenset(),
    ) -> None:
        """Start from this run's reading of the driver.

        `excused` are wanted fleets whose attach is held or postponed: the report says so already. `enforced` are fleets
        in which only wanted drivers may be. Where this run saw the driver there, the plan says what becomes of that.
        """
        self.wanted = concerned.wanted
        self.latest = concerned.seen
        """The driver's fleets as the newest reply or reading shows them."""
        self._shown = concerned.seen & concerned.wanted
        self._excused = frozenset(excused)
        self._forbidden = enforced - concerned.seen - concerned.wanted
        self._repaired = False
        self.exists = True
        self.is_current = True
        """Whether a reply or reading is newer than the last attempt to write."""
        self.is_read = True
        """Whether a reading is newer than the last attempt to write."""

    def mark_written(self) -> None:
        """Note that a write is being sent: what was known before proves nothing any more."""
        self.is_current = self.is_read = False

    def add_reply(self, fleets: frozenset[FleetId]) -> None:
        """Take the driver's fleets from the reply to a write."""
        self.latest, self.is_current = fleets, True

    def add_reading(self, fleets: frozenset[FleetId]) -> None:
        """Take the driver's fleets from a GET or a listing."""
        self.latest = fleets
        self.is_current = self.is_read = True
        self._shown |= fleets & self.wanted

    def mark_deleted(self) -> None:
        """Note that the driver no longer exists."""
        self.exists = False
        self.latest = frozenset()
        self.is_current = self.is_read = True

    def excuse(self, fleet: FleetId) -> None:
        """Note that an attach was not made: its outcome says so, and its absence is not repaired."""
        self._excused |= {fleet}

    def shows(self, change: Change) -> bool:
        """Return whether the newest reply or reading shows a change of the driver as done."""
        return change.done_in(self.latest)

    @property
    def in_wanted_fleet(self) -> bool:
        """Return whether the newest reply or reading shows the driver in any fleet that the sources want."""
        return bool(self.latest & self.wanted)

    @property
    def missing(self) -> list[FleetId]:
        """Return the wanted fleets that the newest reply or reading does not show, without the excused ones."""
        return self.missing_in(self.latest)

    def missing_in(self, fleets: frozenset[FleetId]) -> list[FleetId]:
        """Return the wanted fleets that are not among these, without the excused ones."""
        return sorted(self.wanted - fleets - self._excused)

    def unexpected_in(self, fleets: frozenset[FleetId]) -> list[FleetId]:
        """Return those of these fleets that the sources do not want, and that this run did not see at first."""
        return sorted(fleets & self._forbidden)

    def take_lost(self) -> list[FleetId]:
        """Return the memberships to repair, the first time there are any."""
        lost = sorted(self._shown - self.latest - self._excused)
        if not lost or self._repaired or not self.exists:
            return []
        self._repaired = True
        return lost
