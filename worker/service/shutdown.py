"""Ends the process: a signal reaches the run in progress, and every run that would come after it.

Invariants: after `request_stop` no run begins, and the present one sends nothing new; the first SIGINT or SIGTERM
drains, a second one or the deadline aborts writes in flight. Neighbours: `composition` registers the cancellation of
every run.
"""

import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import structlog
from anyio import abc

from worker.core.model.errors import Stopped
from worker.core.model.ports import Clock
from worker.engine import cancellation, concurrency


class Shutdown:
    """Whether the work is to end, and the halt of the run in progress. To be made inside the event loop."""

    def __init__(self) -> None:
        """Begin without an end in sight."""
        self.reason: Stopped | None = None
        self._happened = anyio.Event()
        self._cancellation: cancellation.Cancellation | None = None

    def new_cancellation(self, *, wake: Callable[[], None], clock: Clock) -> cancellation.Cancellation:
        """Make the halt of a run that begins; it is halted from the start where everything is to end."""
        self._cancellation = cancellation.Cancellation(wake=wake, uptime=clock.uptime, cpu_time=clock.cpu_time)
        if self.reason is not None:
            self._cancellation.request_stop(self.reason)
        return self._cancellation

    def request_stop(self, reason: Stopped) -> None:
        """End the present run, and let none begin: nothing new is sent, what is in flight may finish."""
        self.reason = self.reason or reason
        self._happened.set()
        if self._cancellation is not None:
            self._cancellation.request_stop(reason)

    def abort_writes(self) -> None:
        """Drop what is still in flight after `stop`."""
        if self._cancellation is not None:
            self._cancellation.abort_writes()

    async def wait(self) -> None:
        """Wait until everything is to end."""
        await self._happened.wait()


log = structlog.get_logger()

Result = TypeVar("Result")


async def run_until_signal(
    process_shutdown: Shutdown, work: Callable[[], Awaitable[Result]], *, drain_seconds: Callable[[], float]
) -> Result:
    """Do the work; the first SIGINT or SIGTERM drains it, a second one or `drain_seconds` cut what is in flight."""
    async with concurrency.background_tasks() as beside:
        await beside.start(_stop_on_signals, process_shutdown, drain_seconds)
        return await work()


async def _stop_on_signals(
    process_shutdown: Shutdown, drain_seconds: Callable[[], float], *, task_status: abc.TaskStatus[None]
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            name, drain = signal.Signals(number).name, drain_seconds()
            log.warning("stopping", signal=name, drain_seconds=drain)
            process_shutdown.request_stop(Stopped(f"ended by {name}", exit_code=128 + number))
            with anyio.move_on_after(drain):
                async for _ in signals:
                    break
            process_shutdown.abort_writes()
            return
