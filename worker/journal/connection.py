"""Connects to the journal's database, and runs the statements of `queries` in either dialect.

Invariants: a transaction is on disk when its block ends, or has left nothing; every failure is an errors.JournalError.
A connection that broke is not made again here, because the writer's lock went with it. The dialects differ in nothing
but the attributes of `Connection`, the way to begin, and the spelling of parameters. Neighbours: `session` opens,
`postgres` has the other class.
"""

import abc
import contextlib
import json
import os
import pathlib
import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from worker.core.model.errors import JournalError
from worker.journal import address as addresses
from worker.journal import error_mapping

Row = Mapping[str, Any]
"""What a query returns and what a group of rows to be written consists of, by column."""

BUSY_SECONDS = 10.0
"""How long to wait for another process's transaction, such as that of `approve`."""

_OLDEST_SQLITE = (3, 38)  # has the operator ->>


class Connection(abc.ABC):
    """An open connection. Blocks; to be used by one thread at a time, whichever."""

    TABLES: ClassVar[str]
    """Selects the `name` of each table."""
    SERIALIZE_MIGRATIONS: ClassVar[str]
    """Keeps other processes from making tables until the transaction ends."""
    errors: ClassVar[tuple[type[Exception], ...]]
    """What the driver raises."""

    def __init__(self, address: addresses.Address) -> None:
        """Keep the address. `version` and `account`, the account's number, are set once they are known.

        `epoch` is that of the claim under which the account is written, in a cluster.
        """
        self.address = address
        self.version: int | None = None
        self.account = 0
        self.epoch: int | None = None

    @contextlib.contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[None]:
        """Run the block as one transaction, which is on disk at its end. Transactions are not nested."""
        with self.mapped_errors(), self._transaction(write=write):
            yield

    def query(self, statement: str, parameters: Row | None = None) -> Sequence[Row]:
        """Return the rows of a query."""
        with self.mapped_errors():
            rows: Sequence[Row] = self._execute(statement, self._bound(parameters)).fetchall()
        return rows

    def execute(self, statement: str, parameters: Row | None = None) -> int:
        """Return how many rows a statement changed."""
        with self.mapped_errors():
            count: int = self._execute(statement, self._bound(parameters)).rowcount
        return count

    def write_rows(self, statement: str, rows: Sequence[Row], parameters: Row | None = None) -> int:
        """Run a statement once for a whole group, which it reads as `json_rows(:rows)`; return how many rows changed.

        One statement for each row would be slow: the SQLite driver gives up the interpreter's lock for each, and beside
        a busy event loop takes milliseconds to get it back.
        """
        return self.execute(statement, {**(parameters or {}), "rows": json_rows(rows)}) if rows else 0

    @contextlib.contextmanager
    def mapped_errors(self) -> Iterator[None]:
        """Raise every failure of the database in the block as an errors.JournalError."""
        failures: tuple[type[Exception], ...] = (*self.errors, OSError, UnicodeError)  # a file's name need not be text
        try:
            yield
        except failures as error:
            cause = None if error_mapping.quotes_password(error, self.address) else error
            raise error_mapping.explain(error, self.address) from cause

    def _bound(self, parameters: Row | None) -> Row:
        return {"account": self.account, "epoch": self.epoch, **(parameters or {})}

    @abc.abstractmethod
    def allow_computing(self, rows: int) -> None:
        """Let this transaction pause for as long as it takes to compute with so many rows."""

    def purge(self) -> bool:
        """Remove deleted text from the files, and return whether that was possible; the server does it by itself."""
        return True

    @property
    @abc.abstractmethod
    def broken(self) -> bool:
        """Return whether the connection has been lost, or leads to a file that is no longer there."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close the connection; a failure is ignored."""

    @abc.abstractmethod
    def _transaction(self, *, write: bool) -> contextlib.AbstractContextManager[object]:
        """Begin, and commit or roll back at the end of the block."""

    @abc.abstractmethod
    def _execute(self, statement: str, parameters: Row) -> Any:
        """Run a statement, and return the driver's cursor."""


def json_rows(rows: Sequence[Row]) -> str:
    """Return the parameter `rows` of a statement that reads `json_rows(:rows)`."""
    return json.dumps(rows)


def connect(address: addresses.Address) -> Connection:
    """Connect to the database; an SQLite file is made if it is missing. Raises errors.JournalError."""
    if address.path is not None:
        return SqliteConnection(address, address.path)
    try:
        from worker.journal import postgres  # imports psycopg, which only PostgreSQL needs
    except ModuleNotFoundError:
        raise JournalError(
            f"the journal {address.shown} needs psycopg, which is not installed",
            remedy="Install fleet-sync with PostgreSQL: pip install 'fleet-sync[postgres]'.",
        ) from None
    return postgres.PostgresConnection(address)


class SqliteConnection(Connection):
    """A connection to an SQLite file."""

    TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
    SERIALIZE_MIGRATIONS = "SELECT 1"  # BEGIN IMMEDIATE already does
    errors = (sqlite3.Error,)

    def __init__(self, address: addresses.Address, path: pathlib.Path) -> None:
        """Connect; the file is made if it is missing."""
        super().__init__(address)
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            needed = ".".join(map(str, _OLDEST_SQLITE))
            raise JournalError(
                f"a journal in a file needs SQLite {needed}; this Python has {sqlite3.sqlite_version}",
                remedy="Use a newer Python, or keep the journal in PostgreSQL.",
            )
        self._path = path
        with self.mapped_errors():
            self._raw = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self.close()
                raise

    def _prepare(self) -> None:
        self._raw.row_factory = sqlite3.Row
        if self._is_new():
            self._mark()
        # A commit is on disk when it returns, and a reader never waits for the writer. The last pragma leaves it to the
        # writer to move the log into the file: `SqliteFile` must not meet a half-moved one.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "wal_autocheckpoint=0"):
            self._raw.execute(f"PRAGMA {pragma}")
        self._file = self._path.stat()

    def _is_new(self) -> bool:
        try:
            return self._path.stat().st_size == 0
        except FileNotFoundError:
            return True

    def _mark(self) -> None:
        """Store a random number in a new file, by which the writer recognises it.

        It is written before the file gets a write-ahead log: from then on the head of the file would lag behind.
        """
        with self._transaction(write=True):
            if self._raw.execute("PRAGMA application_id").fetchone()[0] == 0:
                number = random.SystemRandom().randrange(1, 1 << 31)
                self._raw.execute(f"PRAGMA application_id={number}")

    def allow_computing(self, rows: int) -> None:
        """Do nothing: a file waits."""

    def move_log_regularly(self) -> None:
        """Move the log into the file whenever it has grown to about 4 MB. For the writer."""
        with self.mapped_errors():
            self._raw.execute("PRAGMA wal_autocheckpoint=1000")

    def purge(self) -> bool:
        """Rewrite the file and empty its log; false while a reader of the old one keeps that from happening."""
        with self.mapped_errors():
            self._raw.execute("VACUUM")
            busy = self._raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        return not busy

    @property
    def broken(self) -> bool:
        """Return whether the file of that name is another one by now, or gone."""
        try:
            return not os.path.samestat(self._path.stat(), self._file)
        except OSError:
            return True

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(sqlite3.Error):
            self._raw.close()

    @contextlib.contextmanager
    def _transaction(self, *, write: bool) -> Iterator[None]:
        # A transaction that reads first and writes later could find itself too late to become the writer.
        self._raw.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield
            self._raw.execute("COMMIT")
        except BaseException:
            if self._raw.in_transaction:  # some failures have rolled back already
                self._raw.execute("ROLLBACK")
            raise

    def _execute(self, statement: str, parameters: Row) -> Any:
        return self._raw.execute(statement.replace("json_rows(:rows)", "json_each(:rows)"), dict(parameters))
