"""Why the service runs again, and when: reasons that come together are one run.

Invariant: a reason that comes while a run is under way is not lost, and leads to one more run. Neighbours: `loop` asks
what is next, watchers and requests bring reasons.
"""

import anyio

from worker.core.monitoring import status

Trigger = status.Trigger
_ORDER = tuple(Trigger)


class PendingTriggers:
    """The reasons that have come since the last run began."""

    def __init__(self) -> None:
        """Begin with none."""
        self._reasons: set[Trigger] = set()
        self._event = anyio.Event()

    def wake(self, reason: Trigger) -> None:
        """Ask for a run, the sooner the better."""
        self._reasons.add(reason)
        self._event.set()

    async def next(self, *, seconds: float, otherwise: Trigger) -> Trigger:
        """Wait for a reason, at most so many seconds; then `otherwise` is the reason. Forgets what it gives."""
        with anyio.move_on_after(max(seconds, 0)):
            await self._event.wait()
        reasons, self._reasons, self._event = self._reasons, set(), anyio.Event()
        return min(reasons, key=_ORDER.index, default=otherwise)
