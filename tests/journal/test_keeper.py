"""A journal that is being made by another process is waited for; one that went away between two runs is told of."""

import datetime
import pathlib

import pytest
import structlog

from tests.journal import journal_factories
from worker.core.model.errors import JournalBusy
from worker.journal import address, keeper, lock


def _keeper(path: pathlib.Path, *, pauses: list[float], made_after: int) -> keeper.Keeper:
    """Give one beside a writer that holds the lock, and makes the journal while the other waits for that time."""
    place = address.parse(f"sqlite:///{path}")
    held = lock.Lock.acquire(path.with_name(f"{path.name}.lock"), now=journal_factories.NOON)

    def wait(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == made_after:
            held.release()
            writer = keeper.Keeper(place, clock=journal_factories.Clock())
            writer.open()
            assert writer.open_intents() == ()
            writer.write(lambda database: database.prune(before=journal_factories.NOON))

    return keeper.Keeper(place, clock=journal_factories.Clock(), wait=wait)


def test_an_approval_waits_for_a_journal_that_is_being_made(tmp_path: pathlib.Path) -> None:
    pauses: list[float] = []
    approving = _keeper(tmp_path / "journal.db", pauses=pauses, made_after=3)
    until = journal_factories.NOON + datetime.timedelta(hours=24)
    approving.use(lambda database: database.approve("sha256:0", now=journal_factories.NOON, until=until))
    assert len(pauses) == 3
    assert approving.look().approved("sha256:0", now=journal_factories.NOON)
    approving.close()


def test_it_does_not_wait_for_ever(tmp_path: pathlib.Path) -> None:
    pauses: list[float] = []
    approving = _keeper(tmp_path / "journal.db", pauses=pauses, made_after=0)
    with pytest.raises(JournalBusy):
        approving.use(lambda database: database.ping())
    approving.close()
    assert 3 < sum(pauses) < 10


def test_a_journal_that_was_removed_between_two_runs_is_made_anew_and_told_of(tmp_path: pathlib.Path) -> None:
    """With it went approvals, and what spoke against a change."""
    path = tmp_path / "journal.db"
    kept = keeper.Keeper(address.parse(f"sqlite:///{path}"), clock=journal_factories.Clock())
    kept.open()
    with structlog.testing.capture_logs() as lines:
        kept.open()
        assert lines == []
        path.unlink()
        kept.open()
    assert [(line["event"], line["log_level"]) for line in lines] == [("journal_lost", "warning")]
    assert path.exists()
    kept.close()
