"""The two sessions of a durable journal, each with a thread beside the event loop.

Invariants: a method that writes returns when its commit is on disk, and a commit that was begun is finished, whatever
is cancelled. People who look things up never wait for a run, nor a run for them: they have a session and a thread of
their own. Neighbours: `session` and `fenced_session` are the sessions; `sql_journal`, `sql_history` and `sql_names`
inherit this.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from worker.core.model.ports import Clock
from worker.journal import connection, session

if TYPE_CHECKING:
    from worker.journal import fenced_session  # imports psycopg, which only PostgreSQL needs

Result = TypeVar("Result")


class SqlBase:
    """How each part of the durable journal reads and writes."""

    def _use(
        self,
        writer: "session.WriterSession | fenced_session.FencedSession",
        reader: "session.Session | fenced_session.SharedSession",
        clock: Clock,
    ) -> None:
        self._now = clock.now
        self._writer, self._reader = writer, reader
        self._writing, self._reading = anyio.CapacityLimiter(1), anyio.CapacityLimiter(1)
        self._checking = anyio.Lock()

    async def aclose(self) -> None:
        """Close the journal and release the lock: at any time, any number of times."""
        with anyio.CancelScope(shield=True):
            await self._run(self._reader.close, limiter=self._reading)
            await self._run(self._writer.close)

    async def _ask(self, statement: str, parameters: connection.Row | None = None) -> Sequence[connection.Row]:
        """Return the rows of a query, which a run asks: in the session that writes, if there is a journal."""
        return await self._run(lambda: self._writer.read(lambda database: database.query(statement, parameters))) or ()

    async def _write(self, work: session.Work[Result]) -> Result:
        """Write as the one writer."""
        return await self._run(lambda: self._writer.write(work))

    async def _look_up(self, work: session.Work[Result]) -> Result | None:
        """Read in the session of people, if there is a journal."""
        return await self._run(lambda: self._reader.read(work), limiter=self._reading)

    async def _look_up_rows(self, statement: str, parameters: connection.Row | None = None) -> Sequence[connection.Row]:
        """Return the rows of a query in the session of people, if there is a journal."""
        return await self._look_up(lambda database: database.query(statement, parameters)) or ()

    async def _write_unlocked(self, work: session.Work[Result]) -> Result:
        """Write in the session of people, what any process may."""
        return await self._run(lambda: self._reader.write_unlocked(work), limiter=self._reading)

    async def _run(self, work: Callable[[], Result], *, limiter: anyio.CapacityLimiter | None = None) -> Result:
        # Not abandoned on cancellation: a commit that was begun is finished before the cancellation goes on.
        return await anyio.to_thread.run_sync(work, limiter=limiter or self._writing)
