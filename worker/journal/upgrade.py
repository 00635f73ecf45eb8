"""Brings a journal to the present form: Alembic's scripts in `migrations`, in one transaction.

Invariant: it is brought up to date whole or not at all; Alembic is imported only where there is something to do.
Neighbours: `keeper` calls this as the one writer, `revisions` names the forms.
"""

import sqlalchemy as sa

from worker.core.model.errors import JournalError
from worker.journal import revisions


def needed(connection: sa.Connection, *, shown: str) -> bool:
    """Tell whether the journal has to be brought up to date. Raises errors.JournalError where it is newer."""
    tables = sa.inspect(connection).get_table_names()
    if "alembic_version" not in tables:
        if "runs" in tables or "intents" in tables:
            raise JournalError(
                f"the journal {shown} has tables that fleet-sync did not make",
                remedy="Give the journal a database (or a PostgreSQL schema) of its own.",
            )
        return True
    found = connection.execute(sa.text("SELECT max(version_num) FROM alembic_version")).scalar()
    return not revisions.current(found, shown=shown)


def apply(connection: sa.Connection) -> None:
    """Run the scripts that are missing, in the connection's transaction."""
    from alembic import command, config

    settings = config.Config()
    settings.set_main_option("script_location", "worker.journal:migrations")
    settings.set_main_option("path_separator", "newline")
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")
