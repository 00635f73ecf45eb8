"""A journal in a file, opened, made and asked."""

import contextlib
import pathlib
import sqlite3

from tests.journal import deeds
from worker.journal import sql


def opened(path: pathlib.Path) -> sql.SqlJournal:
    return sql.SqlJournal(f"sqlite:///{path}", clock=deeds.Clock())


async def made(path: pathlib.Path) -> None:
    """Make a journal with one whole run in it."""
    journal = opened(path)
    await deeds.whole(journal, deeds.many(2), run="run_0", at=deeds.NOON)
    await journal.aclose()


def rows(path: pathlib.Path, query: str) -> list[tuple[object, ...]]:
    """Ask the file itself, from another connection."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()
