"""Runs many jobs at a time, and background tasks beside a block of code.

Invariant: a foreseen failure comes out as itself, never inside an exception group. Neighbours: `driver_reader` reads
with `run_bounded`, `applier` writes with it; `cancellation` and `service` use `background_tasks`; `plan_builder`,
`reconciler` and `applier` pass long computations to a `Compute`.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

import anyio
import anyio.abc
import anyio.to_thread

from worker.core.model.errors import FleetSyncError

DEFAULT_CONCURRENCY = 32
"""Jobs at a time, unless the settings say otherwise."""

Job = TypeVar("Job")
Result = TypeVar("Result")


class Compute(Protocol):
    """Does work that only computes, on values that nothing changes meanwhile. It takes seconds for a large account."""

    async def __call__(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns."""
        ...


async def at_once(work: Callable[[], Result]) -> Result:
    """Do the work here, on the event loop: everything else waits meanwhile."""
    return work()


async def in_thread(work: Callable[[], Result]) -> Result:
    """Do the work in a thread, beside which the tasks of the process go on; it is never abandoned."""
    return await anyio.to_thread.run_sync(work)


async def run_bounded(
    work: Callable[[Job], Awaitable[object]], jobs: Iterable[Job], *, limit: int = DEFAULT_CONCURRENCY
) -> None:
    """Call `work` for every job, `limit` of them at a time, started in order. Raises the first failure."""
    waiting = iter(jobs)
    failures: list[FleetSyncError] = []

    async def lane() -> None:
        for job in waiting:
            if failures:
                return
            try:
                await work(job)
            except FleetSyncError as failure:  # raised below: a task group would wrap it
                failures.append(failure)
                tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for _ in range(limit):
            tasks.start_soon(lane)
    if failures:
        raise failures[0]


@contextlib.asynccontextmanager
async def background_tasks() -> AsyncIterator[anyio.abc.TaskGroup]:
    """Run background tasks for the duration of a block and cancel them when it exits. A failure is raised as it is."""
    failure: FleetSyncError | OSError | None = None
    try:
        async with anyio.create_task_group() as tasks:
            try:
                yield tasks
            except (FleetSyncError, OSError) as error:
                failure = error
            tasks.cancel_scope.cancel()
    except ExceptionGroup as group:  # of a task group; as for wrong usage that is found in the block
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from None
    if failure is not None:
        raise failure
