"""Gives the tests of the contract a journal of every kind, and closes what they opened."""

import pathlib
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.journal import backends, postgres


@pytest.fixture(scope="session")
def postgres_host() -> Iterator[str]:
    """Run a PostgreSQL server while the tests last."""
    with postgres.server() as folder:
        yield folder


@pytest.fixture
def sqlite_backend(tmp_path: pathlib.Path) -> backends.SqliteBackend:
    """Return a place for a journal in a file."""
    return backends.SqliteBackend(tmp_path)


@pytest.fixture
def postgresql_backend(postgres_host: str) -> Iterator[backends.PostgresBackend]:
    """Return a place for a journal on the server."""
    backend = backends.PostgresBackend(postgres_host)
    yield backend
    backend.tell(f"DROP SCHEMA {backend.schema} CASCADE")


class Office:
    """A desk that remembers what was opened on it."""

    def __init__(self, backend: backends.Backend) -> None:
        """Take the desk."""
        self.backend = backend
        self.clock = backend.clock
        self.opened: list[backends.DurableJournal] = []

    def journal(self) -> backends.DurableJournal:
        """Return the journal as another process has it."""
        self.opened.append(self.backend.journal())
        return self.opened[-1]

    async def writer(self) -> backends.DurableJournal:
        """Return the journal as the one writer has it."""
        journal = self.journal()
        assert await journal.open() == ()
        return journal

    def crash(self, journal: backends.DurableJournal) -> backends.DurableJournal:
        """Let a process die, and give the next one's journal."""
        self.opened.append(self.backend.crash(journal))
        return self.opened[-1]


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> backends.Backend:
    """Return a place of each kind."""
    if request.param == "memory":
        return backends.MemoryBackend()
    found: backends.Backend = request.getfixturevalue(f"{request.param}_backend")
    return found


@pytest.fixture
async def office(backend: backends.Backend) -> AsyncIterator[Office]:
    """Return a place of each kind, and close in the end what was opened there."""
    office = Office(backend)
    yield office
    for journal in office.opened:
        await journal.aclose()


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Name the journal's file, in a folder whose name needs care."""
    folder = tmp_path / "a folder with spaces & 100 % more?"
    folder.mkdir()
    return folder / "journal.db"
