"""Connections for SQLAlchemy, to either database.

Invariant: a commit is on disk when it returns, and a dead network is noticed within half a minute. Neighbours:
`database` uses the one connection of the engine; `sqlite` makes those to a file.
"""

import sqlite3
from typing import Any

import sqlalchemy as sa

from worker.core.model.errors import JournalError
from worker.journal import address as addresses
from worker.journal import advisory, sqlite

_PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
}
"""libpq's own settings; what the address says goes before."""

_SESSION = (
    "SET statement_timeout = '60s'",
    "SET lock_timeout = '10s'",
    # A server may be set to answer before a commit is on disk; nothing stronger is weakened.
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
)


def make(address: addresses.Address) -> sa.Engine:
    """Make the engine, without a pool. Raises errors.JournalError."""
    path = address.path
    if path is not None:

        def connect() -> sqlite3.Connection:
            return sqlite.connect(path)

        return sa.create_engine("sqlite://", creator=connect, poolclass=sa.NullPool)
    return _postgresql(address)


def _postgresql(address: addresses.Address) -> sa.Engine:
    try:
        url = sa.make_url(address.url)
    except (sa.exc.ArgumentError, ValueError):
        # What was wrong is not repeated: it may be the password.
        raise JournalError(
            "the journal's address cannot be read", remedy="Write `[journal] url` like postgresql://user@host/database."
        ) from None
    patience = {name: value for name, value in _PATIENCE.items() if name not in url.query}
    try:
        engine = sa.create_engine(
            url,
            poolclass=sa.NullPool,
            connect_args={**patience, "application_name": advisory.name(), "client_encoding": "utf8"},
        )
    except ModuleNotFoundError:
        raise JournalError(
            f"the journal {address.shown} needs psycopg, which is not installed",
            remedy="Install fleet-sync with PostgreSQL: pip install 'fleet-sync[postgres]'.",
        ) from None
    sa.event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    for statement in _SESSION:
        connection.execute(statement)
    connection.commit()
