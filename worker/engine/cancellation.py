"""Ends a run early: on a signal, on a rejected key, on a journal that cannot be written, after a suspended process.

Invariant: after `request_stop` nothing new is sent; reads in flight are dropped, and writes in flight may finish until
`abort_writes`. The first reason stays. Neighbours: `rate_limiter` and `request_executor` check this before each
request, `service.shutdown` calls it on signals.
"""

import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterator

import anyio

from worker.core.model.errors import FleetSyncError, ProcessSuspended
from worker.engine import concurrency

MAX_SILENCE = 30.0
"""Seconds that may pass between two heartbeats, from the start of the reading on."""

_SECONDS_PER_CPU_SECOND = 20.0
"""More seconds that may pass for each second of CPU time. Planning and journalling a million changes takes a minute of
work, and a busy machine gives a process only a small share of itself."""

_HEARTBEAT_INTERVAL = 1.0
"""Seconds between two heartbeats while a run waits for answers."""


class Cancellation:
    """The reason to stop a run. Every part of the run notices it at once, even while it waits."""

    def __init__(
        self,
        *,
        wake: Callable[[], None] = lambda: None,
        uptime: Callable[[], float] = anyio.current_time,
        cpu_time: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Start without a reason. `wake` is called when there is one.

        `uptime` returns seconds that pass even while the machine sleeps, unlike the event loop's own; `cpu_time`
        returns the process's CPU seconds.
        """
        self._wake = wake
        self._uptime = uptime
        self._cpu_time = cpu_time
        self._requested = anyio.Event()
        self._reads: set[anyio.CancelScope] = set()
        self._writes: set[anyio.CancelScope] = set()
        self._last_uptime, self._last_cpu_time = math.inf, 0.0
        self.reason: FleetSyncError | None = None

    def request_stop(self, reason: FleetSyncError) -> None:
        """Stop the run for this reason, unless it has one already."""
        self.reason = self.reason or reason
        self._requested.set()
        self._wake()
        for scope in self._reads:
            scope.cancel()

    def heartbeat(self) -> None:
        """Stop the run if the process was suspended since the last heartbeat: what was read may no longer be true."""
        uptime, cpu_time = self._uptime(), self._cpu_time()
        silence = uptime - self._last_uptime
        allowed = MAX_SILENCE + _SECONDS_PER_CPU_SECOND * (cpu_time - self._last_cpu_time)
        if silence > allowed:
            self.request_stop(ProcessSuspended(f"this process was suspended for {silence:.0f} s"))
        self._last_uptime, self._last_cpu_time = uptime, cpu_time

    def abort_writes(self) -> None:
        """Drop the writes in flight too, without waiting for their answers."""
        for scope in self._writes:
            scope.cancel()

    def check(self) -> None:
        """Raise the reason, if there is one."""
        if self.reason is not None:
            raise self.reason

    async def sleep(self, seconds: float) -> None:
        """Sleep, and raise the reason as soon as there is one."""
        with anyio.move_on_after(seconds):
            await self._requested.wait()
        self.check()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Enclose code that only reads: a stop drops it, and the reason is raised. It may take long, but not hang."""
        self.check()
        self._last_uptime, self._last_cpu_time = self._uptime(), self._cpu_time()
        try:
            async with concurrency.background_tasks() as background:
                background.start_soon(self.send_heartbeats)
                with self._enclose(self._reads):
                    yield
        except FleetSyncError:
            self.heartbeat()
            self.check()  # the reason of the stop explains more than the error that it caused
            raise
        self.heartbeat()
        self.check()

    async def send_heartbeats(self) -> None:
        """Send heartbeats until cancelled, so that only a suspended process misses one."""
        while True:
            await anyio.sleep(_HEARTBEAT_INTERVAL)
            self.heartbeat()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Enclose code that writes: only `abort_writes` drops it."""
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
