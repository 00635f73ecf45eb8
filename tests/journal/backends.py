"""Where journals lie: in memory, in a file, on a server; each can be opened by several processes, and lose one.

Invariant: what `crash` leaves is what the death of the process would leave. Neighbours: `conftest` gives one to each
test of the contract.
"""

import datetime
import itertools
import pathlib
import shutil
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol
from urllib import parse as urls

import psycopg

from tests.journal import journal_factories
from tests.support import memory_journal
from worker.core.model.identifiers import DriverId, IntentKey, RunId
from worker.core.model.plan import GuardedPlan
from worker.core.model.ports import Intent, Journal, PastRefusals, RecentChanges, RunHistory
from worker.journal import row_codec, sql_journal


class DurableJournal(Journal, RunHistory, Protocol):
    """Everything that a journal does."""

    async def begin(
        self,
        run: RunId,
        *,
        trigger: str,
        guarded: GuardedPlan,
        intents: Sequence[Intent],
        resent: Collection[IntentKey] = (),
        spent: str | None = None,
    ) -> None:
        """Record the run with its plan and intents."""
        ...

    async def add_intents(self, run: RunId, intents: Sequence[Intent]) -> None:
        """Record further intents."""
        ...

    async def refusals(self, drivers: Collection[DriverId]) -> Mapping[row_codec.Write, PastRefusals]:
        """Return the refused changes of these drivers."""
        ...

    async def newest_entry(self) -> datetime.datetime | None:
        """Return when the newest run was last written to."""
        ...

    async def recent_changes(self, *, since: datetime.datetime) -> tuple[RecentChanges, ...]:
        """Return how many writes took effect or may have."""
        ...

    async def aclose(self) -> None:
        """Close it."""
        ...


class Backend(Protocol):
    """A place of one journal."""

    clock: journal_factories.Clock

    def journal(self) -> DurableJournal:
        """Return the journal as another process has it."""
        ...

    def crash(self, journal: DurableJournal) -> DurableJournal:
        """Let the process die that has this, without a word, and give the next one's."""
        ...


class MemoryBackend:
    """A journal in memory."""

    def __init__(self) -> None:
        """Start empty."""
        self.clock = journal_factories.Clock()
        self._first = memory_journal.MemoryJournal(clock=self.clock)

    def journal(self) -> DurableJournal:
        """Return another one beside the first."""
        return memory_journal.MemoryJournal(clock=self.clock, beside=self._first)

    def crash(self, journal: DurableJournal) -> DurableJournal:
        """Return the next life."""
        assert isinstance(journal, memory_journal.MemoryJournal)
        return journal.crash()


class SqliteBackend:
    """A journal in a file. Power fails: the next life has a copy of the files as they were at that instant."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Take a folder."""
        self.clock = journal_factories.Clock()
        self._folders = (folder / str(number) for number in itertools.count())
        self._move()

    def _move(self) -> None:
        self.path = next(self._folders) / "fleet-sync.db"
        self.path.parent.mkdir()
        self.url = f"sqlite:///{self.path}"

    def journal(self) -> sql_journal.SqlJournal:
        """Return another one on the file."""
        return sql_journal.SqlJournal(self.url, clock=self.clock)

    def crash(self, journal: DurableJournal) -> DurableJournal:
        """Return one on a copy."""
        before = self.path
        self._move()
        for suffix in ("", "-wal"):
            file = before.with_name(before.name + suffix)
            if file.exists():
                shutil.copyfile(file, self.path.with_name(file.name))
        return self.journal()


class PostgresBackend:
    """A journal in a schema of its own. The process dies: its sessions are ended on the server."""

    _numbers = itertools.count()

    def __init__(self, host: str) -> None:
        """Take the server's folder."""
        self.clock = journal_factories.Clock()
        self._host = host
        self.schema = f"journal_{next(self._numbers)}"
        options = urls.quote(f"-csearch_path={self.schema}")
        self.url = f"postgresql://postgres@/postgres?host={urls.quote(host)}&options={options}"
        self.tell(f"CREATE SCHEMA {self.schema}")

    def tell(self, statement: str) -> None:
        """Carry out a statement on the server."""
        with psycopg.connect(host=self._host, user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def is_waiting(self) -> bool:
        """Return whether any session waits for another one's transaction."""
        with psycopg.connect(host=self._host, user="postgres", dbname="postgres", autocommit=True) as connection:
            return bool(connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall())

    def journal(self) -> sql_journal.SqlJournal:
        """Return another one on the schema."""
        return sql_journal.SqlJournal(self.url, clock=self.clock)

    def crash(self, journal: DurableJournal) -> DurableJournal:
        """End the sessions, and give a new one."""
        self.tell(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'fleet-sync %'"
        )
        return self.journal()
