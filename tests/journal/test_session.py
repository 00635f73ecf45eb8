"""When a session makes a journal, upgrades it, and reports that it was lost."""

import contextlib
import pathlib
import sqlite3

import pytest
import structlog

from tests.journal import journal_factories
from worker.core.model.errors import JournalBusy, JournalError
from worker.core.model.identifiers import DriverId
from worker.journal import address, connection, forgetting, migrations, queries, session, writer_lock


def _session(path: pathlib.Path) -> session.WriterSession:
    return session.WriterSession(address.parse(f"sqlite:///{path}"), account="default", clock=journal_factories.Clock())


def test_a_journal_that_was_removed_between_two_runs_is_created_again_and_reported(tmp_path: pathlib.Path) -> None:
    """With it went approvals, and what spoke against a change."""
    path = tmp_path / "journal.db"
    kept = _session(path)
    kept.open()
    with structlog.testing.capture_logs() as lines:
        kept.open()
        assert lines == []
        path.unlink()
        kept.open()
    assert [(line["event"], line["log_level"]) for line in lines] == [("journal_lost", "warning")]
    assert path.exists()
    assert kept.write(lambda database: "written") == "written"
    kept.close()


def test_only_the_writer_upgrades_an_older_journal(tmp_path: pathlib.Path) -> None:
    """Another version may be using it: it must not change under its feet because somebody looks something up."""
    path = tmp_path / "journal.db"
    writer = _session(path)
    writer.open()
    writer.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE schema_version SET version = 0")
    reader = session.Session(address.parse(f"sqlite:///{path}"), account="default")
    with pytest.raises(JournalError, match="older version") as caught:
        reader.read(lambda database: None)
    assert caught.value.code == "journal_older"
    with pytest.raises(JournalError, match="older version"):
        reader.write_unlocked(lambda database: None)
    reader.close()
    with pytest.raises(JournalError, match="already exists"):  # the first script, as nothing of it is missing
        writer.open()
    writer.close()


def test_two_sessions_that_make_a_journal_at_once_share_it(tmp_path: pathlib.Path) -> None:
    first, second = _session(tmp_path / "journal.db"), _session(tmp_path / "journal.db")
    for each in (first, second):  # both have found no tables
        assert each._opened().version is None
    for each in (first, second):
        assert each._made().version == migrations.NEWEST
        assert each._made().account == 1
        each.close()


class Clock(journal_factories.Clock):
    """A clock whose uptime the test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.up = 100.0

    def uptime(self) -> float:
        return self.up


def test_a_check_of_the_lock_counts_for_a_moment_and_every_proof_begins_a_new_one(tmp_path: pathlib.Path) -> None:
    clock = Clock()
    writer = session.WriterSession(address.parse(f"sqlite:///{tmp_path / 'journal.db'}"), account="a", clock=clock)
    assert not writer.is_recent_writer(), "it holds no lock, however late it is"
    for prove in (writer.open, writer.check, lambda: writer.write(lambda database: None), writer.open):
        prove()
        assert writer.is_recent_writer()
        clock.up += 0.24
        assert writer.is_recent_writer()
        clock.up += 0.01
        assert not writer.is_recent_writer()
    writer.check()
    writer.close()
    assert not writer.is_recent_writer()


def test_a_lost_journal_stays_lost_until_it_is_opened_again(tmp_path: pathlib.Path) -> None:
    """Else a write of a run would go into a new journal, which knows of no intent."""
    path = tmp_path / "journal.db"
    writer = _session(path)
    writer.open()
    path.unlink()
    for use in (writer.check, writer.check, lambda: writer.write(lambda database: None), writer.purge):
        with pytest.raises(JournalError, match="may no longer write") as caught:
            use()
        assert caught.value.code == "journal_lost"
    assert not path.exists()
    writer.open()
    writer.check()
    assert writer.write(lambda database: "written") == "written"
    writer.close()


def test_a_journal_that_was_lost_between_two_uses_of_its_connection_is_not_taken_again(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "journal.db"
    writer = _session(path)
    writer.open()
    path.unlink()
    assert writer.read(lambda database: "read") is None
    with pytest.raises(JournalError, match="may no longer write"):
        writer.write(lambda database: None)
    assert not path.exists()
    writer.close()


def test_a_check_by_a_process_that_never_was_the_writer_keeps_it_from_nothing(tmp_path: pathlib.Path) -> None:
    writer = _session(tmp_path / "journal.db")
    with pytest.raises(JournalError, match="may no longer write"):
        writer.check()
    assert writer.write(lambda database: "written") == "written"
    writer.close()
    assert writer.write(lambda database: "written again") == "written again", "a closed one may be used again"
    writer.close()
    writer.close()


def test_the_first_write_makes_its_process_the_writer_until_it_is_closed(tmp_path: pathlib.Path) -> None:
    first, second = _session(tmp_path / "journal.db"), _session(tmp_path / "journal.db")
    first.write(lambda database: None)
    with pytest.raises(JournalBusy):
        second.open()
    with pytest.raises(JournalBusy):
        second.write(lambda database: None)
    first.close()
    second.open()
    second.close()


def test_a_journal_is_made_by_what_writes_and_by_nothing_that_reads(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "journal.db"
    reader = session.Session(address.parse(f"sqlite:///{path}"), account="default")
    assert reader.read(lambda database: "read") is None
    assert not path.exists()
    path.touch()  # as another process leaves it that was killed
    assert reader.read(lambda database: "read") is None
    assert reader.write_unlocked(lambda database: "written") == "written"
    assert reader.read(lambda database: "read") == "read"
    other = session.Session(address.parse(f"sqlite:///{path}"), account="other")
    assert other.read(lambda database: "read") is None
    for each in (reader, other):
        each.close()


def test_a_folder_that_is_missing_is_an_error_and_no_empty_journal(tmp_path: pathlib.Path) -> None:
    reader = session.Session(address.parse(f"sqlite:///{tmp_path / 'nowhere' / 'journal.db'}"), account="default")
    with pytest.raises(JournalError, match="nowhere"):
        reader.read(lambda database: None)


def test_a_reader_follows_a_journal_that_was_replaced(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "journal.db"
    reader = session.Session(address.parse(f"sqlite:///{path}"), account="default")
    reader.write_unlocked(lambda database: database.execute("CREATE TABLE old (number INTEGER)"))
    path.unlink()
    assert reader.read(lambda database: None) is None
    reader.write_unlocked(lambda database: None)
    tables = reader.read(lambda database: {row["name"] for row in database.query(database.TABLES)})
    assert tables is not None and "old" not in tables and "runs" in tables
    reader.close()


def test_what_fails_is_undone_and_ends_nothing(tmp_path: pathlib.Path) -> None:
    def fail(database: connection.Connection) -> None:
        database.execute("CREATE TABLE half (number INTEGER)")
        raise ValueError("a defect")

    writer = _session(tmp_path / "journal.db")
    with pytest.raises(ValueError, match="a defect"):
        writer.write(fail)
    tables = writer.write(lambda database: {row["name"] for row in database.query(database.TABLES)})
    assert "half" not in tables
    writer.close()


def test_there_is_nothing_to_purge_until_somebody_is_forgotten_and_then_once(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "journal.db"
    writer, about = _session(path), DriverId("drv_A")
    assert writer.purge()
    writer.write(lambda database: forgetting.forget(database, driver=about, now=journal_factories.NOON))
    writer.read(lambda database: database.query("PRAGMA busy_timeout = 0"))  # to wait for the reader takes 10 seconds
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM runs").fetchall()
        assert _unpurged(writer) == 1
        assert not writer.purge(), "a reader still sees what was there before"
        assert _unpurged(writer) == 1
    assert writer.purge()
    assert _unpurged(writer) == 0
    writer.close()


def _unpurged(writer: session.WriterSession) -> int:
    number: int | None = writer.read(lambda database: database.query(queries.UNPURGED)[0]["number"])
    assert number is not None
    return number


def test_an_approval_after_the_journal_was_removed_is_in_the_new_one(tmp_path: pathlib.Path) -> None:
    """A connection to the old file would take it, and nobody would see it again."""
    path = tmp_path / "journal.db"
    reader = session.Session(address.parse(f"sqlite:///{path}"), account="default")
    reader.write_unlocked(lambda database: None)
    path.unlink()
    reader.write_unlocked(lambda database: None)
    assert path.exists()
    reader.close()


def test_who_reads_waits_for_no_writer_and_who_writes_is_alone_from_the_start(tmp_path: pathlib.Path) -> None:
    """A transaction that became a writer only later could find that another one has written since it read."""
    path = tmp_path / "journal.db"
    reader = session.Session(address.parse(f"sqlite:///{path}"), account="default")
    writer = _session(path)
    with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:

        def is_free(database: connection.Connection) -> bool:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            other.execute("ROLLBACK")
            return True

        assert not reader.write_unlocked(is_free)
        assert not writer.write(is_free)
        assert reader.read(is_free)
        assert writer.read(is_free)
    reader.close()
    writer.close()


def test_the_writer_keeps_the_log_short_and_leaves_it_alone_while_it_only_reads(tmp_path: pathlib.Path) -> None:
    def pages(database: connection.Connection) -> object:
        return database.query("PRAGMA wal_autocheckpoint")[0]["wal_autocheckpoint"]

    path = tmp_path / "journal.db"
    writer, reader = _session(path), session.Session(address.parse(f"sqlite:///{path}"), account="default")
    assert (writer.write(pages), reader.write_unlocked(pages)) == (1000, 0)
    for each in (reader, writer):
        each.close()


def test_a_process_that_cannot_become_the_writer_leaves_the_lock_to_others(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "journal.db"
    writer = _session(path)
    writer.open()
    writer.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE schema_version SET version = 999")
    with pytest.raises(JournalError, match="newer version"):
        writer.open()
    lock = writer_lock.FileLock.acquire(path.with_name("journal.db.lock"), now=journal_factories.NOON)
    lock.release()
    assert not writer.is_recent_writer()


def test_a_closed_journal_leaves_no_file_open(tmp_path: pathlib.Path) -> None:
    writer, open_files = _session(tmp_path / "journal.db"), pathlib.Path("/dev/fd")
    before = len([*open_files.iterdir()])
    for _ in range(3):
        writer.write(lambda database: None)
        writer.close()
    assert len([*open_files.iterdir()]) == before
