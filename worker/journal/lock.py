"""One writer a journal: a lock file beside the database, held by the kernel for as long as the process lives.

Invariants: at most one process holds the lock; a process that dies, however, lets go of it. The file itself stays: to
remove it would let two processes hold two files of one name. Neighbours: `keeper` takes the lock before it writes.
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

_REMEDY = "See that the folder of `[journal] url` exists and may be written to, and that its disk has room."


class Lock:
    """A lock file, locked by this process."""

    def __init__(self, path: pathlib.Path, handle: int) -> None:
        """Keep the open file; use `acquire` to make one."""
        self._path = path
        self._handle = handle
        self._identity = _identity(os.fstat(handle))

    @classmethod
    def acquire(cls, path: pathlib.Path, *, now: datetime.datetime) -> Self:
        """Lock the file, and write into it who holds it since when.

        Raises errors.JournalBusy, naming the holder, where another process has it; errors.JournalError where the file
        cannot be made or locked.
        """
        while True:
            lock = cls(path, _locked(path))
            if lock.held():
                lock._sign(now)
                return lock
            lock.release()  # it was removed between being opened and being locked

    def held(self) -> bool:
        """Tell whether the file at the path is still the one that is locked: somebody may have removed it."""
        try:
            return _identity(self._path.stat()) == self._identity
        except OSError:
            return False

    def release(self) -> None:
        """Let go of the lock."""
        os.close(self._handle)

    def _sign(self, now: datetime.datetime) -> None:
        mine = {"pid": os.getpid(), "host": socket.gethostname(), "since": now.isoformat(timespec="seconds")}
        with contextlib.suppress(OSError):  # a full disk: the lock is held all the same
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, json.dumps(mine).encode(), 0)


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
        raise JournalBusy(f"another fleet-sync writes to this journal: {holder}") from None
    except OSError as error:
        os.close(handle)
        raise JournalError(
            f"the journal's lock file {path} cannot be locked: {error.strerror}",
            remedy="Keep the journal on a file system that has locks.",
        ) from error
    return handle


def _identity(file: os.stat_result) -> tuple[int, int]:
    return file.st_dev, file.st_ino


def _holder(handle: int) -> str:
    """Say who holds the lock, as far as the file tells."""
    try:
        holder = json.loads(os.pread(handle, 4096, 0))
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "who it is cannot be told"
