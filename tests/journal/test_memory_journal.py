"""The journal in memory: several lives, of which the dead ones are silent."""

import pytest

from tests.journal import journal_factories
from tests.support import memory_journal
from worker.core.model.errors import JournalBusy, JournalError

pytestmark = pytest.mark.anyio


async def test_a_dead_life_writes_nothing_any_more() -> None:
    first = memory_journal.MemoryJournal()
    await journal_factories.begin(first, journal_factories.many(2))
    later = first.crash()
    for attempt in (first.open(), first.check(), first.record([(journal_factories.key(), journal_factories.DONE)])):
        with pytest.raises(JournalError):
            await attempt
    assert len(await later.open()) == 2


async def test_what_it_holds_may_be_looked_at_from_every_life() -> None:
    first = memory_journal.MemoryJournal()
    await journal_factories.begin(first, journal_factories.many(1))
    later = first.crash()
    await later.record([(journal_factories.key(), journal_factories.DONE)])
    await later.finish(journal_factories.ended(journal_factories.many(1)), trigger="once")
    for journal in (first, later):
        assert list(journal.plans) == list(journal.reports) == [journal_factories.RUN]
        assert journal.intents == {journal_factories.key(): journal_factories.many(1)[0]}
        assert journal.outcomes == {journal_factories.key(): journal_factories.DONE}


async def test_a_life_that_was_no_writer_may_crash_beside_the_writer() -> None:
    writer = memory_journal.MemoryJournal()
    await writer.open()
    other = memory_journal.MemoryJournal(beside=writer).crash()
    await writer.check()
    with pytest.raises(JournalBusy):
        await other.open()


async def test_without_a_clock_plans_tell_the_time() -> None:
    journal = memory_journal.MemoryJournal()
    await journal_factories.begin(journal, journal_factories.many(1), at=journal_factories.minutes(3))
    assert [each.recorded for each in await journal.open()] == [journal_factories.minutes(3)]
