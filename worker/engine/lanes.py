"""Runs many small jobs side by side.

Invariant: at most so many at once, each job in one task from beginning to end; the first failure ends the others and
is raised as it is. Neighbours: `rosters` reads in lanes, `apply` writes in them.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

from worker.core import errors

SIDE_BY_SIDE = 32

Job = TypeVar("Job")


async def side_by_side(
    work: Callable[[Job], Awaitable[None]], jobs: Iterable[Job], *, limit: int = SIDE_BY_SIDE
) -> None:
    """Do `work` for every job, `limit` of them at a time, started in order."""
    waiting = iter(jobs)
    failures: list[errors.FleetSyncError] = []

    async def lane() -> None:
        for job in waiting:
            if failures:
                return
            try:
                await work(job)
            except errors.FleetSyncError as failure:  # raised below, out of the task group's wrapping
                failures.append(failure)
                tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for _ in range(limit):
            tasks.start_soon(lane)
    if failures:
        raise failures[0]
