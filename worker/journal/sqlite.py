"""How a connection to the SQLite file is made, by the standard library.

Invariant: what is committed is on disk (`synchronous=FULL`), and a reader never waits for the writer (WAL).
Neighbours: `glance` uses it as it is, `database` gives it to SQLAlchemy.
"""

import pathlib
import sqlite3

BUSY_SECONDS = 10.0
"""How long to wait for another process's commit, such as that of `approve`."""


def connect(path: pathlib.Path) -> sqlite3.Connection:
    """Connect to the file, which is made where it is missing. Transactions are begun by hand, so that DDL is in them.

    To be used by one thread at a time, whichever.
    """
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
