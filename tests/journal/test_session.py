"""When a session makes a journal, upgrades it, and reports that it was lost."""

import contextlib
import pathlib
import sqlite3

import pytest
import structlog

from tests.journal import journal_factories
from worker.core.model.errors import JournalError
from worker.journal import address, migrations, session


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
