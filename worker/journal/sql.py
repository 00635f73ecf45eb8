"""The durable journal: SQLAlchemy Core on SQLite.

Invariants: a method returns after its commit is on disk (`synchronous=FULL`); all statements run in one thread at a
time, off the event loop. Neighbours: implements `core.ports.Journal`; tables in `schema`.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import anyio.to_thread
import sqlalchemy as sa

from worker.core import errors, formats, outcomes, ports, report, values
from worker.journal import schema


class SqlJournal:
    """Implements ports.Journal on a database; opened at the first use."""

    def __init__(self, url: str) -> None:
        """Take the database's address, `sqlite:///…`."""
        self._url = url
        self._engine: sa.Engine | None = None
        self._one_at_a_time = anyio.CapacityLimiter(1)

    async def begin(
        self, run: values.RunId, *, trigger: str, judged: values.Judged, intents: Sequence[ports.Intent]
    ) -> None:
        """Record the run, its plan and its intents in one commit."""
        started = {
            "run": run,
            "trigger": trigger,
            "started": formats.time(judged.created),
            "plan": json.dumps(formats.plan(judged)),
        }
        rows = [{"key": intent.key, "run": run, **formats.change(intent.change)} for intent in intents]
        await self._commit([(schema.runs.insert(), [started]), (schema.intents.insert(), rows)])

    async def record(self, run: values.RunId, group: Sequence[tuple[values.IntentKey, outcomes.Outcome]]) -> None:
        """Record outcomes in one commit."""
        fill = schema.intents.update().where(schema.intents.c.key == sa.bindparam("intent"))
        await self._commit([(fill, [{"intent": key, **formats.outcome(outcome)} for key, outcome in group])])

    async def finish(self, run: values.RunId, finished: report.Report) -> None:
        """Record the end of the run, and its report."""
        ending = {
            "ended": run,
            "finished": formats.time(finished.finished),
            "result": finished.verdict.value,
            "exit_code": finished.exit_code,
            "report": json.dumps(formats.run(finished)),
        }
        await self._commit([(schema.runs.update().where(schema.runs.c.run == sa.bindparam("ended")), [ending])])

    async def aclose(self) -> None:
        """Close the database."""
        if self._engine is not None:
            await self._off_the_loop(self._engine.dispose)

    async def _commit(self, statements: Sequence[tuple[sa.Executable, list[dict[str, Any]]]]) -> None:
        def commit() -> None:
            self._engine = self._engine or _open(self._url)
            with self._engine.begin() as connection:
                for statement, rows in statements:
                    connection.execute(statement, rows)

        await self._off_the_loop(commit)

    async def _off_the_loop(self, work: Callable[[], None]) -> None:
        try:
            await anyio.to_thread.run_sync(work, limiter=self._one_at_a_time)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            raise errors.JournalError(f"the journal {self._url} cannot be written: {cause}") from error


def _open(url: str) -> sa.Engine:
    """Open the database and make its tables where they are missing."""
    engine = sa.create_engine(url, connect_args={"check_same_thread": False, "timeout": 10}, poolclass=sa.StaticPool)
    sa.event.listen(engine, "connect", _configure)
    schema.metadata.create_all(engine)
    return engine


def _configure(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
