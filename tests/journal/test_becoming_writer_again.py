"""A process that becomes the writer again knows what others recorded in between, and forgets nothing of its own."""

import pathlib
from collections.abc import AsyncIterator

import pytest

from tests.journal import journal_factories
from worker.journal import sql_journal

pytestmark = pytest.mark.anyio

NOON = journal_factories.NOON
ANN, BOB, CEM = ((each.driver, each.fleet) for each in map(journal_factories.change, ("ann", "bob", "cem")))


@pytest.fixture
async def processes(tmp_path: pathlib.Path) -> AsyncIterator[tuple[sql_journal.SqlJournal, sql_journal.SqlJournal]]:
    """Open one SQLite journal as two processes do."""
    journals = [
        sql_journal.SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}", clock=journal_factories.Clock()) for _ in "ab"
    ]
    yield journals[0], journals[1]
    for journal in journals:
        await journal.aclose()


async def test_the_grace_periods_go_on_when_a_process_becomes_the_writer_again(
    processes: tuple[sql_journal.SqlJournal, sql_journal.SqlJournal],
) -> None:
    """A journal that started them anew would delay detaches; one that kept its old ones would detach too early."""
    first, second = processes
    await first.open()
    await first.note_absences(newly_absent={ANN, BOB}, since=NOON, returned=())
    await first.aclose()
    assert await first.absences() == {ANN: NOON, BOB: NOON}
    await second.open()
    await second.note_absences(newly_absent={CEM}, since=journal_factories.minutes(5), returned={BOB})
    await second.aclose()
    await first.open()
    assert await first.absences() == {ANN: NOON, CEM: journal_factories.minutes(5)}
    await first.note_absences(newly_absent={BOB}, since=journal_factories.minutes(9), returned={CEM})
    assert await second.absences() == {ANN: NOON, BOB: journal_factories.minutes(9)}


async def test_to_open_a_journal_again_without_closing_it_keeps_the_grace_periods(
    processes: tuple[sql_journal.SqlJournal, sql_journal.SqlJournal],
) -> None:
    """The service opens its journal at the start of every run."""
    journal, reader = processes
    await journal.open()
    await journal.note_absences(newly_absent={ANN}, since=NOON, returned=())
    for _ in range(3):
        await journal.open()
        assert await journal.absences() == await reader.absences() == {ANN: NOON}
