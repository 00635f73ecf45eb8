"""The journal in memory: several lives, of which the dead ones are silent."""

import pytest

from tests.journal import deeds
from worker.core.model.errors import JournalError
from worker.journal import memory

pytestmark = pytest.mark.anyio


async def test_a_dead_life_writes_nothing_any_more() -> None:
    first = memory.MemoryJournal()
    await deeds.begin(first, deeds.many(2))
    later = first.crash()
    for attempt in (first.open(), first.check(), first.record([(deeds.key(), deeds.DONE)])):
        with pytest.raises(JournalError):
            await attempt
    assert len(await later.open()) == 2


async def test_what_it_holds_may_be_looked_at_from_every_life() -> None:
    first = memory.MemoryJournal()
    await deeds.begin(first, deeds.many(1))
    later = first.crash()
    await later.record([(deeds.key(), deeds.DONE)])
    await later.finish(deeds.ended(deeds.many(1)), trigger="once")
    for journal in (first, later):
        assert list(journal.plans) == list(journal.reports) == [deeds.RUN]
        assert journal.intents == {deeds.key(): deeds.many(1)[0]}
        assert journal.outcomes == {deeds.key(): deeds.DONE}


async def test_a_life_that_was_no_writer_may_crash_beside_the_writer() -> None:
    writer = memory.MemoryJournal()
    await writer.open()
    memory.MemoryJournal(beside=writer).crash()
    await writer.check()


async def test_without_a_clock_plans_tell_the_time() -> None:
    journal = memory.MemoryJournal()
    await deeds.begin(journal, deeds.many(1), at=deeds.minutes(3))
    assert [each.recorded for each in await journal.open()] == [deeds.minutes(3)]
