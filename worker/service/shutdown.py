"""Stops the process on a signal: ends the run in progress and prevents the next one.

Invariants: after `request_stop` no run begins and the present run sends nothing new. The first SIGINT or SIGTERM, and
in a job SIGHUP, drains writes in flight; a second SIGINT or SIGTERM, or the drain deadline, aborts them. Neighbours:
`composition` asks for the cancellation of every run; `scheduler` waits for the shutdown.
"""

import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import anyio
import structlog
from anyio import abc

from worker.core.model.errors import Stopped
from worker.core.model.ports import Clock
from worker.engine import cancellation, concurrency

log = structlog.get_logger()

Result = TypeVar("Result")


class Shutdown:
    """The state of the shutdown, and the cancellation of the run in progress. Create it inside the event loop."""

    def __init__(self) -> None:
        """Start with no shutdown requested."""
        self.reason: Stopped | None = None
        self._requested, self._aborted = anyio.Event(), anyio.Event()
        self._cancellation: cancellation.Cancellation | None = None

    def new_cancellation(self, *, wake: Callable[[], None], clock: Clock) -> cancellation.Cancellation:
        """Return the cancellation for a new run; it is already stopped if shutdown has been requested."""
        self._cancellation = cancellation.Cancellation(wake=wake, uptime=clock.uptime, cpu_time=clock.cpu_time)
        if self.reason is not None:
            self._cancellation.request_stop(self.reason)
        return self._cancellation

    def request_stop(self, reason: Stopped) -> None:
        """Stop the present run and all later ones: nothing new is sent, writes in flight may finish.

        The first reason is kept.
        """
        self.reason = self.reason or reason
        self._requested.set()
        if self._cancellation is not None:
            self._cancellation.request_stop(reason)

    def abort_writes(self) -> None:
        """Abort writes that are still in flight after `request_stop`."""
        self._aborted.set()
        if self._cancellation is not None:
            self._cancellation.abort_writes()

    async def wait(self) -> None:
        """Wait until a stop is requested."""
        await self._requested.wait()

    async def unless_aborted(self, work: Callable[[], Awaitable[object]]) -> None:
        """Await `work` that follows a run, and cancel it when writes in flight are aborted."""
        with anyio.CancelScope() as scope:
            async with concurrency.background_tasks() as background:
                background.start_soon(self._cancel_when_aborted, scope)
                await work()

    async def _cancel_when_aborted(self, scope: anyio.CancelScope) -> None:
        await self._aborted.wait()
        scope.cancel()


class Stoppable(Protocol):
    """What a signal ends: one account, or all."""

    def request_stop(self, reason: Stopped) -> None:
        """Send nothing new; writes in flight may finish."""
        ...

    def abort_writes(self) -> None:
        """Abort writes that are still in flight."""
        ...


async def run_until_signal(
    process_shutdown: Stoppable,
    work: Callable[[], Awaitable[Result]],
    *,
    drain_seconds: Callable[[], float],
    hangup: bool = False,
) -> Result:
    """Await `work`; the first SIGINT or SIGTERM drains it, a second one or `drain_seconds` aborts writes in flight.

    With `hangup`, SIGHUP drains it too, unless the process ignores SIGHUP, as under nohup.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hangup and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    async with concurrency.background_tasks() as background:
        await background.start(_stop_on_signals, process_shutdown, drain_seconds, numbers)
        return await work()


async def _stop_on_signals(
    process_shutdown: Stoppable,
    drain_seconds: Callable[[], float],
    numbers: Sequence[signal.Signals],
    *,
    task_status: abc.TaskStatus[None],
) -> None:
    with anyio.open_signal_receiver(*numbers) as signals:
        task_status.started()
        async for number in signals:
            name, drain = signal.Signals(number).name, drain_seconds()
            log.warning("stopping", signal=name, drain_seconds=drain)
            process_shutdown.request_stop(Stopped(f"ended by {name}", exit_code=128 + number))
            with anyio.move_on_after(drain):
                async for again in signals:
                    if again != signal.SIGHUP:  # the kernel and the shell may both send one
                        break
            process_shutdown.abort_writes()
            return
