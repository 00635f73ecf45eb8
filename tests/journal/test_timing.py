"""What the journal costs: a group of thousands in one commit, and a look at one that is in order."""

import pathlib
import time

import pytest

from tests.journal import deeds, desks
from worker.journal import sql

pytestmark = [pytest.mark.timing, pytest.mark.anyio]

NUMBER = 5_000


@pytest.fixture
def anyio_backend() -> str:
    """Use the loop of production."""
    return "asyncio"


async def test_5000_intents_and_their_outcomes_take_less_than_a_second_each(sqlite_desk: desks.SqliteDesk) -> None:
    journal = sqlite_desk.journal()
    await journal.open()
    changes = deeds.many(NUMBER)
    start = time.perf_counter()
    await deeds.begin(journal, changes)
    begun = time.perf_counter()
    await journal.record([(deeds.key(index), deeds.DONE) for index in range(NUMBER)])
    recorded = time.perf_counter()
    await journal.aclose()
    assert begun - start < 1.0
    assert recorded - begun < 1.0


async def test_to_be_asked_before_every_write_costs_next_to_nothing(sqlite_desk: desks.SqliteDesk) -> None:
    journal = sqlite_desk.journal()
    await journal.open()
    start = time.perf_counter()
    for _ in range(NUMBER):
        await journal.check()
    assert time.perf_counter() - start < 0.25
    await journal.aclose()


async def test_a_run_with_nothing_to_write_takes_a_tenth_of_a_second(tmp_path: pathlib.Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    journal = sql.SqlJournal(url, clock=deeds.Clock())
    await deeds.whole(journal, deeds.many(NUMBER), run="run_0", at=deeds.NOON)
    await journal.aclose()
    start = time.perf_counter()
    journal = sql.SqlJournal(url, clock=deeds.Clock())
    await journal.open()
    await journal.fruitless(since=deeds.minutes(-60))
    await journal.resolutions()
    await journal.prune(before=deeds.minutes(-60))
    await journal.finish(deeds.ended(), trigger="once")
    await journal.aclose()
    assert time.perf_counter() - start < 0.1
