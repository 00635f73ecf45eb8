"""What a database's failure means to the operator: one errors.JournalError with a remedy for each.

Invariant: no message shows a password. Neighbours: `sqlite`, `glance` and `database` turn their failures into these.
"""

import sqlite3
from urllib import parse as urls

from worker.core.model.errors import JournalError
from worker.journal import address as addresses

_SQLITE = {
    sqlite3.SQLITE_BUSY: "Wait until the program that locks the file has ended, or end it.",
    sqlite3.SQLITE_CANTOPEN: "See that the folder of `[journal] url` exists and may be written to.",
    sqlite3.SQLITE_CORRUPT: "Restore the file from a backup, or move it and its -wal file aside: a new one is made.",
    sqlite3.SQLITE_FULL: "Make room on the journal's disk, then run again.",
    sqlite3.SQLITE_IOERR: "See that the journal's disk is sound and has room, then run again.",
    sqlite3.SQLITE_NOTADB: "Point `[journal] url` to another file, or move this one aside: a new one is made.",
    sqlite3.SQLITE_PERM: "Make the file of `[journal] url` and its folder writable.",
    sqlite3.SQLITE_READONLY: "Make the file of `[journal] url` and its folder writable.",
}
_POSTGRESQL = {
    "25006": "Point `[journal] url` to a server that takes writes, not to a standby.",
    "28": "Correct user and password in `[journal] url`.",
    "3D": "Create the database of `[journal] url`.",
    "3F": "Create the schema of `[journal] url`.",
    "42501": "Allow the user of `[journal] url` to create and write tables.",
    "53100": "Make room on the database server's disk, then run again.",
    "53300": "Allow more connections to the database server, or close some.",
}
_UNREACHABLE = "See that the database server of `[journal] url` is up and reachable from here, then run again."


def explain(cause: BaseException, address: addresses.Address) -> JournalError:
    """Say what happened to the journal, and what to do."""
    text = " ".join(str(cause).split()) or type(cause).__name__
    password = urls.urlsplit(address.url).password
    if password:
        text = text.replace(urls.unquote(password), "…").replace(password, "…")
    return JournalError(f"the journal {address.shown} cannot be used: {text}", remedy=_remedy(cause, address))


def _remedy(cause: BaseException, address: addresses.Address) -> str:
    """Choose what to do; empty leaves it to the class."""
    if address.path is not None:
        # The extended codes carry the plain one in their low byte.
        return _SQLITE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF, "")
    state = getattr(cause, "sqlstate", None)
    if state is None:
        return _UNREACHABLE
    return next((remedy for prefix, remedy in _POSTGRESQL.items() if state.startswith(prefix)), "")
