"""Clocks that follow the event loop, so that dates and delays agree on virtual time.

Neighbours: `tests.support.harness` passes them to the client, the reconciler and the sandbox.
"""

import datetime

import anyio

NOON = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC)


class Wall:
    """Implements ports.Clock: starts at noon of a fixed day and follows the event loop.

    A machine whose clock is `ahead` (or behind) sees another time; `seconds` is the right one, as a server has it.
    """

    def __init__(self) -> None:
        """Start at noon. Must be called inside the event loop."""
        self._start = anyio.current_time()
        self.ahead = datetime.timedelta()

    def now(self) -> datetime.datetime:
        """Return the time that the machine shows."""
        return self._right() + self.ahead

    def _right(self) -> datetime.datetime:
        return NOON + datetime.timedelta(seconds=anyio.current_time() - self._start)

    def uptime(self) -> float:
        """Return the event loop's time in seconds."""
        return anyio.current_time()

    def cpu_time(self) -> float:
        """Return 0: work takes no time on virtual time."""
        return 0.0

    def seconds(self) -> float:
        """Return the right time in seconds since 1970."""
        return self._right().timestamp()


class Still:
    """Implements ports.Clock: always noon."""

    def now(self) -> datetime.datetime:
        """Return noon."""
        return NOON

    def uptime(self) -> float:
        """Return a constant."""
        return 0.0

    cpu_time = uptime
