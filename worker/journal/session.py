"""Holds a connection to the journal open, and makes this process its one writer.

Invariants: only the process that holds the writer's lock writes (except an approval, which any process may record); a
lost lock is taken again only by `open`, never in passing. Everything here blocks and is called by one thread at a
time, except `is_recent_writer`, which the event loop calls. Neighbours: `sql_base` has a session of each kind,
`connection` what they hold, `writer_lock` the lock.
"""

import contextlib
import pathlib
import stat
from collections.abc import Callable
from typing import TypeVar

import structlog

from worker.core.model.errors import BelongsToWorkers, JournalError
from worker.core.model.ports import Clock
from worker.journal import address as addresses
from worker.journal import cluster_queries, connection, migrations, queries, sqlite_file, writer_lock

log = structlog.get_logger()

Result = TypeVar("Result")
Work = Callable[[connection.Connection], Result]

_RECENT_FILE = 0.25
_RECENT_SESSION = 1.0
"""Seconds for which a check of the writer's lock stays valid: of a file, of a session of PostgreSQL."""


class Session:
    """A connection to an account's journal, made when it is first used and again after it broke."""

    def __init__(self, address: addresses.Address, *, account: str) -> None:
        """Keep where the journal is; nothing is opened yet."""
        self._address = address
        self._named = {"name": account}
        self._connection: connection.Connection | None = None

    def read(self, work: Work[Result]) -> Result | None:
        """Do some reading as one transaction. Returns `None` if there is no journal yet, and makes none."""
        self._drop_broken()
        if self._connection is None and self._missing():
            return None
        database = self._opened()
        if database.account == 0:
            return None
        self._require_newest(database)
        return self._within(database, work, write=False)

    def write_unlocked(self, work: Work[Result]) -> Result:
        """Do some writing as one transaction, without being the writer. For what any process may record."""
        self._drop_broken()
        database = self._made()
        self._require_newest(database)
        return self._within(database, work, write=True)

    def close(self) -> None:
        """Close the connection. Allowed at any time."""
        database, self._connection = self._connection, None
        if database is not None:
            database.close()

    def _opened(self) -> connection.Connection:
        """Return the connection, whether or not the journal has been made."""
        if self._connection is None:
            _require_file(self._address.path)
            self._connection = connection.connect(self._address)
        database = self._connection
        if database.version is None:
            database.version = migrations.version(database)
        if database.version is not None and database.account == 0:
            for row in database.query(queries.ACCOUNT, self._named):
                database.account = row["account"]
        return database

    def _made(self) -> connection.Connection:
        """Return the connection to a journal that has tables and the account; they are made if they are missing."""
        if self._opened().version is None:
            migrations.migrate(self._opened())
        while self._opened().account == 0:  # if another account takes the number first, the next one is tried
            self._within(self._opened(), lambda made: made.execute(queries.ADD_ACCOUNT, self._named), write=True)
        return self._opened()

    def _require_newest(self, database: connection.Connection) -> None:
        if database.version is not None and database.version < migrations.NEWEST:
            raise JournalError(
                f"the journal {self._address.shown} was made by an older version of fleet-sync",
                code="journal_older",
                remedy="The next `fleet-sync once` or `run` upgrades it.",
            )

    def _missing(self) -> bool:
        path = self._address.path
        try:
            return path is not None and path.parent.is_dir() and not path.exists()
        except OSError:
            return False  # opening it says why

    def _within(self, database: connection.Connection, work: Work[Result], *, write: bool) -> Result:
        try:
            with database.transaction(write=write):
                return work(database)
        finally:
            self._drop_broken()

    def _drop_broken(self) -> None:
        """Close a connection that was lost: the next use makes a new one."""
        if self._connection is not None and self._connection.broken:
            self.close()


class WriterSession(Session):
    """A session that can become the one writer."""

    def __init__(self, address: addresses.Address, *, account: str, clock: Clock) -> None:
        """Keep where the journal is, and the clock; nothing is opened yet."""
        super().__init__(address, account=account)
        self._clock = clock
        self._lock: writer_lock.FileLock | writer_lock.SessionLock | None = None
        self._file: sqlite_file.SqliteFile | None = None
        self._lost = False
        self._checked = 0.0

    def open(self) -> None:
        """Become the writer, or make sure to be it still. Raises errors.JournalBusy."""
        self._lost = False
        if self._lock is not None:
            try:
                self.check()
            except JournalError as error:
                # With the journal, what it remembered may be lost: approvals, and reasons not to make a change.
                log.warning("journal_lost", error=error.message, remedy=error.remedy)
                self._lost = False
        if self._lock is None:
            self._become_writer()

    def is_recent_writer(self) -> bool:
        """Return whether this process was the writer a moment ago. Does not block."""
        recent = _RECENT_SESSION if self._address.path is None else _RECENT_FILE
        return self._lock is not None and self._clock.uptime() - self._checked < recent

    def check(self) -> None:
        """Raise errors.JournalError unless this process is still the writer, and the journal the same."""
        try:
            held = self._lock is not None and self._lock.held()
        except JournalError:
            self._drop(lost=True)
            raise
        if not held or (self._file is not None and not self._file.intact()):
            self._drop(lost=self._lost or self._lock is not None)
            raise self._not_writer()
        self._checked = self._clock.uptime()

    def write(self, work: Work[Result]) -> Result:
        """Do some writing as one transaction, as the one writer. Raises errors.JournalError."""
        database = self._ensure_writer()
        done = self._within(database, work, write=True)
        self._checked = self._clock.uptime()
        return done

    def purge(self) -> bool:
        """Rewrite the file if something in it was forgotten; return whether no trace of that is left.

        SQLite leaves deleted text in free pages and in its log. PostgreSQL removes it when it next vacuums.
        """
        database = self._ensure_writer()
        if not self._within(database, lambda found: found.query(queries.UNPURGED)[0]["number"], write=False):
            return True
        if not database.purge():
            return False
        self._within(database, lambda found: found.execute(queries.MARK_PURGED), write=True)
        return True

    def close(self) -> None:
        """Close the connection and release the lock. Allowed at any time, once no other session is open."""
        file = self._file
        self._drop(lost=False)
        if file is not None:
            file.close()

    # --- Inside -------------------------------------------------------------------------------------------

    def _ensure_writer(self) -> connection.Connection:
        if self._lost:
            raise self._not_writer()
        if self._lock is None:
            return self._become_writer()
        if self._file is not None:
            self.check()
        if self._connection is None:
            raise self._not_writer()
        return self._connection

    def _become_writer(self) -> connection.Connection:
        path = self._address.path
        try:
            _require_file(path)
            if path is not None:
                lock = path.with_name(f"{path.name}.lock")
                self._lock = writer_lock.FileLock.acquire(lock, now=self._clock.now())
            database = self._made()
            if path is None:
                self._lock = writer_lock.SessionLock(database)
            migrations.migrate(database)  # an older journal is upgraded under the lock
            if path is None:
                self._require_own(database)
            with database.transaction(write=True):
                database.execute(queries.PROBE)
            if path is not None and isinstance(database, connection.SqliteConnection):
                database.move_log_regularly()
                self._file = sqlite_file.SqliteFile(path)
        except BaseException:
            self._drop(lost=False)
            raise
        self._checked = self._clock.uptime()
        return database

    def _require_own(self, database: connection.Connection) -> None:
        """Raise errors.BelongsToWorkers for an account of a cluster: its workers hold no lock, but claim it."""
        if database.query(cluster_queries.IS_SHARED, self._named):
            raise BelongsToWorkers(f"the account {self._named['name']} belongs to the workers of a cluster")

    def _drop_broken(self) -> None:
        """Close a connection that was lost; with it, the lock is lost."""
        if self._connection is not None and self._connection.broken:
            self._drop(lost=self._lock is not None)

    def _drop(self, *, lost: bool) -> None:
        super().close()
        self._lost = lost
        held, self._lock, self._file = self._lock, None, None
        if held is not None:
            held.release()

    def _not_writer(self) -> JournalError:
        return JournalError(
            f"this process may no longer write to the journal {self._address.shown}: its lock or connection is lost, or"
            " the file was removed, replaced or truncated",
            code="journal_lost",
            remedy="Look for another fleet-sync that writes to it, and check the disk or the server; then run again.",
        )


def _require_file(path: pathlib.Path | None) -> None:
    """Raise errors.JournalError for a folder or a device, beside which a lock or a log would be left."""
    with contextlib.suppress(OSError):  # it is missing, or opening it says why
        if path is not None and not stat.S_ISREG(path.stat().st_mode):
            raise JournalError(f"the journal {path} cannot be used: it is not a regular file")
