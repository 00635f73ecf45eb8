"""Past runs as people look them up in the durable journal, with what any process may record: approvals and pauses.

Invariant: nothing here needs to be the writer. Neighbours: `sql_journal` inherits this, `sql_base` has the sessions,
`queries` the statements.
"""

import datetime
import functools
from collections.abc import Mapping
from typing import Final

from worker.core.model.identifiers import DriverId, FleetId, RunId
from worker.core.model.pauses import Pause
from worker.core.model.ports import PastChange, PastRun
from worker.core.model.serialization import format_time
from worker.journal import connection, queries, row_codec, sql_base, sql_names

_ALL: Final = 1 << 62
"""A limit for statements that need one."""

_Documents = tuple[row_codec.Document | None, row_codec.Document | None]


class SqlHistory(sql_base.SqlBase):
    """Implements ports.RunHistory, except registers.NameRegister."""

    async def runs(
        self, *, limit: int | None = None, before: RunId | None = None, result: str | None = None
    ) -> tuple[PastRun, ...]:
        """Return past runs, the newest first."""
        wanted = _given(before=before, result=result)
        return await self._past_runs(queries.runs(*wanted), {**wanted, "limit": _ALL if limit is None else limit})

    async def runs_after(self, run: RunId | None, *, limit: int) -> tuple[PastRun, ...]:
        """Return the runs that were recorded after this one, the oldest first."""
        return await self._past_runs(queries.RUNS_AFTER, {"run": row_codec.text(run or ""), "limit": limit})

    async def run(self, run: RunId) -> PastRun | None:
        """Return one past run."""
        return next(iter(await self._past_runs(queries.RUN, {"run": row_codec.text(run)})), None)

    async def run_ids(self, beginning: str, *, limit: int) -> tuple[RunId, ...]:
        """Return the first ids that begin so."""
        text = row_codec.text(beginning)
        rows = await self._look_up_rows(queries.RUN_IDS, {"beginning": text, "length": len(text), "limit": limit})
        return tuple(RunId(row["run"]) for row in rows)

    async def documents(self, run: RunId) -> _Documents:
        """Return the plan and the report of a run."""
        about = {"run": row_codec.text(run)}

        def work(database: connection.Connection) -> _Documents:
            for row in database.query(queries.DOCUMENTS, about):
                written = database.query(queries.RUN_INTENTS, about)
                return row_codec.documents(row, written, functools.partial(sql_names.look_up, database))
            return None, None

        return await self._look_up(work) or (None, None)

    async def changes(
        self,
        *,
        run: RunId | None = None,
        driver: DriverId | None = None,
        fleet: FleetId | None = None,
        limit: int | None = None,
    ) -> tuple[PastChange, ...]:
        """Return past writes that match, the oldest first; `limit` keeps the newest."""
        wanted = _given(run=run, driver=driver, fleet=fleet)
        most = {"limit": _ALL if limit is None else limit}
        rows = await self._look_up_rows(queries.changes(*wanted), {**wanted, **most})
        return tuple(map(row_codec.past_change, reversed(rows)))

    async def changes_a_day(self, *, since: datetime.datetime) -> Mapping[datetime.date, Mapping[str, int]]:
        """Return how many changes had each outcome, by the day on which their run started."""
        days: dict[datetime.date, dict[str, int]] = {}
        for row in await self._look_up_rows(queries.CHANGES_A_DAY, {"since": format_time(since)}):
            days.setdefault(datetime.date.fromisoformat(row["day"]), {})[row["outcome"]] = row["number"]
        return days

    async def approve(self, digest: str, *, now: datetime.datetime, until: datetime.datetime, by: str = "") -> None:
        """Allow the held changes of exactly this plan until then."""
        times = {"approved": format_time(now), "until": format_time(until)}
        approval = {"digest": digest, "approved_by": row_codec.remark(by), **times}
        await self._write_unlocked(lambda database: database.execute(queries.APPROVE, approval))

    async def pauses(self, *, now: datetime.datetime) -> tuple[Pause, ...]:
        """Return the pauses in force, the oldest first."""
        return tuple(map(row_codec.pause, await self._look_up_rows(queries.PAUSES, {"now": format_time(now)})))

    async def pause(self, pause: Pause) -> None:
        """Begin a pause, instead of the one of the same fleet or of all fleets."""
        since, until = format_time(pause.since), None if pause.until is None else format_time(pause.until)
        about = {"fleet": pause.fleet or "", "now": since, "by": row_codec.remark(pause.by)}

        def work(database: connection.Connection) -> None:
            database.execute(queries.RESUME, about)
            database.execute(queries.PAUSE, {**about, "until": until, "reason": row_codec.remark(pause.reason)})

        await self._write_unlocked(work)

    async def resume(self, *, now: datetime.datetime, by: str, fleet: FleetId | None = None) -> tuple[Pause, ...]:
        """End the pause of a fleet, or all pauses, and return those that were in force."""
        about = {"fleet": fleet, "now": format_time(now), "by": row_codec.remark(by)}
        rows = await self._write_unlocked(lambda database: database.query(queries.RESUME, about))
        return tuple(map(row_codec.pause, sorted(rows, key=lambda row: row["number"])))

    async def _past_runs(self, statement: str, parameters: row_codec.Row) -> tuple[PastRun, ...]:
        def work(database: connection.Connection) -> tuple[PastRun, ...]:
            return tuple(
                row_codec.past_run(row, {} if row["finished"] else _outcome_counts(database, row["number"]))
                for row in database.query(statement, parameters)
            )

        return await self._look_up(work) or ()


def _given(**parameters: str | None) -> dict[str, str]:
    """Return what is wanted by these of the parameters that are given."""
    return {name: row_codec.text(value) for name, value in parameters.items() if value is not None}


def _outcome_counts(database: connection.Connection, number: int) -> Mapping[str, int]:
    rows = database.query(queries.OUTCOME_COUNTS, {"number": number})
    return {row["outcome"]: row["number"] for row in rows}
