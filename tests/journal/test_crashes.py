"""Real processes that die: what they were told was recorded is there, and the lock is free."""

import random

import anyio
import pytest

from tests.journal import backends, journal_factories, processes
from worker.core.model.errors import JournalBusy
from worker.core.model.identifiers import RunId
from worker.core.model.ports import Journal, OpenIntent

pytestmark = pytest.mark.anyio

LIFE = """
from tests.journal import journal_factories
await journal.open()
await journal_factories.begin(journal, journal_factories.many(300))
print("begun", flush=True)
for index in range(300):
    await journal.record([(journal_factories.key(index), journal_factories.DONE)])
    print(index, flush=True)
"""

HOLD = """
await journal.open()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> backends.SqliteBackend | backends.PostgresBackend:
    """Return a place that outlives a process."""
    found: backends.SqliteBackend | backends.PostgresBackend = request.getfixturevalue(f"{request.param}_backend")
    return found


async def _opened(journal: Journal) -> tuple[OpenIntent, ...]:
    """Open the journal once its server has noticed that the client is dead, which takes it a moment."""
    with anyio.fail_after(30):
        while True:
            try:
                return await journal.open()
            except JournalBusy:
                await anyio.sleep(0.02)


@pytest.mark.parametrize("seed", range(3))
async def test_what_a_killed_process_recorded_is_there_and_the_rest_is_open(
    backend: backends.SqliteBackend | backends.PostgresBackend, seed: int
) -> None:
    moment = random.Random(seed).randrange(200)
    with processes.running(LIFE, backend.url) as life:
        assert life.stdout is not None
        said = [next(life.stdout).strip() for _ in range(moment + 1)]
        life.kill()
        said += life.stdout.read().split()
    assert said[0] == "begun"
    journal = backend.journal()
    left = {each.intent.key for each in await _opened(journal)}
    done = {each.key for each in await journal.changes(run=journal_factories.RUN) if each.outcome == "applied"}
    assert {journal_factories.key(int(each)) for each in said[1:]} <= done
    assert len(done) + len(left) == 300
    assert not done & left
    assert len(done) <= len(said)  # one commit at most was not answered any more
    await journal.aclose()


async def test_a_killed_process_holds_no_lock(backend: backends.SqliteBackend | backends.PostgresBackend) -> None:
    with processes.running(HOLD, backend.url) as life:
        assert life.stdout is not None
        next(life.stdout)
        journal = backend.journal()
        with pytest.raises(JournalBusy, match=rf"process {life.pid} on .+, since 2\d\d\d-"):
            await journal.open()
        life.kill()
        life.wait()
    assert await _opened(journal) == ()
    await journal.aclose()


@pytest.mark.parametrize("event_loop", ["asyncio", "trio"])
def test_a_process_that_never_closes_its_journal_ends_all_the_same(
    backend: backends.SqliteBackend | backends.PostgresBackend, event_loop: str
) -> None:
    assert processes.run("await journal.open()\nprint('done')", backend.url, event_loop) == "done\n"


async def test_the_next_process_settles_what_the_killed_one_left(
    backend: backends.SqliteBackend | backends.PostgresBackend,
) -> None:
    body = """
        import os, signal
        from tests.journal import journal_factories
        await journal_factories.begin(journal, journal_factories.many(2))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with processes.running(body, backend.url) as life:
        life.wait()
    journal = backend.journal()
    (first, second) = await _opened(journal)
    await journal.record([(first.intent.key, journal_factories.DONE), (second.intent.key, journal_factories.DONE)])
    await journal.finish(journal_factories.ended(run=RunId("run_2")), trigger="once")
    assert {run.run: run.result for run in await journal.runs()} == {"run_1": None, "run_2": "in_sync"}
    await journal.aclose()
