"""Past runs, as people look them up in the durable journal.

Invariant: nothing here writes. Neighbours: `sql_journal` inherits this, `queries` has the statements.
"""

import abc
import datetime
from collections.abc import Mapping
from typing import Final, TypeVar

from worker.core.model.identifiers import RunId
from worker.core.model.ports import PastRun
from worker.core.model.serialization import format_time
from worker.journal import connection, queries, row_codec, session

Result = TypeVar("Result")

ALL: Final = 1 << 62
"""A limit for statements that need one."""


class SqlRuns(abc.ABC):
    """Implements what ports.RunHistory says of runs, and registers.ChangeStatistics."""

    async def runs(
        self, *, limit: int | None = None, before: RunId | None = None, result: str | None = None
    ) -> tuple[PastRun, ...]:
        """Return past runs, the newest first."""
        given = {"before": before, "result": result}
        wanted = {name: row_codec.text(value) for name, value in given.items() if value is not None}
        return await self._past_runs(queries.runs(*wanted), {**wanted, "limit": ALL if limit is None else limit})

    async def runs_after(self, run: RunId | None, *, limit: int) -> tuple[PastRun, ...]:
        """Return the runs that were recorded after this one, the oldest first."""
        return await self._past_runs(queries.RUNS_AFTER, {"run": row_codec.text(run or ""), "limit": limit})

    async def run(self, run: RunId) -> PastRun | None:
        """Return one past run."""
        return next(iter(await self._past_runs(queries.RUN, {"run": row_codec.text(run)})), None)

    async def run_ids(self, beginning: str, *, limit: int) -> tuple[RunId, ...]:
        """Return the first ids that begin so."""
        text = row_codec.text(beginning)
        parameters = {"beginning": text, "length": len(text), "limit": limit}
        rows = await self._look_up(lambda database: database.query(queries.RUN_IDS, parameters)) or ()
        return tuple(RunId(row["run"]) for row in rows)

    async def changes_a_day(self, *, since: datetime.datetime) -> Mapping[datetime.date, Mapping[str, int]]:
        """Return how many changes had each outcome, by the day on which their run started."""
        started = {"since": format_time(since)}
        rows = await self._look_up(lambda database: database.query(queries.CHANGES_A_DAY, started)) or ()
        days: dict[datetime.date, dict[str, int]] = {}
        for row in rows:
            days.setdefault(datetime.date.fromisoformat(row["day"]), {})[row["outcome"]] = row["number"]
        return days

    async def _past_runs(self, statement: str, parameters: row_codec.Row) -> tuple[PastRun, ...]:
        def work(database: connection.Connection) -> tuple[PastRun, ...]:
            return tuple(
                row_codec.past_run(row, {} if row["finished"] else _outcome_counts(database, row["number"]))
                for row in database.query(statement, parameters)
            )

        return await self._look_up(work) or ()

    @abc.abstractmethod
    async def _look_up(self, work: session.Work[Result]) -> Result | None:
        """Read in the session of people, if there is a journal."""


def _outcome_counts(database: connection.Connection, number: int) -> Mapping[str, int]:
    rows = database.query(queries.OUTCOME_COUNTS, {"number": number})
    return {row["outcome"]: row["number"] for row in rows}
