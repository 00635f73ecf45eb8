"""Reads from PostgreSQL. Needs psycopg, which the extra `postgres` brings.

Invariant: nothing is written, and all that one session reads is from one moment: one transaction, READ ONLY and
REPEATABLE READ. Neighbours: `sql_source` uses this; `worker.journal` has connections of its own.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from worker.sources import fetching, sql_source

_AT_ONCE = 2000
"""Rows that are fetched at a time."""

_CLIENT: dict[str, Any] = {"application_name": "fleet-sync source", "client_encoding": "utf8", "connect_timeout": 10}


class PostgresSession:
    """Implements sql_source.Session."""

    def __init__(self, url: str, timeout: float) -> None:
        """Connect. Raises SqlError."""
        try:
            self._raw = psycopg.connect(url, **_CLIENT)
        except psycopg.ProgrammingError:  # it quotes the address
            raise sql_source.SqlError("the address of the database is not valid", "source_invalid") from None
        except psycopg.Error as error:
            refused = "authentication failed" in str(error) or "no password" in str(error)
            code: fetching.Code = "source_unauthorized" if refused else "source_unreachable"
            raise sql_source.SqlError(f"no connection could be made: {_first_line(error)}", code) from None
        self._cursor: psycopg.ServerCursor[tuple[Any, ...]] | None = None
        try:
            self._raw.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self._raw.read_only = True
            # If this process vanishes, the server must not continue with the query forever.
            self._raw.execute("SELECT set_config('statement_timeout', %s, true)", [str(max(1, int(timeout * 1000)))])
        except psycopg.Error as error:
            self.close()
            raise _translated(error) from None

    def query(self, statement: str) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
        """Run a query. Raises SqlError."""
        try:
            self._close_cursor()
            # On the server, so that not all rows are in memory. A session has one at a time.
            self._cursor = cursor = self._raw.cursor(name="fleet_sync")
            cursor.itersize = _AT_ONCE
            cursor.execute(statement.rstrip().removesuffix(";").encode())
            return [column.name for column in cursor.description or ()], _rows(cursor)
        except psycopg.Error as error:
            raise _translated(error) from None

    def interrupt(self) -> None:
        """End a query that runs in another thread."""
        with contextlib.suppress(psycopg.Error):
            if not self._raw.closed:
                self._raw.cancel_safe(timeout=1)

    def close(self) -> None:
        """Roll back, and close the connection."""
        self._close_cursor()
        with contextlib.suppress(psycopg.Error):
            self._raw.close()

    def _close_cursor(self) -> None:
        with contextlib.suppress(psycopg.Error):
            if self._cursor:
                self._cursor.close()


def connect(url: str, timeout: float) -> PostgresSession:
    """Connect to a server, which ends each statement after `timeout` seconds. Raises SqlError."""
    return PostgresSession(url, timeout)


def _rows(cursor: "psycopg.ServerCursor[tuple[Any, ...]]") -> Iterator[Sequence[Any]]:
    try:
        for row in cursor:  # noqa: UP028 - `yield from` would close the cursor after its session
            yield row
    except psycopg.Error as error:
        raise _translated(error) from None


def _translated(error: psycopg.Error) -> sql_source.SqlError:
    code: fetching.Code
    match error:
        case psycopg.errors.QueryCanceled():
            code = "source_timeout"
        case psycopg.errors.InsufficientPrivilege():
            code = "source_unauthorized"
        case psycopg.OperationalError():
            code = "source_incomplete"
        case _:
            code = "source_invalid"
    return sql_source.SqlError(f"the database says: {_first_line(error)}", code)


def _first_line(error: psycopg.Error) -> str:
    """Return what the server says first. Further lines may quote the query or its data."""
    return (error.diag.message_primary or str(error)).strip().partition("\n")[0]
