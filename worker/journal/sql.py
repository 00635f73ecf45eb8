"""The durable journal: one commit a call, in one thread beside the event loop.

Invariant: a method returns when its commit is on disk. Neighbours: implements `core.ports.Journal` with `database`,
which is imported at the first use only: a run with nothing to write does not wait for SQLAlchemy to load.
"""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from worker.core import formats, outcomes, ports, report, values

if TYPE_CHECKING:
    from worker.journal import database


class SqlJournal:
    """Implements ports.Journal on a database; opened at the first use."""

    def __init__(self, url: str) -> None:
        """Take the database's address, `sqlite:///…`."""
        self._url = url
        self._database: database.Database | None = None
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
        await self._do(lambda database: database.begin(started, rows))

    async def record(self, run: values.RunId, group: Sequence[tuple[values.IntentKey, outcomes.Outcome]]) -> None:
        """Record outcomes in one commit."""
        rows = [{"intent": key, **formats.outcome(outcome)} for key, outcome in group]
        await self._do(lambda database: database.record(rows))

    async def finish(self, run: values.RunId, finished: report.Report) -> None:
        """Record the end of the run, and its report."""
        ending = {
            "ended": run,
            "finished": formats.time(finished.finished),
            "result": finished.verdict.value,
            "exit_code": finished.exit_code,
            "report": json.dumps(formats.run(finished)),
        }
        await self._do(lambda database: database.finish(ending))

    async def aclose(self) -> None:
        """Close the database."""
        if self._database is not None:
            await anyio.to_thread.run_sync(self._database.close, limiter=self._one_at_a_time)

    async def _do(self, work: "Callable[[database.Database], None]") -> None:
        await anyio.to_thread.run_sync(lambda: work(self._open()), limiter=self._one_at_a_time)

    def _open(self) -> "database.Database":
        from worker.journal import database

        self._database = self._database or database.Database(self._url)
        return self._database
