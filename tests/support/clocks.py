"""A time of day that follows the event loop's clock, so that dates and pauses agree on virtual time.

Neighbours: `tests.support.harness` gives it to the client, the cycle and the sandbox.
"""

import datetime

import anyio

NOON = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC)


class Wall:
    """Implements ports.Clock: noon of a certain day when it is made, and from then on what the event loop says."""

    def __init__(self) -> None:
        """Start at noon; to be made inside the event loop."""
        self._start = anyio.current_time()

    def now(self) -> datetime.datetime:
        """Give the present moment."""
        return NOON + datetime.timedelta(seconds=anyio.current_time() - self._start)

    def uptime(self) -> float:
        """Give the event loop's seconds."""
        return anyio.current_time()

    def cpu_time(self) -> float:
        """Give nothing: on virtual time no work takes any."""
        return 0.0

    def seconds(self) -> float:
        """Give the present moment in seconds since 1970."""
        return self.now().timestamp()


class Still:
    """Implements ports.Clock: it is always noon."""

    def now(self) -> datetime.datetime:
        """Give noon."""
        return NOON

    def uptime(self) -> float:
        """Give the same moment again."""
        return 0.0

    cpu_time = uptime
