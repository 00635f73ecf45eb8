"""The journal on a server: whose it is, how it is lost, and what an operator is told."""

import contextlib
import os
import socket

import psycopg
import pytest

from tests.journal import backends, journal_factories, processes
from worker.core.model.errors import JournalBusy, JournalError
from worker.core.model.identifiers import RunId
from worker.journal import address, advisory, engines, keeper, sql

pytestmark = pytest.mark.anyio


def kept(backend: backends.PostgresBackend) -> keeper.Keeper:
    return keeper.Keeper(address.parse(backend.url), clock=backend.clock)


def test_a_lost_connection_is_noticed_and_only_opening_again_makes_this_the_writer(
    postgresql_desk: backends.PostgresBackend,
) -> None:
    writer = kept(postgresql_desk)
    writer.open()
    assert writer.sure()
    writer.check()
    postgresql_desk.crash(postgresql_desk.journal())
    with pytest.raises(JournalError, match="terminating connection"):
        writer.check()
    assert not writer.sure()
    with pytest.raises(JournalError, match="not the one that may write"):
        writer.write(lambda database: None)
    writer.open()
    writer.check()
    writer.close()


def test_a_writer_that_comes_back_from_a_pause_finds_that_another_took_over(
    postgresql_desk: backends.PostgresBackend,
) -> None:
    writer, other = kept(postgresql_desk), kept(postgresql_desk)
    writer.open()
    postgresql_desk.crash(postgresql_desk.journal())
    other.open()
    with pytest.raises(JournalError):
        writer.check()
    with pytest.raises(JournalBusy):
        writer.open()
    other.check()
    writer.close()
    other.close()


def test_to_open_again_on_a_lost_connection_makes_this_the_writer_again(
    postgresql_desk: backends.PostgresBackend,
) -> None:
    writer = kept(postgresql_desk)
    writer.open()
    postgresql_desk.crash(postgresql_desk.journal())
    writer.open()
    writer.check()
    writer.close()


async def test_a_write_on_a_lost_connection_is_not_made_and_says_so(postgresql_desk: backends.PostgresBackend) -> None:
    journal = postgresql_desk.journal()
    await journal_factories.begin(journal, journal_factories.many(1))
    postgresql_desk.crash(journal)
    with pytest.raises(JournalError):
        await journal.record([(journal_factories.key(), journal_factories.DONE)])
    with pytest.raises(JournalError):
        await journal.check()
    assert len(await journal.open()) == 1
    await journal.aclose()


async def test_a_second_writer_is_told_who_the_first_one_is(postgresql_desk: backends.PostgresBackend) -> None:
    first, second = postgresql_desk.journal(), postgresql_desk.journal()
    await first.open()
    with pytest.raises(JournalBusy, match=f"process {os.getpid()} on {socket.gethostname()[:40]}"):
        await second.open()
    await first.aclose()


async def test_a_writer_whom_the_server_does_not_show_is_busy_all_the_same(
    postgresql_desk: backends.PostgresBackend,
) -> None:
    first = postgresql_desk.journal()
    await first.open()
    postgresql_desk.tell("CREATE ROLE stranger LOGIN")
    postgresql_desk.tell(f"GRANT USAGE ON SCHEMA {postgresql_desk.schema} TO stranger")
    second = sql.SqlJournal(postgresql_desk.url.replace("postgres@", "stranger@"), clock=journal_factories.Clock())
    with pytest.raises(JournalBusy, match="cannot be told"):
        await second.open()
    postgresql_desk.tell("DROP OWNED BY stranger; DROP ROLE stranger")
    await first.aclose()


async def test_each_schema_is_a_journal_of_its_own(
    postgresql_desk: backends.PostgresBackend, postgres_host: str
) -> None:
    other = backends.PostgresBackend(postgres_host)
    here, there = postgresql_desk.journal(), other.journal()
    await journal_factories.begin(here, journal_factories.many(1))
    assert await there.open() == ()
    await here.aclose()
    await there.aclose()
    other.tell(f"DROP SCHEMA {other.schema} CASCADE")


async def test_a_journal_of_a_newer_version_is_said(postgresql_desk: backends.PostgresBackend) -> None:
    journal = postgresql_desk.journal()
    await journal.open()
    await journal.aclose()
    postgresql_desk.tell(
        f"ALTER TABLE {postgresql_desk.schema}.alembic_version ALTER version_num TYPE text USING '9999'"
    )
    for attempt in (journal.open(), journal.runs()):
        with pytest.raises(JournalError, match="newer version") as caught:
            await attempt
        assert "Upgrade fleet-sync" in caught.value.remedy
    await journal.aclose()


async def test_a_server_that_answers_before_a_commit_is_on_disk_is_told_not_to(
    postgresql_desk: backends.PostgresBackend,
) -> None:
    for server, expected in (("off", "on"), ("remote_apply", "remote_apply")):
        url = f"{postgresql_desk.url}%20-csynchronous_commit%3D{server}"
        writer = keeper.Keeper(address.parse(url), clock=postgresql_desk.clock)
        assert writer.look().ask("SHOW synchronous_commit", {})[0][0] == expected
        writer.close()


# --- What cannot be used ----------------------------------------------------------------------------------


async def refused(url: str) -> JournalError:
    journal = None
    with pytest.raises(JournalError) as caught:
        journal = sql.SqlJournal(url, clock=journal_factories.Clock())
        await journal.open()
    if journal is not None:
        await journal.aclose()
    assert caught.value.remedy
    shown = [f"{error}{getattr(error, 'remedy', '')}" for error in (caught.value, caught.value.__cause__)]
    assert "sesame" not in "".join(shown)
    return caught.value


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://u:open%20sesame@127.0.0.1:1/d", "refused"),
        ("postgresql://u@127.0.0.1:1/d?password=sesame", "refused"),
        ("postgresql://u:sesame@127.0.0.1:sesame/d", "cannot be read"),
        ("postgresql://u:p@sesame@127.0.0.1/d", "characters"),
        ("postgresql://u:p/sesame@127.0.0.1/d", "characters"),
        ("mysql://u:sesame@127.0.0.1/d", "neither"),
        ("postgresql://u:sesame@127.0.0.1:1/d?nonsense=1", "nonsense"),
    ],
)
async def test_no_message_shows_a_password(url: str, says: str) -> None:
    assert says in (await refused(url)).message


async def test_a_database_that_does_not_exist_is_said(postgres_host: str) -> None:
    error = await refused(f"postgresql://postgres@/nowhere?host={postgres_host}")
    assert 'database "nowhere" does not exist' in error.message


async def test_a_schema_that_does_not_exist_is_said(postgres_host: str) -> None:
    error = await refused(f"postgresql://postgres@/postgres?host={postgres_host}&options=-csearch_path%3Dnowhere")
    assert "no schema" in error.message


async def test_a_server_that_only_reads_is_said(postgresql_desk: backends.PostgresBackend) -> None:
    journal = postgresql_desk.journal()
    await journal.open()
    await journal.aclose()
    error = await refused(f"{postgresql_desk.url}%20-cdefault_transaction_read_only%3Don")
    assert "read-only transaction" in error.message
    assert "standby" in error.remedy


async def test_a_user_who_may_not_write_is_said(postgresql_desk: backends.PostgresBackend, postgres_host: str) -> None:
    postgresql_desk.tell("CREATE ROLE reader LOGIN")
    error = await refused(postgresql_desk.url.replace("postgres@", "reader@"))
    postgresql_desk.tell("DROP ROLE reader")
    assert error.remedy


def test_without_psycopg_the_operator_is_told_what_to_install() -> None:
    body = """
        sys.modules["psycopg"] = None
        try:
            await journal.open()
        except errors.JournalError as error:
            print(error.message, error.remedy)
    """
    shown = processes.run(body, "postgresql://u:sesame@127.0.0.1:1/d")
    assert "fleet-sync[postgres]" in shown
    assert "postgresql://u@127.0.0.1:1/d" in shown
    assert "sesame" not in shown


async def test_a_lock_that_was_released_by_hand_is_free(postgresql_desk: backends.PostgresBackend) -> None:
    """A reader that makes the journal is its writer for that moment only."""
    reader, journal = postgresql_desk.journal(), postgresql_desk.journal()
    await reader.approve("sha256:1", now=journal_factories.NOON, until=journal_factories.minutes(1))
    await journal.open()
    await journal.begin(RunId("run_1"), trigger="once", guarded=journal_factories.guarded(), intents=[])
    assert [past.run for past in await reader.runs()] == ["run_1"]
    await reader.aclose()
    await journal.aclose()


def test_the_server_of_the_tests_is_a_real_one(postgres_host: str) -> None:
    with contextlib.closing(psycopg.connect(host=postgres_host, user="postgres", dbname="postgres")) as connection:
        assert connection.info.server_version >= 160_000


def test_a_lock_is_let_go_of_before_the_session_ends(postgresql_desk: backends.PostgresBackend) -> None:
    """The server takes its time to notice an end: the next run would find the journal busy."""
    engine = engines.make(address.parse(postgresql_desk.url))
    with engine.connect() as first, engine.connect() as second:
        advisory.acquire(first, shown="it")
        advisory.acquire(first, shown="it")
        with pytest.raises(JournalBusy):
            advisory.acquire(second, shown="it")
        advisory.release_all(first)
        advisory.acquire(second, shown="it")
