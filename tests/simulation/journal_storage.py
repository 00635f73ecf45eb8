"""What survives a simulated process: a journal in memory, SQLite or PostgreSQL, and what the checks must know of it.

Invariant: nothing waits for a thread, whose order the seed could not decide. Neighbours: `fake_journal` is the
way of one process to it, with faults; `oracles` and `final_checks` read it.
"""

import dataclasses
import datetime
import pathlib
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar
from urllib import parse as urls

import anyio
import psycopg

from tests.support import clocks, memory_journal
from worker.core.model.identifiers import DriverId, FleetId, IntentKey, RunId
from worker.core.model.outcomes import Outcome, Unknown
from worker.core.model.plan import Action, Change, GuardedPlan
from worker.core.model.ports import Intent, Journal
from worker.journal import sql_journal

Result = TypeVar("Result")
Write = tuple[Action, str, str]


class InlineSqlJournal(sql_journal.SqlJournal):
    """The durable journal without threads, whose order the seed could not decide."""

    async def _run(self, work: Callable[[], Result], *, limiter: anyio.CapacityLimiter | None = None) -> Result:
        return work()


def in_memory(clock: clocks.Wall) -> "Storage":
    """Return storage with a journal in memory."""

    async def reopen(before: DurableJournal) -> DurableJournal:
        assert isinstance(before, memory_journal.MemoryJournal)
        return before.crash()

    return Storage(memory_journal.MemoryJournal(clock=clock), reopen)


def in_sqlite(path: pathlib.Path, clock: clocks.Wall) -> "Storage":
    """Return storage with a journal in a SQLite file."""
    return _in_sql(f"sqlite:///{path}", clock)


def in_postgresql(host: str, schema: str, clock: clocks.Wall) -> "Storage":
    """Return storage with a journal in a new schema of the PostgreSQL server with its socket in the folder `host`."""
    with psycopg.connect(host=host, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}".encode())
    options = urls.quote(f"-csearch_path={schema}")
    return _in_sql(f"postgresql://postgres@/postgres?host={urls.quote(host)}&options={options}", clock)


def _in_sql(url: str, clock: clocks.Wall) -> "Storage":
    async def reopen(before: DurableJournal) -> DurableJournal:
        assert isinstance(before, InlineSqlJournal)
        await before.aclose()
        return InlineSqlJournal(url, clock=clock)

    return Storage(InlineSqlJournal(url, clock=clock), reopen)


class DurableJournal(Journal, Protocol):
    """A journal that approvals can be given to."""

    async def aclose(self) -> None:
        """Close it."""
        ...

    async def approve(self, digest: str, *, now: datetime.datetime, until: datetime.datetime) -> None:
        """Approve the held changes of a plan."""
        ...


@dataclasses.dataclass
class Entry:
    """An intent with every outcome that was recorded of it, and the runs that may send it.

    `settled` is the position of the last outcome in the order of events.
    """

    intent: Intent
    run: RunId
    runs: set[RunId]
    outcomes: list[Outcome] = dataclasses.field(default_factory=list)
    settled: int = 0
    repair: bool = False

    @property
    def outcome(self) -> Outcome | None:
        """Return the outcome that counts."""
        return self.outcomes[-1] if self.outcomes else None

    @property
    def open(self) -> bool:
        """Return whether a later reading must settle it."""
        return isinstance(self.outcome, Unknown | None)


@dataclasses.dataclass
class Storage:
    """What survives a process: the journal, and what the checks need to know of it."""

    journal: DurableJournal
    reopen: Callable[[DurableJournal], Awaitable[DurableJournal]]
    entries: dict[IntentKey, Entry] = dataclasses.field(default_factory=dict)
    resolutions: dict[str, DriverId | FleetId] = dataclasses.field(default_factory=dict)
    allowed: list[frozenset[Write]] = dataclasses.field(default_factory=list)
    sizes: dict[str, list[tuple[float, int]]] = dataclasses.field(default_factory=dict)
    """When how many rows of each source were put on disk, since the last approval that accepted fewer."""

    async def approve(self, guarded: GuardedPlan, *, now: datetime.datetime) -> None:
        """Approve the held changes of a plan for 24 hours."""
        await self.journal.approve(guarded.held_digest, now=now, until=now + datetime.timedelta(hours=24))
        self.allowed.append(frozenset(_write(held.change) for held in guarded.held))

    def approved(self, guarded: GuardedPlan) -> bool:
        """Return whether a plan contains all changes of an approval."""
        planned = {_write(change) for change in (*guarded.changes, *(held.change for held in guarded.held))}
        return any(allowed and allowed <= planned for allowed in self.allowed)

    async def open_anew(self) -> None:
        """Open the journal for a new process. The one before it, if there was any, is dead."""
        self.journal = await self.reopen(self.journal)


def _write(change: Change) -> Write:
    return change.action, change.driver, change.fleet
