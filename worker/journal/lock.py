"""One writer a journal: a lock file beside the database, held by the kernel for as long as the process lives.

Invariants: at most one process holds the lock; a process that dies, however, lets go of it. The file itself stays: to
remove it would let two processes hold two files of one name. Neighbours: `sql` takes the lock before it writes.
"""

import datetime
import fcntl
import json
import os
import pathlib
import socket
from typing import Self

from worker.core import errors


class Lock:
    """A lock file, locked by this process."""

    def __init__(self, path: pathlib.Path, handle: int) -> None:
        """Keep the open file; use `acquire` to make one."""
        self._path = path
        self._handle = handle

    @classmethod
    def acquire(cls, path: pathlib.Path, *, now: datetime.datetime) -> Self:
        """Lock the file, and write into it who holds it since when.

        Raises errors.JournalBusy, naming the holder, where another process has it; errors.JournalError where the file
        cannot be made.
        """
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise errors.JournalError(f"the lock file {path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _holder(handle)
            os.close(handle)
            raise errors.JournalBusy(f"another fleet-sync writes to this journal: {holder}") from None
        lock = cls(path, handle)
        lock._sign(now)
        return lock

    def held(self) -> bool:
        """Tell whether the file at the path is still the one that is locked: somebody may have removed it."""
        try:
            there = self._path.stat()
        except OSError:
            return False
        mine = os.fstat(self._handle)
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def release(self) -> None:
        """Let go of the lock."""
        os.close(self._handle)

    def _sign(self, now: datetime.datetime) -> None:
        mine = {"pid": os.getpid(), "host": socket.gethostname(), "since": now.isoformat(timespec="seconds")}
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, json.dumps(mine).encode(), 0)


def _holder(handle: int) -> str:
    """Say who holds the lock, as far as the file tells."""
    try:
        holder = json.loads(os.pread(handle, 4096, 0))
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "who it is cannot be told"
