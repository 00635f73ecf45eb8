"""Maps a database's failure to one errors.JournalError, with a remedy.

Invariant: no message contains a password. Neighbours: `connection` raises these.
"""

import sqlite3
from urllib import parse as urls

from worker.core.model.errors import JournalError
from worker.journal import address as addresses

_SQLITE = {
    sqlite3.SQLITE_BUSY: "Wait until the program that locks the file has ended, or end it.",
    sqlite3.SQLITE_CANTOPEN: "Make sure that the folder of `[journal] url` exists and is writable.",
    sqlite3.SQLITE_CORRUPT: "Restore the file from a backup, or move it and its -wal file aside: a new one is made.",
    sqlite3.SQLITE_FULL: "Make room on the journal's disk, then run again.",
    sqlite3.SQLITE_IOERR: "Check the journal's disk, and that it has room; then run again.",
    sqlite3.SQLITE_NOTADB: "Point `[journal] url` to another file, or move this one aside: a new one is made.",
    sqlite3.SQLITE_PERM: "Make the file of `[journal] url` and its folder writable.",
    sqlite3.SQLITE_READONLY: "Make the file of `[journal] url` and its folder writable.",
}
_POSTGRESQL = {
    "25006": "Point `[journal] url` or `[cluster] url` to a server that accepts writes, not to a standby.",
    "28": "Correct user and password in `[journal] url` or `[cluster] url`.",
    "3D": "Create the database of `[journal] url` or `[cluster] url`.",
    "3F": "Create the schema of `[journal] url` or `[cluster] url`.",
    "42501": "Allow the user of `[journal] url` or `[cluster] url` to create and write tables.",
    "53100": "Make room on the database server's disk, then run again.",
    "53300": "Allow more connections to the database server, or close some.",
    "55P03": "Wait until the program that locks the tables has ended, or end it.",
}
_UNREACHABLE = (
    "Make sure that the database server of `[journal] url` or `[cluster] url` is up and reachable from here, then run "
    "again."
)
_DUPLICATE_KEY = {sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE, "23505"}


def quotes_password(cause: BaseException, address: addresses.Address) -> bool:
    """Return whether the database's own message has a password of the URL, as for one with a malformed escape."""
    found = addresses.passwords(address.url)
    return any(form in str(cause) for password in found for form in (password, urls.unquote(password)))


def explain(cause: BaseException, address: addresses.Address) -> JournalError:
    """Return the error that says what happened to the journal, and what to do."""
    if getattr(cause, "sqlite_errorcode", getattr(cause, "sqlstate", None)) in _DUPLICATE_KEY:
        return JournalError(f"the journal {address.shown} already contains this run or one of its idempotency keys")
    text = " ".join(str(cause).split()) or type(cause).__name__
    for password in addresses.passwords(address.url):
        text = text.replace(urls.unquote(password), "…").replace(password, "…")
    return JournalError(f"the journal {address.shown} cannot be used: {text}", remedy=_remedy(cause, address))


def _remedy(cause: BaseException, address: addresses.Address) -> str:
    """Return what to do; empty leaves it to the class."""
    if address.path is not None:
        # An extended code has the primary one in its low byte.
        return _SQLITE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF, "")
    state = getattr(cause, "sqlstate", None)
    if state is None:
        return _UNREACHABLE
    return next((remedy for prefix, remedy in _POSTGRESQL.items() if state.startswith(prefix)), "")
