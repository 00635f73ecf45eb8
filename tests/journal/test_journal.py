"""What every journal does, whether it forgets or not: the contract of the port."""

import pathlib
from collections.abc import AsyncIterator

import pytest

from tests.journal import conftest
from worker.core import errors, outcomes, ports, values
from worker.journal import memory, sql

pytestmark = pytest.mark.anyio

Kept = memory.MemoryJournal | sql.SqlJournal


@pytest.fixture(params=["memory", "sql"])
async def journal(request: pytest.FixtureRequest, tmp_path: pathlib.Path, anyio_backend: object) -> AsyncIterator[Kept]:
    """Open a journal of each kind."""
    if request.param == "memory":
        yield memory.MemoryJournal()
        return
    opened = sql.SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    yield opened
    await opened.aclose()


async def _begin(journal: Kept, run: str = "run_1", intents: list[ports.Intent] | None = None) -> None:
    intents = conftest.INTENTS if intents is None else intents
    plan = conftest.judged(*(intent.change for intent in intents))
    await journal.begin(values.RunId(run), trigger="test", judged=plan, intents=intents)


async def test_a_run_is_begun_recorded_and_finished(journal: Kept) -> None:
    await _begin(journal)
    await journal.record(conftest.RUN, [(conftest.key(1), outcomes.Applied(1, "req_1"))])
    await journal.record(conftest.RUN, [(conftest.key(2), outcomes.Unknown(6, "timeout", "no answer"))])
    await journal.finish(conftest.RUN, conftest.finished())


async def test_a_key_is_never_used_twice(journal: Kept) -> None:
    """No two writes share one; so what is recorded already is refused, and nothing of that run is kept."""
    await _begin(journal)
    fresh = ports.Intent(conftest.key(3), conftest.DETACH)
    with pytest.raises(errors.JournalError) as caught:
        await _begin(journal, "run_2", [fresh, conftest.INTENTS[0]])
    assert caught.value.remedy
    await _begin(journal, "run_2", [fresh])


async def test_several_runs_stand_side_by_side(journal: Kept) -> None:
    for number in range(3):
        await _begin(journal, f"run_{number}", [ports.Intent(conftest.key(number), conftest.ATTACH)])
        await journal.finish(values.RunId(f"run_{number}"), conftest.finished(values.RunId(f"run_{number}")))


async def test_a_run_that_never_ended_keeps_its_open_intents(journal: Kept) -> None:
    await _begin(journal)
    await journal.record(conftest.RUN, [(conftest.key(1), outcomes.Applied(1))])
    await _begin(journal, "run_2", [ports.Intent(conftest.key(3), conftest.ATTACH)])
