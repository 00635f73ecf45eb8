"""One writer a journal: a lock that the kernel or the server releases when the process that holds it dies.

Invariants: at most one process holds the lock, and it cannot be held for one journal by mistake for another. A lock
file is never removed: two processes could then lock two files of the same name. Neighbours: `session` takes the lock
before it writes.
"""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import socket
from typing import Self

from worker.core.model.errors import JournalBusy, JournalError
from worker.journal import connection, queries

_REMEDY = "Make sure that the folder of `[journal] url` exists, is writable, and that its disk has room."


class FileLock:
    """A lock file beside an SQLite journal."""

    def __init__(self, path: pathlib.Path, handle: int) -> None:
        """Keep the open file; use `acquire` to make one."""
        self._path = path
        self._handle = handle
        self._file = os.fstat(handle)

    @classmethod
    def acquire(cls, path: pathlib.Path, *, now: datetime.datetime) -> Self:
        """Lock the file, and write into it which process holds it since when.

        Raises errors.JournalBusy, naming the holder, if another process has it; errors.JournalError if the file cannot
        be made or locked.
        """
        while True:
            lock = cls(path, _locked(path))
            if lock.held():
                lock._sign(now)
                return lock
            lock.release()  # it was removed between being opened and being locked

    def held(self) -> bool:
        """Return whether the file of that name is still the locked one: it may have been removed."""
        try:
            return os.path.samestat(self._path.stat(), self._file)
        except OSError:
            return False

    def release(self) -> None:
        """Release the lock."""
        os.close(self._handle)

    def _sign(self, now: datetime.datetime) -> None:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": now.isoformat(timespec="seconds")}
        with contextlib.suppress(OSError):  # on a full disk the lock is held all the same
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, json.dumps(holder).encode(), 0)


class SessionLock:
    """An advisory lock of a PostgreSQL session, on the account's row of the journal's own table.

    Its two halves are the OID of the table `accounts` and the account's number, so no two journals of a database share
    one. Lock and session are lost together: a commit proves that the lock was held. A pooler that shares sessions
    (PgBouncer in transaction mode) cannot carry it.
    """

    def __init__(self, session: connection.Connection) -> None:
        """Lock for the rest of the session. Raises errors.JournalBusy, naming the holder, if another one has it."""
        if not session.query(queries.TRY_LOCK)[0]["locked"]:
            raise _busy(_session_holder(session))
        self._session = session

    def held(self) -> bool:
        """Return whether the session lives. Raises errors.JournalError if it has ended."""
        return bool(self._session.query("SELECT 1 AS alive"))

    def release(self) -> None:
        """Do nothing: to close the session releases the lock."""


def _locked(path: pathlib.Path) -> int:
    """Open the file and lock it."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise JournalError(
            f"the journal's lock file {path} cannot be opened: {error.strerror}", remedy=_REMEDY
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(handle)
        os.close(handle)
        raise _busy(holder) from None
    except OSError as error:
        os.close(handle)
        raise JournalError(
            f"the journal's lock file {path} cannot be locked: {error.strerror}",
            remedy="Keep the journal on a file system that supports locks.",
        ) from error
    return handle


def _holder(handle: int) -> str | None:
    """Return which process holds the lock, if the file says so."""
    try:
        holder = json.loads(os.pread(handle, 4096, 0))
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _session_holder(session: connection.Connection) -> str | None:
    """Return which process holds the lock, if the server shows it to this user."""
    found = session.query(queries.LOCK_HOLDER)
    if not found or found[0]["since"] is None:
        return None
    pid, _, host = found[0]["name"].removeprefix("fleet-sync ").partition("@")
    return f"process {pid} on {host}, since {found[0]['since'].isoformat(timespec='seconds')}"


def _busy(holder: str | None) -> JournalBusy:
    return JournalBusy(f"another fleet-sync writes to this journal: {holder or 'an unknown process'}")
