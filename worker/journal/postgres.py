"""Connects to a journal in PostgreSQL.

Invariant: a dead network is noticed within half a minute on both sides: here, and at the server, which otherwise keeps
the session of a vanished client for hours, and the writer's lock with it. Neighbours: `connection` imports this only
for a journal in PostgreSQL.
"""

import contextlib
import functools
import os
import re
import socket
from typing import Any, ClassVar

import psycopg
from psycopg import conninfo, rows

from worker.journal import address as addresses
from worker.journal import connection

_NAME = f"fleet-sync {os.getpid()}@{socket.gethostname()}"[:63]
"""The name of this process's sessions, by which others see which process writes. The server keeps 63 bytes."""

_CLIENT = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}
"""libpq's settings of this side, in seconds; those in the URL take precedence."""

_SERVER = """
    SET tcp_keepalives_idle = 5;
    SET tcp_keepalives_interval = 3;
    SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = '10s';
    SET idle_in_transaction_session_timeout = '20s';
    SET statement_timeout = '60s';
    SET lock_timeout = '10s';
    -- A server may be configured to reply before a commit is on disk. A stronger setting is left as it is.
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""


_FEW_ROWS = 1000
_ROWS_PER_MILLISECOND = 2
"""A plan of 50,000 changes took 3 seconds to compute."""


class PostgresConnection(connection.Connection):
    """A session of a PostgreSQL server, and the schema that its URL leads to."""

    TABLES = "SELECT tablename AS name FROM pg_catalog.pg_tables WHERE schemaname = current_schema()"
    SERIALIZE_MIGRATIONS = """
        SELECT pg_advisory_xact_lock(CAST(CAST('pg_namespace' AS regclass) AS oid)::int4, oid::int4)
        FROM pg_catalog.pg_namespace WHERE nspname = current_schema()
    """
    SESSION: ClassVar[str] = _SERVER
    """What is set for a session."""
    PREPARE_AFTER: ClassVar[int | None] = 5
    """Executions after which a statement is prepared in the session."""
    IDLE_MILLISECONDS: ClassVar[int] = 20_000
    """How long the server waits for the next statement of a transaction until it gives the session up."""
    errors = (psycopg.Error,)

    def __init__(self, address: addresses.Address) -> None:
        """Connect. Raises errors.JournalError."""
        super().__init__(address)
        with self.mapped_errors():
            given = conninfo.conninfo_to_dict(address.url)
            settings: dict[str, Any] = {**_CLIENT, **given, "application_name": _NAME, "client_encoding": "utf8"}
            self._raw: psycopg.Connection[rows.DictRow] = psycopg.connect(
                **settings, autocommit=True, row_factory=rows.dict_row, prepare_threshold=self.PREPARE_AFTER
            )
            try:
                if self.SESSION:
                    self._raw.execute(self.SESSION.encode())
            except BaseException:
                self.close()
                raise

    def allow_computing(self, rows: int) -> None:
        """Let the server wait for as long as it takes to compute with so many rows, on a busy machine."""
        if rows > _FEW_ROWS:
            milliseconds = self.IDLE_MILLISECONDS + rows // _ROWS_PER_MILLISECOND
            self._raw.execute(f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds:d}".encode())

    @property
    def broken(self) -> bool:
        """Return whether the session has been lost."""
        return self._raw.closed

    def close(self) -> None:
        """End the session. Its locks are released first: the server takes a moment to notice the end."""
        with contextlib.suppress(psycopg.Error):  # in a failed transaction it cannot be told
            if not self._raw.closed:
                self._raw.execute("SELECT pg_advisory_unlock_all()")
        with contextlib.suppress(psycopg.Error):
            self._raw.close()

    def _transaction(self, *, write: bool) -> contextlib.AbstractContextManager[object]:
        return self._raw.transaction()

    def _execute(self, statement: str, parameters: connection.Row) -> Any:
        return self._raw.execute(_translated(statement).encode(), parameters)


@functools.cache
def _translated(statement: str) -> str:
    """Return a statement of `queries` in PostgreSQL's dialect."""
    named = statement.replace("json_rows(:rows)", "json_array_elements(CAST(:rows AS json)) AS each (value)")
    return re.sub(r"(?<!:):([a-z_]+)", r"%(\1)s", named)
