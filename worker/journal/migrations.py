"""Makes the journal's tables, and brings those of an older version up to date: plain SQL, in one transaction.

Invariants: the tables are changed completely or not at all, and never those of a newer version. Any process may make a
journal; only the writer upgrades one, because another version may be using it. Neighbours: `versions/` has one script
for each version, and a second one where a table is in PostgreSQL only; `session` calls this.
"""

import pathlib

from worker.core.model.errors import JournalError
from worker.journal import connection, queries

NEWEST = 2
"""The version that this program knows."""

_SCRIPTS = pathlib.Path(__file__).with_name("versions")


def version(database: connection.Connection) -> int | None:
    """Return the version of the tables, `None` if there are none.

    Raises errors.JournalError if they are newer than this program, or not of fleet-sync.
    """
    tables = {row["name"] for row in database.query(database.TABLES)}
    if "schema_version" not in tables:
        if tables & {"runs", "intents"}:
            raise JournalError(
                f"the journal {database.address.shown} has tables that fleet-sync did not make",
                remedy="Give the journal a database (or a PostgreSQL schema) of its own.",
            )
        return None
    found: int | None = database.query(queries.VERSION)[0]["version"]
    if found is not None and found > NEWEST:
        raise JournalError(
            f"the journal {database.address.shown} was made by a newer version of fleet-sync (its tables have version"
            f" {found}, this program knows {NEWEST})",
            code="journal_newer",
            remedy="Upgrade fleet-sync to the version that last used this journal. Nothing was changed.",
        )
    return found


def migrate(database: connection.Connection) -> None:
    """Run the scripts that are missing, unless another process has just done so."""
    if database.version == NEWEST:
        return
    with database.transaction(write=True):
        database.query(database.SERIALIZE_MIGRATIONS)
        found, scripts = version(database) or 0, set(_SCRIPTS.iterdir())
        for number in range(found + 1, NEWEST + 1):
            _run(_SCRIPTS / f"{number:04}.sql", database)
            if database.address.path is None and (own := _SCRIPTS / f"{number:04}.postgresql.sql") in scripts:
                _run(own, database)
        if found < NEWEST:
            database.execute(queries.SET_VERSION, {"version": NEWEST})
    database.version = NEWEST


def _run(script: pathlib.Path, database: connection.Connection) -> None:
    for statement in script.read_text(encoding="utf-8").split(";\n"):
        if statement.strip():
            database.execute(statement)
