"""A task group for work that has company: what runs beside it ends with it.

Invariant: a foreseen failure of the work comes out as it is, in no exception group. Neighbours: `halt` and `service`
have company for their work, `lanes` has many jobs that are all alike.
"""

import contextlib
from collections.abc import AsyncIterator

import anyio
import anyio.abc

from worker.core import errors


@contextlib.asynccontextmanager
async def beside() -> AsyncIterator[anyio.abc.TaskGroup]:
    """Give a task group for what runs beside the block, and is cancelled at its end."""
    failure: errors.FleetSyncError | OSError | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except (errors.FleetSyncError, OSError) as error:
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
