"""One writer a journal in PostgreSQL: an advisory lock of the very session that writes.

Invariant: whoever loses the session loses lock and connection together, so that a commit proves that the lock was held.
Neighbours: `database` takes it; `lock` is the same beside an SQLite file. A pooler that shares sessions (PgBouncer in
transaction mode) cannot carry such a lock.
"""

import os
import socket
import zlib

import sqlalchemy as sa

from worker.core.model.errors import JournalBusy, JournalError

_SPACE = zlib.crc32(b"fleet-sync") & 0x7FFFFFFF
_TRY = sa.text("SELECT pg_try_advisory_lock(:space, :key)")
_RELEASE = sa.text("SELECT pg_advisory_unlock(:space, :key)")
_HOLDER = sa.text("""
    SELECT application_name, backend_start
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 2
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = CAST(:space AS oid) AND objid = CAST(:key AS oid)
""")


def name() -> str:
    """Give the session's name, from which a second writer learns who the first one is; at most 63 bytes."""
    return f"fleet-sync {os.getpid()}@{socket.gethostname()}"[:63]


def acquire(connection: sa.Connection, *, shown: str) -> None:
    """Take the lock for the rest of the session, once more where it is held already.

    Raises errors.JournalBusy, naming the holder, where another session has it.
    """
    where = _where(connection, shown)
    if not connection.execute(_TRY, where).scalar():
        raise JournalBusy(f"another fleet-sync writes to this journal: {_holder(connection, where)}")


def release(connection: sa.Connection, *, shown: str) -> None:
    """Let go of the lock."""
    connection.execute(_RELEASE, _where(connection, shown))


def release_all(connection: sa.Connection) -> None:
    """Let go of every lock of the session: the server takes its time to notice that a session has ended."""
    connection.execute(sa.text("SELECT pg_advisory_unlock_all()"))


def _where(connection: sa.Connection, shown: str) -> dict[str, int]:
    """Give the lock's number: one for each schema, because each schema can be a journal."""
    schema = connection.execute(sa.text("SELECT current_schema()")).scalar()
    if schema is None:
        raise JournalError(
            f"the journal {shown} has no schema to write to", remedy="Create the schema of `[journal] url`."
        )
    return {"space": _SPACE, "key": zlib.crc32(schema.encode()) & 0x7FFFFFFF}


def _holder(connection: sa.Connection, where: dict[str, int]) -> str:
    """Say who holds the lock, as far as the server tells."""
    row = connection.execute(_HOLDER, where).first()
    if row is None or row.backend_start is None:
        return "who it is cannot be told"
    pid, _, host = row.application_name.removeprefix("fleet-sync ").partition("@")
    return f"process {pid} on {host}, since {row.backend_start.isoformat(timespec='seconds')}"
