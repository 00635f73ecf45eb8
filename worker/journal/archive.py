"""What people ask the journal: past runs, their documents, every change of a driver.

Invariant: reads only. Neighbours: `database` lends the connection, `rows` reads what comes.
"""

import collections
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from worker.core.model.identifiers import DriverId, FleetId, RunId
from worker.core.model.ports import OpenIntent, PastChange, PastRun
from worker.journal import rows, schema

_run = schema.runs.c
_intent = schema.intents.c


def runs(connection: sa.Connection, *, limit: int | None) -> tuple[PastRun, ...]:
    """Give past runs, the newest first."""
    return _past(connection, _RUNS.limit(limit))


def run(connection: sa.Connection, run: RunId) -> PastRun | None:
    """Give one past run, or None."""
    return next(iter(_past(connection, _RUNS.where(_run.run == rows.text(run)))), None)


def run_ids(connection: sa.Connection, beginning: str, *, limit: int) -> tuple[RunId, ...]:
    """Give the ids that begin so. LIKE would take `_` for any letter, and SQLite's small letters for capital ones."""
    letters = rows.text(beginning)
    found = (
        sa.select(_run.run).where(sa.func.substr(_run.run, 1, len(letters)) == letters).order_by(_run.run).limit(limit)
    )
    return tuple(map(RunId, connection.execute(found).scalars()))


_RUNS = sa.select(
    _run.run, _run.trigger, _run.started, _run.finished, _run.result, _run.exit_code, _run.outcomes
).order_by(_run.started.desc(), _run.run.desc())


def _past(connection: sa.Connection, listed: sa.Select[Any]) -> tuple[PastRun, ...]:
    """Read these runs; of those that have not ended it is counted what they have done."""
    these = listed.subquery()
    unfinished = (
        sa.select(_intent.run, _intent.outcome, sa.func.count().label("number"))
        .join(these, these.c.run == _intent.run)
        .where(these.c.finished.is_(None), _intent.outcome.is_not(None))
        .group_by(_intent.run, _intent.outcome)
    )
    counts: dict[str, dict[str, int]] = collections.defaultdict(dict)
    for row in connection.execute(unfinished):
        counts[row.run][row.outcome] = row.number
    return tuple(rows.past_run(row, counts[row["run"]]) for row in _rows(connection, listed))


def documents(connection: sa.Connection, run: RunId) -> rows.Documents:
    """Give a run's plan and report."""
    planned, told = schema.lists.alias(), schema.lists.alias()
    whole = (
        sa.select(_run.plan, planned.c.content.label("plan_lists"), _run.report, told.c.content.label("report_lists"))
        .select_from(schema.runs)
        .outerjoin(planned, planned.c.name == _run.plan_lists)
        .outerjoin(told, told.c.name == _run.report_lists)
        .where(_run.run == run)
    )
    row = connection.execute(whole).mappings().first()
    return (None, None) if row is None else rows.documents({**row})


def changes(
    connection: sa.Connection,
    *,
    run: RunId | None,
    driver: DriverId | None,
    fleet: FleetId | None,
    limit: int | None,
) -> tuple[PastChange, ...]:
    """Give past writes that fit, the oldest first; `limit` keeps the newest."""
    wanted = ((_intent.run, run), (_intent.driver, driver), (_intent.fleet, fleet))
    kept = (
        sa.select(schema.intents)
        .where(*(column == value for column, value in wanted if value is not None))
        .order_by(_intent.recorded.desc(), _intent.run.desc(), _intent.position.desc())
        .limit(limit)
        .subquery()
    )
    listed = (
        sa.select(kept, _run.trigger)
        .join(schema.runs, _run.run == kept.c.run)
        .order_by(kept.c.recorded, kept.c.run, kept.c.position)
    )
    return tuple(rows.past_change(row) for row in _rows(connection, listed))


def open_intents(connection: sa.Connection) -> tuple[OpenIntent, ...]:
    """Give the intents without an outcome, the oldest first."""
    unsettled = (
        sa.select(schema.intents)
        .where(_intent.outcome.is_(None))
        .order_by(_intent.recorded, _intent.run, _intent.position)
    )
    return tuple(rows.open_intent(row) for row in _rows(connection, unsettled))


def _rows(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[rows.Row]:
    return ({**row} for row in connection.execute(query).mappings())
