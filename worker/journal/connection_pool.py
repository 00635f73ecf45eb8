"""Connections that many accounts of a cluster share, each for one transaction at a time.

Invariants: there are never more connections than the pool's size; a transaction of a process that was stopped in the
middle of it ends after 2.5 seconds, and no one waits for a lock longer than `_LOCK`: so another worker's claim comes
through within five seconds, unless the plan is a very large one. Nothing is kept in a session, so that a pooler such as
PgBouncer may be in between. Neighbours: `fenced_session` and `claims` borrow connections, `postgres` is what they are.
"""

import contextlib
import queue
from collections.abc import Callable, Iterator
from typing import TypeVar

from psycopg import pq

from worker.core.model.errors import JournalError
from worker.journal import address as addresses
from worker.journal import connection, migrations, postgres

Result = TypeVar("Result")

_LOCK = "4s"
"""Longer than the server waits for the next statement of a process that was stopped in its commit."""

_BEGIN = f"""
    BEGIN;
    SET LOCAL idle_in_transaction_session_timeout = 2500;
    SET LOCAL lock_timeout = '{_LOCK}';
    SET LOCAL statement_timeout = '60s';
    SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'
"""


class SharedConnection(postgres.PostgresConnection):
    """A connection whose transactions bring their own limits along."""

    SESSION = ""
    PREPARE_AFTER = None
    IDLE_MILLISECONDS = 2500

    @property
    def broken(self) -> bool:
        """Return whether the session has been lost, or is in a transaction that did not begin or end as it should."""
        return self._raw.info.transaction_status != pq.TransactionStatus.IDLE

    @contextlib.contextmanager
    def _transaction(self, *, write: bool) -> Iterator[None]:
        self._raw.execute(_BEGIN)
        try:
            yield
            self._raw.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(*self.errors):  # the session may be what failed
                self._raw.execute("ROLLBACK")
            raise


class ConnectionPool:
    """At most `size` connections to one database. Every method blocks and may be called by any thread."""

    def __init__(self, url: str, *, size: int) -> None:
        """Keep where the database is; nothing is opened yet. Raises errors.JournalError."""
        self.address = addresses.parse(url)
        self._free = queue.LifoQueue[connection.Connection | None]()
        for _ in range(size):
            self._free.put(None)

    def transaction(self, work: Callable[[connection.Connection], Result]) -> Result:
        """Do some work in one transaction, which is on disk when this returns. Raises errors.JournalError."""
        database, begun = self._free.get(), False
        try:
            if database is not None:
                try:
                    with database.transaction(write=True):
                        begun = True
                        return work(database)
                except JournalError:
                    if begun or not database.broken:
                        raise
                    database.close()
                # It broke while it was idle, and nothing was done: a restart of the server is not a failure.
            database = SharedConnection(self.address)
            with database.transaction(write=True):
                return work(database)
        finally:
            self._give_back(database)

    def migrate(self) -> None:
        """Make the tables that are missing. Raises errors.JournalError."""
        database = SharedConnection(self.address)
        with contextlib.closing(database):
            database.version = migrations.version(database)
            migrations.migrate(database)

    def close(self) -> None:
        """Close the connections that are idle."""
        for database in [self._free.get() for _ in range(self._free.qsize())]:
            if database is not None:
                database.close()
            self._free.put(None)

    def _give_back(self, database: connection.Connection | None) -> None:
        if database is not None:
            database.account, database.epoch = 0, None
            if database.broken:
                database.close()
                database = None
        self._free.put(database)
