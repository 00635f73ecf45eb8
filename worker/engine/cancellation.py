"""Ends a run early: by the operator, by a rejected key, by a journal that cannot be written.

Invariant: after `stop` nothing new is sent; reads in flight are dropped, writes in flight may finish until `cut`. The
first reason stays. Neighbours: `pacing` and `sending` ask before each request, `service` stops on signals.
"""

import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterator

import anyio

from worker.core.model.errors import FleetSyncError, ProcessSuspended
from worker.engine import concurrency

LONGEST_PAUSE = 30.0
"""Seconds that a process may stand still between two signs of life, from the beginning of its reading on."""
_SLOWEST = 20.0
"""So many seconds may pass for each one that it works. To plan and journal a million changes is a minute's work, and a
busy machine lends a process a small share of itself."""
_PULSE = 1.0


class Cancellation:
    """A reason to stop, that everybody in a run sees at once, also while waiting."""

    def __init__(
        self,
        *,
        wake: Callable[[], None] = lambda: None,
        uptime: Callable[[], float] = anyio.current_time,
        cpu_time: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Start without a reason; `wake` is called when there is one.

        `uptime` gives seconds, `worked` those of the processor. The event loop's own do not pass while the machine
        sleeps.
        """
        self._wake = wake
        self._uptime = uptime
        self._worked = cpu_time
        self._event = anyio.Event()
        self._reads: set[anyio.CancelScope] = set()
        self._writes: set[anyio.CancelScope] = set()
        self._last_heartbeat = math.inf, 0.0
        self.reason: FleetSyncError | None = None

    def request_stop(self, reason: FleetSyncError) -> None:
        """Stop the run for this reason; a later one changes nothing."""
        self.reason = self.reason or reason
        self._event.set()
        self._wake()
        for scope in self._reads:
            scope.cancel()

    def heartbeat(self) -> None:
        """Notice that the process stood still for long: what it read before may be true no more."""
        (before, worked_before), (now, cpu_time) = self._last_heartbeat, (self._uptime(), self._worked())
        if now - before > LONGEST_PAUSE + _SLOWEST * (cpu_time - worked_before):
            self.request_stop(ProcessSuspended(f"this process stood still for {now - before:.0f} s"))
        self._last_heartbeat = now, cpu_time

    def abort_writes(self) -> None:
        """Drop the writes in flight too, without waiting for their answers."""
        for scope in self._writes:
            scope.cancel()

    def check(self) -> None:
        """Raise the reason where there is one."""
        if self.reason is not None:
            raise self.reason

    async def sleep(self, seconds: float) -> None:
        """Sleep, and raise the reason as soon as there is one."""
        with anyio.move_on_after(seconds):
            await self._event.wait()
        self.check()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Enclose what only reads: `stop` drops it, and the reason is raised. It may take long, but not stand still."""
        self.check()
        self._last_heartbeat = self._uptime(), self._worked()
        try:
            async with concurrency.background_tasks() as beside:
                beside.start_soon(self._pulse)
                with self._enclose(self._reads):
                    yield
        except FleetSyncError:
            self.heartbeat()
            self.check()  # the end of the run says more than what it made fail
            raise
        self.heartbeat()
        self.check()

    async def _pulse(self) -> None:
        """Beat while there is nothing to do but wait: only a process that stands still misses it."""
        while True:
            await anyio.sleep(_PULSE)
            self.heartbeat()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Enclose what writes: only `cut` drops it."""
        with self._enclose(self._writes):
            yield

    @contextlib.contextmanager
    def _enclose(self, scopes: set[anyio.CancelScope]) -> Iterator[anyio.CancelScope]:
        with anyio.CancelScope() as scope:
            scopes.add(scope)
            try:
                yield scope
            finally:
                scopes.discard(scope)
