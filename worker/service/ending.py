"""How everything ends: the operator's signal reaches whatever runs at that moment, and whatever would run next.

Invariant: after `stop` no run begins, and the present one sends nothing new. Neighbours: `composition` registers the
halt of every run, `supervision` listens for the signals.
"""

from collections.abc import Callable

import anyio

from worker.core import errors, ports
from worker.engine import halt as halt_


class Ending:
    """Whether the work is to end, and the halt of the run in progress. To be made inside the event loop."""

    def __init__(self) -> None:
        """Begin without an end in sight."""
        self.reason: errors.Stopped | None = None
        self._happened = anyio.Event()
        self._halt: halt_.Halt | None = None

    def halt(self, *, wake: Callable[[], None], clock: ports.Clock) -> halt_.Halt:
        """Make the halt of a run that begins; it is halted from the start where everything is to end."""
        self._halt = halt_.Halt(wake=wake, uptime=clock.uptime, worked=clock.worked)
        if self.reason is not None:
            self._halt.stop(self.reason)
        return self._halt

    def stop(self, reason: errors.Stopped) -> None:
        """End the present run, and let none begin: nothing new is sent, what is in flight may finish."""
        self.reason = self.reason or reason
        self._happened.set()
        if self._halt is not None:
            self._halt.stop(reason)

    def cut(self) -> None:
        """Drop what is still in flight after `stop`."""
        if self._halt is not None:
            self._halt.cut()

    async def wait(self) -> None:
        """Wait until everything is to end."""
        await self._happened.wait()
