"""Reads from an SQLite file.

Invariant: nothing is written, and all that one session reads is from one moment. Neighbours: `sql_source` uses this.
"""

import contextlib
import pathlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from worker.sources import fetching, sql_source

_BUSY_SECONDS = 5.0


class SqliteSession:
    """Implements sql_source.Session."""

    def __init__(self, path: str) -> None:
        """Open the file and begin to read. Raises SqlError."""
        address = f"{pathlib.Path(path).absolute().as_uri()}?mode=ro"
        try:
            self._raw = sqlite3.connect(
                address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._raw.execute("BEGIN")
        except sqlite3.Error as error:
            raise _translated(error) from None

    def query(self, statement: str) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
        """Run a query. Raises SqlError."""
        try:
            cursor = self._raw.execute(statement)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise _translated(error) from None
        return [column[0] for column in cursor.description or ()], _rows(cursor)

    def interrupt(self) -> None:
        """End a query that runs in another thread."""
        with contextlib.suppress(sqlite3.Error):
            self._raw.interrupt()

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def connect(path: str, timeout: float) -> SqliteSession:
    """Open a file. The caller interrupts a query that takes longer than `timeout`. Raises SqlError."""
    return SqliteSession(path)


def _rows(cursor: sqlite3.Cursor) -> Iterator[Sequence[Any]]:
    try:
        for row in cursor:  # noqa: UP028 - `yield from` would close the cursor after its session
            yield row
    except sqlite3.Error as error:
        raise _translated(error) from None


def _translated(error: sqlite3.Error | sqlite3.Warning) -> sql_source.SqlError:
    """Return the error by its code: SQLite's words contain names of tables and columns, and nothing secret."""
    codes: dict[str, fetching.Code] = {
        "SQLITE_CANTOPEN": "source_unreachable",
        "SQLITE_BUSY": "source_unreachable",
        "SQLITE_INTERRUPT": "source_timeout",
        "SQLITE_CORRUPT": "source_incomplete",
        "SQLITE_NOTADB": "source_incomplete",
        "SQLITE_IOERR": "source_incomplete",
        "SQLITE_PERM": "source_unauthorized",
        "SQLITE_AUTH": "source_unauthorized",
    }
    name = getattr(error, "sqlite_errorname", "")
    code = next((code for beginning, code in codes.items() if name.startswith(beginning)), None)
    return sql_source.SqlError(f"the database says: {error}", code or "source_invalid")
