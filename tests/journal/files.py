"""A journal in a file, opened, made and asked."""

import contextlib
import pathlib
import sqlite3

from tests.journal import journal_factories
from worker.journal import sql_journal


def opened(path: pathlib.Path) -> sql_journal.SqlJournal:
    return sql_journal.SqlJournal(f"sqlite:///{path}", clock=journal_factories.Clock())


async def made(path: pathlib.Path) -> None:
    """Make a journal with one whole run in it."""
    journal = opened(path)
    await journal_factories.whole(journal, journal_factories.many(2), run="run_0", at=journal_factories.NOON)
    await journal.aclose()


def rows(path: pathlib.Path, query: str) -> list[tuple[object, ...]]:
    """Ask the file itself, from another connection."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()
