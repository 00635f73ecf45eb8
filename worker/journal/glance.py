"""A quick look at an SQLite journal: all that a run with nothing to write needs, without SQLAlchemy's 0.2 seconds.

Invariant: only for a file in the present form, which it also makes; else it writes nothing but the end of a run that
never began. Neighbours: `keeper` falls back to `database` where this gives `None`, and for every other write.
"""

import pathlib
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from worker.journal import address as addresses
from worker.journal import failures, lookups, revisions, rows, sqlite

_RUN = """
    INSERT INTO runs (run, "trigger", started, finished, result, exit_code, outcomes,
    "plan", plan_lists, report, report_lists)
    VALUES (:run, :trigger, :started, :finished, :result, :exit_code, :outcomes,
    :plan, :plan_lists, :report, :report_lists)
"""
_SOURCE = "INSERT INTO sources (run, position, kind, name, revision) VALUES (:run, :position, :kind, :name, :revision)"


FORM = pathlib.Path(__file__).with_name("form.sql")
"""What makes a new file; `python -m tests.journal.form` writes it, and a test holds it against the migrations."""


def look(address: addresses.Address, path: pathlib.Path, *, make: bool = False) -> "Glance | None":
    """Open the file where that is all it takes: it has the present form, and nothing in it is open.

    `make` makes it where it is missing. Raises errors.JournalError where it cannot be read or made, or was made by a
    newer version.
    """
    missing = not path.exists()
    if missing and not make:
        return None
    try:
        glance = Glance(address, sqlite.connect(path))
    except sqlite3.Error as error:
        raise failures.explain(error, address) from error
    try:
        if missing:
            glance.make()
        if glance.sufficient():
            return glance
    except BaseException:
        glance.close()
        raise
    glance.close()
    return None


class Glance(lookups.Lookups):
    """An SQLite journal, seen through the standard library. Blocks."""

    def __init__(self, address: addresses.Address, connection: sqlite3.Connection) -> None:
        """Take the connection; use `look` to make one."""
        self._address = address
        self._connection = connection

    def make(self) -> None:
        """Make the tables, in one transaction: what is cut off leaves an empty file, which the migrations fill."""
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                for statement in FORM.read_text(encoding="utf-8").split(";\n"):
                    self._connection.execute(statement)
        except sqlite3.Error as error:
            raise failures.explain(error, self._address) from error

    def sufficient(self) -> bool:
        """Tell whether the file has the present form and no open intent."""
        if not self.ask("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'", {}):
            return False
        found = self.ask("SELECT max(version_num) FROM alembic_version", {})[0][0]
        if not revisions.current(found, shown=self._address.shown):
            return False
        return not self.ask("SELECT 1 FROM intents WHERE outcome IS NULL LIMIT 1", {})

    def ask(self, question: str, parameters: Mapping[str, str]) -> Sequence[Sequence[Any]]:
        """Give the rows that answer a question."""
        try:
            return self._connection.execute(question, dict(parameters)).fetchall()
        except sqlite3.Error as error:
            raise failures.explain(error, self._address) from error

    def probe(self) -> None:
        """Raise errors.JournalError where the file may be read and not written."""
        self.ask(lookups.PROBE, {})

    def finish(self, process_shutdown: rows.Row, lists: Sequence[rows.Row], sources: Sequence[rows.Row]) -> None:
        """Insert a run that ended without having begun."""
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(lookups.KEEP, [dict(each) for each in lists])
                self._connection.execute(_RUN, dict(process_shutdown))
                self._connection.executemany(_SOURCE, [dict(source) for source in sources])
        except sqlite3.Error as error:
            raise failures.explain(error, self._address) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
