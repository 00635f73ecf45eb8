"""Collects the reasons for the next run: triggers that arrive together lead to one run.

Invariant: a trigger that arrives during a run is kept and leads to one more run. Neighbours: `scheduler` waits for the
next trigger; source watchers, signals and HTTP requests bring them.
"""

import anyio

from worker.core.monitoring import status

Trigger = status.Trigger
_ORDER = tuple(Trigger)


class PendingTriggers:
    """The triggers that have arrived since the last run began."""

    def __init__(self) -> None:
        """Start with no trigger."""
        self._pending: set[Trigger] = set()
        self._event = anyio.Event()

    def wake(self, trigger: Trigger) -> None:
        """Request a run as soon as possible."""
        self._pending.add(trigger)
        self._event.set()

    async def next(self, *, seconds: float, otherwise: Trigger) -> Trigger:
        """Wait at most `seconds` for a trigger; return and clear it, or return `otherwise` if none arrives.

        Of several triggers, returns the first in the order of `status.Trigger`.
        """
        with anyio.move_on_after(max(seconds, 0)):
            await self._event.wait()
        pending, self._pending, self._event = self._pending, set(), anyio.Event()
        return min(pending, key=_ORDER.index, default=otherwise)
