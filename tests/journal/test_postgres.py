"""The journal on a server: whose it is, how it is lost, and what an operator is told."""

import contextlib
import os
import socket
from concurrent import futures
from urllib import parse as urls

import psycopg
import pytest

from tests.journal import backends, journal_factories, processes
from tests.support import command
from worker.core.model.errors import JournalBusy, JournalError
from worker.core.model.identifiers import RunId
from worker.journal import address, connection, migrations, queries, session, sql_journal, writer_lock

pytestmark = pytest.mark.anyio


def _writer(backend: backends.PostgresBackend) -> session.WriterSession:
    return session.WriterSession(address.parse(backend.url), account="default", clock=backend.clock)


def test_a_lost_connection_is_noticed_and_only_opening_again_makes_this_the_writer(
    postgresql_backend: backends.PostgresBackend,
) -> None:
    writer = _writer(postgresql_backend)
    writer.open()
    assert writer.is_recent_writer()
    writer.check()
    postgresql_backend.crash(postgresql_backend.journal())
    with pytest.raises(JournalError, match="terminating connection"):
        writer.check()
    assert not writer.is_recent_writer()
    with pytest.raises(JournalError, match="may no longer write"):
        writer.write(lambda database: None)
    writer.open()
    writer.check()
    writer.close()


def test_two_accounts_that_start_for_the_first_time_at_once_have_numbers_of_their_own(
    postgresql_backend: backends.PostgresBackend,
) -> None:
    """A folder starts all its accounts together; both may want the same number."""
    parsed = address.parse(postgresql_backend.url)
    bolt = session.WriterSession(parsed, account="bolt", clock=postgresql_backend.clock)
    with contextlib.closing(connection.connect(parsed)) as acme, futures.ThreadPoolExecutor() as threads:
        migrations.migrate(acme)
        with acme.transaction(write=True):
            acme.execute(queries.ADD_ACCOUNT, {"name": "acme"})
            opening = threads.submit(bolt.open)
            command.until(lambda: opening.done() or postgresql_backend.is_waiting(), what="bolt waits for acme")
        opening.result()
        assert acme.query("SELECT name FROM accounts ORDER BY account") == [{"name": "acme"}, {"name": "bolt"}]
    assert bolt.write(lambda database: database.account) == 2
    bolt.close()


def test_a_writer_that_comes_back_from_a_pause_finds_that_another_took_over(
    postgresql_backend: backends.PostgresBackend,
) -> None:
    writer, other = _writer(postgresql_backend), _writer(postgresql_backend)
    writer.open()
    postgresql_backend.crash(postgresql_backend.journal())
    other.open()
    with pytest.raises(JournalError):
        writer.check()
    with pytest.raises(JournalBusy):
        writer.open()
    other.check()
    writer.close()
    other.close()


def test_to_open_again_on_a_lost_connection_makes_this_the_writer_again(
    postgresql_backend: backends.PostgresBackend,
) -> None:
    writer, other = _writer(postgresql_backend), _writer(postgresql_backend)
    writer.open()
    postgresql_backend.crash(postgresql_backend.journal())
    writer.open()
    writer.check()
    with pytest.raises(JournalBusy):
        other.open()
    writer.close()


async def test_a_write_on_a_lost_connection_is_not_made_and_says_so(
    postgresql_backend: backends.PostgresBackend,
) -> None:
    journal = postgresql_backend.journal()
    await journal_factories.begin(journal, journal_factories.many(1))
    postgresql_backend.crash(journal)
    with pytest.raises(JournalError):
        await journal.record([(journal_factories.key(), journal_factories.DONE)])
    with pytest.raises(JournalError):
        await journal.check()
    assert len(await journal.open()) == 1
    await journal.aclose()


async def test_a_second_writer_is_told_who_the_first_one_is(postgresql_backend: backends.PostgresBackend) -> None:
    first, second = postgresql_backend.journal(), postgresql_backend.journal()
    await first.open()
    with pytest.raises(JournalBusy, match=f"process {os.getpid()} on {socket.gethostname()[:40]}"):
        await second.open()
    await first.aclose()


async def test_a_writer_whom_the_server_does_not_show_is_busy_all_the_same(
    postgresql_backend: backends.PostgresBackend,
) -> None:
    first = postgresql_backend.journal()
    await first.open()
    postgresql_backend.tell("CREATE ROLE stranger LOGIN")
    postgresql_backend.tell(f"GRANT USAGE ON SCHEMA {postgresql_backend.schema} TO stranger")
    postgresql_backend.tell(f"GRANT ALL ON ALL TABLES IN SCHEMA {postgresql_backend.schema} TO stranger")
    second = sql_journal.SqlJournal(
        postgresql_backend.url.replace("postgres@", "stranger@"), clock=journal_factories.Clock()
    )
    with pytest.raises(JournalBusy, match="an unknown process"):
        await second.open()
    postgresql_backend.tell("DROP OWNED BY stranger; DROP ROLE stranger")
    await first.aclose()


async def test_each_schema_is_a_journal_of_its_own(
    postgresql_backend: backends.PostgresBackend, postgres_host: str
) -> None:
    other = backends.PostgresBackend(postgres_host)
    here, there = postgresql_backend.journal(), other.journal()
    await journal_factories.begin(here, journal_factories.many(1))
    assert await there.open() == ()
    await here.aclose()
    await there.aclose()
    other.tell(f"DROP SCHEMA {other.schema} CASCADE")


async def test_a_journal_of_a_newer_version_is_said(postgresql_backend: backends.PostgresBackend) -> None:
    journal = postgresql_backend.journal()
    await journal.open()
    await journal.aclose()
    postgresql_backend.tell(f"UPDATE {postgresql_backend.schema}.schema_version SET version = 9999")  # noqa: S608
    for attempt in (journal.open(), journal.runs()):
        with pytest.raises(JournalError, match="newer version") as caught:
            await attempt
        assert "Upgrade fleet-sync" in caught.value.remedy
    await journal.aclose()


async def test_a_server_that_answers_before_a_commit_is_on_disk_is_told_not_to(
    postgresql_backend: backends.PostgresBackend,
) -> None:
    for server, expected in (("off", "on"), ("remote_apply", "remote_apply")):
        url = f"{postgresql_backend.url}%20-csynchronous_commit%3D{server}"
        with contextlib.closing(connection.connect(address.parse(url))) as database:
            assert database.query("SHOW synchronous_commit")[0]["synchronous_commit"] == expected


# --- What cannot be used ----------------------------------------------------------------------------------


async def refused(url: str) -> JournalError:
    journal = None
    with pytest.raises(JournalError) as caught:
        journal = sql_journal.SqlJournal(url, clock=journal_factories.Clock())
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
        ("postgresql://u@127.0.0.1:1/d?password=sesame%zz", "percent-encoded"),
        ("postgresql://u@127.0.0.1:1/d?sslpassword=sesame%zz&connect_timeout=2", "percent-encoded"),
        ("postgresql://u:sesame%zz@127.0.0.1:1/d", "percent-encoded"),
        ("postgresql://u:sesame@127.0.0.1:sesame/d", "malformed"),
        ("postgresql://u:sesame@[::1/d", "malformed"),
        ("postgresql://u:p@sesame@127.0.0.1/d", "reserved characters"),
        ("postgresql://u:p/sesame@127.0.0.1/d", "reserved characters"),
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


async def test_a_server_that_only_reads_is_said(postgresql_backend: backends.PostgresBackend) -> None:
    journal = postgresql_backend.journal()
    await journal.open()
    await journal.aclose()
    error = await refused(f"{postgresql_backend.url}%20-cdefault_transaction_read_only%3Don")
    assert "read-only transaction" in error.message
    assert "standby" in error.remedy


async def test_a_user_who_may_not_write_is_said(
    postgresql_backend: backends.PostgresBackend, postgres_host: str
) -> None:
    postgresql_backend.tell("CREATE ROLE reader LOGIN")
    error = await refused(postgresql_backend.url.replace("postgres@", "reader@"))
    postgresql_backend.tell("DROP ROLE reader")
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


async def test_a_lock_that_was_released_by_hand_is_free(postgresql_backend: backends.PostgresBackend) -> None:
    """A reader that makes the journal is its writer for that moment only."""
    reader, journal = postgresql_backend.journal(), postgresql_backend.journal()
    await reader.approve("sha256:1", now=journal_factories.NOON, until=journal_factories.minutes(1))
    await journal.open()
    await journal.begin(RunId("run_1"), trigger="once", guarded=journal_factories.guarded(), intents=[])
    assert [past.run for past in await reader.runs()] == ["run_1"]
    await reader.aclose()
    await journal.aclose()


def test_the_server_of_the_tests_is_a_real_one(postgres_host: str) -> None:
    with contextlib.closing(psycopg.connect(host=postgres_host, user="postgres", dbname="postgres")) as connection:
        assert connection.info.server_version >= 160_000


def test_a_lock_is_released_before_the_session_ends(postgresql_backend: backends.PostgresBackend) -> None:
    """The server takes its time to notice an end: the next run would find the journal busy."""
    place = address.parse(postgresql_backend.url)
    made = _writer(postgresql_backend)
    made.open()
    made.close()
    with contextlib.closing(connection.connect(place)) as first, contextlib.closing(connection.connect(place)) as other:
        for each in (first, other):
            each.account = 1
        writer_lock.SessionLock(first)
        with pytest.raises(JournalBusy):
            writer_lock.SessionLock(other)
        first.close()
        writer_lock.SessionLock(other)


async def test_schemas_whose_names_have_the_same_hash_are_written_at_once(
    postgresql_backend: backends.PostgresBackend, postgres_host: str
) -> None:
    journals = []
    names = ("93619ba5-c757-00b0-503a-b7b0505b4ea3", "246659ac-8d11-86c1-eeae-394821e2b1ee")
    for name in names:
        postgresql_backend.tell(f'CREATE SCHEMA "{name}"')
        options = urls.quote(f'-csearch_path="{name}"')
        url = f"postgresql://postgres@/postgres?host={urls.quote(postgres_host)}&options={options}"
        journals.append(sql_journal.SqlJournal(url, clock=postgresql_backend.clock))
    for journal in journals:
        await journal_factories.begin(journal, journal_factories.many(1))
    for journal, name in zip(journals, names, strict=True):
        await journal.check()
        assert [run.run for run in await journal.runs()] == [journal_factories.RUN]
        await journal.aclose()
        postgresql_backend.tell(f'DROP SCHEMA "{name}" CASCADE')


async def test_each_account_of_a_database_has_a_writer_and_records_of_its_own(
    postgresql_backend: backends.PostgresBackend,
) -> None:
    first, second = (
        sql_journal.SqlJournal(postgresql_backend.url, clock=postgresql_backend.clock, account=name)
        for name in ("paris", "lyon")
    )
    await journal_factories.begin(first, journal_factories.many(1))
    assert await second.open() == ()
    await journal_factories.begin(second, journal_factories.many(1))
    await first.record([(journal_factories.key(), journal_factories.DONE)])
    assert [change.outcome for journal in (first, second) for change in await journal.changes()] == ["applied", None]
    await first.aclose()
    await second.aclose()


def test_the_server_ends_what_waits_or_stays_idle_for_long(postgresql_backend: backends.PostgresBackend) -> None:
    """What it does about a client that vanished from the network is seen in tests/journal/network_cut.py."""
    with contextlib.closing(connection.connect(address.parse(postgresql_backend.url))) as database:
        for setting, value in (
            ("lock_timeout", "10s"),
            ("statement_timeout", "1min"),
            ("idle_in_transaction_session_timeout", "20s"),
        ):
            assert database.query(f"SHOW {setting}")[0][setting] == value


async def test_a_reader_gets_a_new_session_when_it_has_lost_one(postgresql_backend: backends.PostgresBackend) -> None:
    journal = postgresql_backend.journal()
    await journal_factories.whole(journal, run="run_0", at=journal_factories.NOON)
    assert len(await journal.runs()) == 1
    postgresql_backend.crash(journal)
    with pytest.raises(JournalError):
        await journal.runs()
    assert len(await journal.runs()) == 1
    await journal.aclose()
