"""The lock beside the file: one holder, who is named, and who notices that it was taken away."""

import datetime
import errno
import fcntl
import pathlib

import pytest

from tests.journal import journal_factories
from worker.core.model.errors import JournalBusy, JournalError
from worker.journal import writer_lock

OPEN_FILES = pathlib.Path("/dev/fd")


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Name the lock file."""
    return tmp_path / "fleet-sync.db.lock"


def test_only_one_holds_it_and_is_named(path: pathlib.Path) -> None:
    first = writer_lock.FileLock.acquire(path, now=journal_factories.NOON)
    with pytest.raises(JournalBusy, match=r"process \d+ on \S+, since 2026-12-01T12:00:00\+00:00"):
        writer_lock.FileLock.acquire(path, now=journal_factories.NOON)
    first.release()
    second = writer_lock.FileLock.acquire(path, now=journal_factories.NOON + datetime.timedelta(days=1))
    assert "2026-12-02" in path.read_text()
    second.release()


def test_a_lock_that_is_refused_leaves_no_file_open(path: pathlib.Path) -> None:
    """A standby asks again every few seconds, for days."""
    held = writer_lock.FileLock.acquire(path, now=journal_factories.NOON)
    before = len([*OPEN_FILES.iterdir()])
    with pytest.raises(JournalBusy):
        writer_lock.FileLock.acquire(path, now=journal_factories.NOON)
    assert len([*OPEN_FILES.iterdir()]) == before
    held.release()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', "\xff"])
def test_a_holder_that_left_no_name_is_busy_all_the_same(path: pathlib.Path, content: str) -> None:
    held = writer_lock.FileLock.acquire(path, now=journal_factories.NOON)
    path.write_text(content)
    with pytest.raises(JournalBusy, match="an unknown process"):
        writer_lock.FileLock.acquire(path, now=journal_factories.NOON)
    held.release()


def test_a_lock_file_that_is_removed_or_replaced_is_held_no_more(path: pathlib.Path) -> None:
    held = writer_lock.FileLock.acquire(path, now=journal_factories.NOON)
    assert held.held()
    path.unlink()
    assert not held.held()
    path.touch()
    assert not held.held()
    other = writer_lock.FileLock.acquire(path, now=journal_factories.NOON)
    assert other.held()
    assert not held.held()
    held.release()
    other.release()


def test_a_lock_file_that_cannot_be_made_is_said(path: pathlib.Path) -> None:
    path.mkdir()
    with pytest.raises(JournalError, match="cannot be opened") as caught:
        writer_lock.FileLock.acquire(path, now=journal_factories.NOON)
    assert caught.value.remedy


def test_the_file_stays_when_the_lock_is_let_go(path: pathlib.Path) -> None:
    """To remove it would let two processes hold two files of one name."""
    writer_lock.FileLock.acquire(path, now=journal_factories.NOON).release()
    assert path.exists()


def test_a_file_system_without_locks_is_said(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(JournalError, match="No locks available") as caught:
        writer_lock.FileLock.acquire(path, now=journal_factories.NOON)
    assert not isinstance(caught.value, JournalBusy)


def test_a_file_that_is_removed_before_it_is_locked_is_not_the_lock(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def flock(handle: int, operation: int) -> None:
        monkeypatch.undo()
        path.unlink()
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    held = writer_lock.FileLock.acquire(path, now=journal_factories.NOON)
    assert held.held()
    with pytest.raises(JournalBusy):
        writer_lock.FileLock.acquire(path, now=journal_factories.NOON)
    held.release()
