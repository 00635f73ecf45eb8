"""Asks whether this machine's clock can be trusted, in one run and at any moment of it.

Invariant: assessed anew each time, because a clock may be set during a run; what Charge stated is compared by the
uptime, which cannot be set. Neighbours: `core.safety.clock_trust` decides; `plan_builder` restricts plans,
`membership_writer` asks before each attempt, `reconciler` before it deletes old runs.
"""

import datetime

from worker.core.model.actual import TimeSource
from worker.core.model.errors import ChangeWithheld, ClockNotTrusted
from worker.core.model.plan import Change
from worker.core.model.ports import Clock, Journal
from worker.core.safety import clock_trust


class ClockCheck:
    """What is known about the clock in one run."""

    def __init__(self, *, charge: TimeSource, journal: Journal, clock: Clock) -> None:
        """Note what the clocks show at the start of the run."""
        self._charge = charge
        self._journal = journal
        self._clock = clock
        self._began = self._present()
        self._newest_entry: datetime.datetime | None = None

    async def learn(self) -> None:
        """Ask the journal for its newest entry. Call this after the run has read Charge, before any change."""
        self._newest_entry = await self._journal.newest_entry()

    def assess(self) -> clock_trust.Assessment:
        """Compare the clock with Charge's as of now."""
        return clock_trust.assess(
            self._present(),
            began=self._began,
            # Only what was stated in this run: a suspended machine does not count its uptime everywhere.
            stated=[each for each in self._charge.stated_times() if each.uptime >= self._began.uptime],
            newest_entry=self._newest_entry,
        )

    def check(self, change: Change, *, dated: bool) -> None:
        """Raise errors.ChangeWithheld if the change must not be made by this clock; `dated` if its rows have dates."""
        if clock_trust.is_forbidden(change, dated=dated) and not (clock := self.assess()).trusted:
            raise ChangeWithheld(clock.reason, code=ClockNotTrusted.code)

    def _present(self) -> clock_trust.ClockReading:
        return clock_trust.ClockReading(self._clock.now(), self._clock.uptime())
