"""SIGINT and SIGTERM: the first one drains, a second one or the deadline drops what is still in flight.

Invariant: what the work raises is raised as it is. Neighbours: `ending` is what the signals reach.
"""

import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import structlog
from anyio import abc

from worker.core import errors
from worker.engine import tasks
from worker.service import ending as ending_

log = structlog.get_logger()

Result = TypeVar("Result")


async def supervised(
    ending: ending_.Ending, work: Callable[[], Awaitable[Result]], *, drain_seconds: Callable[[], float]
) -> Result:
    """Do the work; the first SIGINT or SIGTERM drains it, a second one or `drain_seconds` cut what is in flight."""
    async with tasks.beside() as beside:
        await beside.start(_stop_on_signals, ending, drain_seconds)
        return await work()


async def _stop_on_signals(
    ending: ending_.Ending, drain_seconds: Callable[[], float], *, task_status: abc.TaskStatus[None]
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            name, drain = signal.Signals(number).name, drain_seconds()
            log.warning("stopping", signal=name, drain_seconds=drain)
            ending.stop(errors.Stopped(f"ended by {name}", exit_code=128 + number))
            with anyio.move_on_after(drain):
                async for _ in signals:
                    break
            ending.cut()
            return
