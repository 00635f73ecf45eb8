"""Pauses, in the durable journal.

Invariant: any process may begin and end a pause; what has ended stays in the record. Neighbours: `sql_journal` inherits
this, `queries` has the statements.
"""

import abc
import datetime
from collections.abc import Callable
from typing import TypeVar

import anyio

from worker.core.model.identifiers import FleetId
from worker.core.model.pauses import Pause
from worker.core.model.serialization import format_time
from worker.journal import connection, queries, row_codec, session

Result = TypeVar("Result")


class SqlPauses(abc.ABC):
    """Implements registers.PauseRegister."""

    _reader: session.Reading
    _reading: anyio.CapacityLimiter

    async def pauses(self, *, now: datetime.datetime) -> tuple[Pause, ...]:
        """Return the pauses in force, the oldest first."""
        return await self._look_up(lambda database: _in_force(database, now)) or ()

    async def pause(self, pause: Pause) -> None:
        """Begin a pause, instead of the one of the same fleet or of all fleets."""
        since, until = format_time(pause.since), None if pause.until is None else format_time(pause.until)
        by, reason = row_codec.text(pause.by), row_codec.text(pause.reason)

        def work(database: connection.Connection) -> None:
            database.execute(queries.RESUME, {"now": since, "by": by, "fleet": pause.fleet or ""})
            begun = {"fleet": pause.fleet or "", "since": since, "until": until, "reason": reason, "by": by}
            database.execute(queries.PAUSE, begun)

        await self._write_unlocked(work)

    async def resume(self, *, now: datetime.datetime, by: str, fleet: FleetId | None = None) -> tuple[Pause, ...]:
        """End the pause of a fleet, or all pauses, and return those that were in force."""

        def work(database: connection.Connection) -> tuple[Pause, ...]:
            ended = tuple(pause for pause in _in_force(database, now) if fleet in (None, pause.fleet))
            for pause in ended:
                about = {"now": format_time(now), "by": row_codec.text(by), "fleet": pause.fleet or ""}
                database.execute(queries.RESUME, about)
            return ended

        return await self._write_unlocked(work)

    async def _write_unlocked(self, work: session.Work[Result]) -> Result:
        return await self._run(lambda: self._reader.write_unlocked(work), limiter=self._reading)

    @abc.abstractmethod
    async def _look_up(self, work: session.Work[Result]) -> Result | None:
        """Read in the session of people, if there is a journal."""

    @abc.abstractmethod
    async def _run(self, work: Callable[[], Result], *, limiter: anyio.CapacityLimiter | None = None) -> Result:
        """Call what blocks in a thread."""


def _in_force(database: connection.Connection, now: datetime.datetime) -> tuple[Pause, ...]:
    return tuple(
        Pause(
            since=row_codec.time(row["since"]),
            until=None if row["until"] is None else row_codec.time(row["until"]),
            by=row["paused_by"],
            reason=row["reason"],
            fleet=FleetId(row["fleet"]) if row["fleet"] else None,
        )
        for row in database.query(queries.PAUSES, {"now": format_time(now)})
    )
