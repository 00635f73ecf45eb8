"""The journal's database: SQLAlchemy Core on SQLite. Blocks; `sql` calls it from a thread of its own.

Invariants: every method is one commit, durable when it returns (`synchronous=FULL`); whatever fails is an
errors.JournalError. Neighbours: tables in `schema`.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from worker.core import errors
from worker.journal import schema

Row = Mapping[str, Any]

_BUSY_SECONDS = 10


class Database:
    """An open journal."""

    def __init__(self, url: str) -> None:
        """Open the database, and make its tables where they are missing."""
        self._url = url
        options = {"check_same_thread": False, "timeout": _BUSY_SECONDS}
        with self._failures():
            self._engine = sa.create_engine(url, connect_args=options, poolclass=sa.StaticPool)
            sa.event.listen(self._engine, "connect", _configure)
            schema.metadata.create_all(self._engine)

    def begin(self, run: Row, intents: Sequence[Row]) -> None:
        """Insert a run with its intents."""
        with self._commit() as connection:
            connection.execute(schema.runs.insert(), [run])
            connection.execute(schema.intents.insert(), intents)

    def record(self, outcomes: Sequence[Row]) -> None:
        """Fill in outcomes of intents; `intent` is the key."""
        fill = schema.intents.update().where(schema.intents.c.key == sa.bindparam("intent"))
        with self._commit() as connection:
            connection.execute(fill, outcomes)

    def finish(self, ending: Row) -> None:
        """Fill in the end of a run; `ended` is its id."""
        with self._commit() as connection:
            connection.execute(schema.runs.update().where(schema.runs.c.run == sa.bindparam("ended")), [ending])

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _commit(self) -> Iterator[sa.Connection]:
        with self._failures(), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.SQLAlchemyError, OSError, UnicodeError) as error:  # a file's name need not be text
            cause = getattr(error, "orig", None) or error
            raise errors.JournalError(f"the journal {self._url} cannot be written: {cause}") from error


def _configure(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
