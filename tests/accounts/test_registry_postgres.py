"""The table of accounts of a cluster, in a real database."""

import contextlib
from collections.abc import Iterator
from concurrent import futures

import pytest

from tests.journal import backends
from tests.support import command
from worker.accounts import registry
from worker.core.model.errors import AccountExists, BelongsToWorkers, UnknownAccount
from worker.journal import address, connection, migrations, session, sql_journal

SETTINGS = b'[[sources]]\npath = "people.yaml"\n'
OTHER = b'[[sources]]\npath = "others.yaml"\n'
PERMIT_SECONDS = 3.0


@pytest.fixture
def database(postgresql_backend: backends.PostgresBackend) -> Iterator[connection.Connection]:
    """Return a connection to a database with tables."""
    with contextlib.closing(connection.connect(address.parse(postgresql_backend.url))) as database:
        migrations.migrate(database)
        yield database


@pytest.fixture
def accounts(database: connection.Connection) -> registry.Registry:
    """Return a table without accounts."""
    return registry.Registry(database)


def claim(database: connection.Connection, name: str) -> int:
    """Take an account as a worker does, and return its epoch."""
    database.execute(
        "UPDATE cluster_accounts SET epoch = epoch + 1, worker = 'w1', released = false, permit_seconds = :seconds"
        " WHERE name = :name",
        {"name": name, "seconds": PERMIT_SECONDS},
    )
    return accounts_by_name(registry.Registry(database))[name].epoch


def accounts_by_name(accounts: registry.Registry) -> dict[str, registry.RegisteredAccount]:
    return {each.name: each for each in accounts.accounts()}


def test_an_account_that_was_added_is_listed_and_has_its_settings(accounts: registry.Registry) -> None:
    assert accounts.add("bolt", SETTINGS) is registry.Added.ADDED
    assert accounts.add("acme", OTHER) is registry.Added.ADDED
    assert list(accounts_by_name(accounts)) == ["acme", "bolt"]
    assert (accounts.settings("acme"), accounts.settings("bolt")) == (OTHER, SETTINGS)


def test_the_same_settings_again_change_nothing(accounts: registry.Registry, database: connection.Connection) -> None:
    accounts.add("acme", SETTINGS)
    before = database.query("SELECT * FROM cluster_accounts")
    assert accounts.add("acme", SETTINGS) is registry.Added.UNCHANGED
    assert accounts.add("acme", SETTINGS, replace=True) is registry.Added.UNCHANGED
    assert database.query("SELECT * FROM cluster_accounts") == before


def test_other_settings_need_to_be_asked_for(accounts: registry.Registry, database: connection.Connection) -> None:
    accounts.add("acme", SETTINGS)
    epoch = claim(database, "acme")
    with pytest.raises(AccountExists):
        accounts.add("acme", OTHER)
    assert accounts.settings("acme") == SETTINGS
    assert accounts.add("acme", OTHER, replace=True) is registry.Added.REPLACED
    assert accounts.settings("acme") == OTHER
    assert (accounts_by_name(accounts)["acme"].epoch, accounts_by_name(accounts)["acme"].worker) == (epoch, "w1")


def test_an_unknown_account_is_said_to_be_unknown(accounts: registry.Registry) -> None:
    with pytest.raises(UnknownAccount):
        accounts.settings("acme")
    with pytest.raises(UnknownAccount):
        accounts.remove("acme")


def test_an_account_that_comes_back_has_an_epoch_that_no_worker_had(
    accounts: registry.Registry, database: connection.Connection
) -> None:
    """A worker of the first life would otherwise pass for one of the second."""
    accounts.add("acme", SETTINGS)
    first = claim(database, "acme")
    assert accounts.remove("acme")
    accounts.add("acme", SETTINGS)
    assert claim(database, "acme") > first
    assert accounts.remove("acme")
    accounts.add("acme", SETTINGS)
    assert claim(database, "acme") > first + 1


def test_an_account_whose_worker_was_not_done_comes_back_unsettled(
    accounts: registry.Registry, database: connection.Connection
) -> None:
    """Its next worker then waits until the permit of that one has ended."""
    accounts.add("acme", SETTINGS)
    claim(database, "acme")
    assert accounts.remove("acme") == PERMIT_SECONDS
    accounts.add("acme", SETTINGS)
    assert [dict(row) for row in database.query("SELECT permit_seconds, worker FROM cluster_accounts")] == [
        {"permit_seconds": PERMIT_SECONDS, "worker": None}
    ]


@pytest.mark.anyio
async def test_no_process_without_a_claim_writes_to_the_journal_of_an_account(
    accounts: registry.Registry, postgresql_backend: backends.PostgresBackend
) -> None:
    accounts.add("acme", SETTINGS)
    for name, belongs in (("acme", True), ("bolt", False)):
        journal = sql_journal.SqlJournal(postgresql_backend.url, clock=postgresql_backend.clock, account=name)
        with pytest.raises(BelongsToWorkers) if belongs else contextlib.nullcontext():
            await journal.open()
        assert await journal.runs(limit=5) == ()
        await journal.aclose()


def test_a_process_that_starts_while_its_account_is_added_finds_that_it_belongs_to_the_workers(
    database: connection.Connection, postgresql_backend: backends.PostgresBackend
) -> None:
    """It never ran before, so that the journal does not know the account yet: there is no lock to find."""
    parsed = address.parse(postgresql_backend.url)
    writer = session.WriterSession(parsed, account="acme", clock=postgresql_backend.clock)

    with futures.ThreadPoolExecutor() as threads:

        class Adding:
            """The database, in which a process starts right before the commit."""

            query, execute = staticmethod(database.query), staticmethod(database.execute)

            @contextlib.contextmanager
            def transaction(self, *, write: bool = False) -> Iterator[None]:
                with database.transaction(write=write):
                    yield
                    started.append(threads.submit(writer.open))
                    command.until(
                        lambda: started[0].done() or postgresql_backend.is_waiting(), what="the process waits"
                    )

        started: list[futures.Future[None]] = []
        assert registry.Registry(Adding()).add("acme", SETTINGS) is registry.Added.ADDED
        with pytest.raises(BelongsToWorkers):
            started[0].result()
    writer.close()


def test_an_account_that_no_worker_had_is_removed_without_a_wait(accounts: registry.Registry) -> None:
    accounts.add("acme", SETTINGS)
    assert not accounts.remove("acme")
    accounts.add("acme", OTHER)
    assert accounts_by_name(accounts)["acme"].worker is None
