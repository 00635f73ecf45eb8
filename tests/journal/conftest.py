"""Gives the tests of the contract a journal of every kind, and closes what they opened."""

import pathlib
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.journal import desks, postgres


@pytest.fixture(scope="session")
def postgres_host() -> Iterator[str]:
    """Run a PostgreSQL server while the tests last."""
    with postgres.server() as folder:
        yield folder


@pytest.fixture
def sqlite_desk(tmp_path: pathlib.Path) -> desks.SqliteDesk:
    """Give a place for a journal in a file."""
    return desks.SqliteDesk(tmp_path)


@pytest.fixture
def postgresql_desk(postgres_host: str) -> Iterator[desks.PostgresDesk]:
    """Give a place for a journal on the server."""
    desk = desks.PostgresDesk(postgres_host)
    yield desk
    desk.tell(f"DROP SCHEMA {desk.schema} CASCADE")


class Office:
    """A desk that remembers what was opened on it."""

    def __init__(self, desk: desks.Desk) -> None:
        """Take the desk."""
        self.desk = desk
        self.clock = desk.clock
        self.opened: list[desks.Journal] = []

    def journal(self) -> desks.Journal:
        """Give the journal as another process has it."""
        self.opened.append(self.desk.journal())
        return self.opened[-1]

    async def writer(self) -> desks.Journal:
        """Give the journal as the one writer has it."""
        journal = self.journal()
        assert await journal.open() == ()
        return journal

    def crash(self, journal: desks.Journal) -> desks.Journal:
        """Let a process die, and give the next one's journal."""
        self.opened.append(self.desk.crash(journal))
        return self.opened[-1]


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest) -> desks.Desk:
    """Give a place of each kind."""
    if request.param == "memory":
        return desks.MemoryDesk()
    found: desks.Desk = request.getfixturevalue(f"{request.param}_desk")
    return found


@pytest.fixture
async def office(desk: desks.Desk) -> AsyncIterator[Office]:
    """Give a place of each kind, and close in the end what was opened there."""
    office = Office(desk)
    yield office
    for journal in office.opened:
        await journal.aclose()


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Name the journal's file, in a folder whose name needs care."""
    folder = tmp_path / "a folder with spaces & 100 % more?"
    folder.mkdir()
    return folder / "journal.db"
