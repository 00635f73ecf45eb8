"""What the durable journal costs: the same attaches with `SqlJournal` and with `MemoryJournal`.

Invariant: from the intents to the end of the run all is journalled as `engine.cycle` does it, and both take turns.
Neighbours: `worker.journal` is what is measured.
"""

import pathlib
import tempfile
import time
from collections.abc import Iterator

import anyio

from benchmarks import account, results, server
from tests.support import memory_journal
from worker.core.model.plan import Change
from worker.core.model.ports import Journal
from worker.core.model.report import Report
from worker.journal import sql_journal
from worker.service import composition

WORKERS = 32


def figures(*, short: bool) -> Iterator[results.Figure]:
    """Measure, and yield the figures."""
    writes, rounds = (1_000, 3) if short else (5_000, 8)
    pairs = _measure(writes, rounds=rounds)
    durable, forgetful = zip(*pairs, strict=True)
    # The quickest round of each, as `timeit` has it: what else runs on the machine only ever adds to a round.
    slower = min(cost.wall for cost in durable) / min(cost.wall for cost in forgetful)
    dearer = min(cost.cpu for cost in durable) / min(cost.cpu for cost in forgetful)
    what = f"seconds of {writes:,} writes, SQLite over memory"
    yield results.Figure(what, f"{slower:.2f}") if short else results.at_most(what, slower, 1.10)
    yield results.Figure("CPU of the same", f"{dearer:.2f}")


def _measure(writes: int, *, rounds: int) -> list[tuple[results.Cost, results.Cost]]:
    """Return each round's costs with SQLite and in memory; the two take turns at going first."""
    pairs: list[tuple[results.Cost, results.Cost]] = []
    drivers = writes * 2 * (rounds + 1)
    people, fleet = server.people(drivers)
    changes = account.attaches(list(people.drivers), fleet)
    with (
        tempfile.TemporaryDirectory(prefix="fleet-sync-benchmark-") as name,
        server.running(drivers=drivers) as sandbox,
    ):
        for number in range(rounds + 1):
            first, second, changes = changes[:writes], changes[writes : 2 * writes], changes[2 * writes :]
            journal_url = f"sqlite:///{pathlib.Path(name) / f'journal-{number}.db'}"
            if number % 2:
                with_memory = anyio.run(_run, sandbox.url, first, memory_journal.MemoryJournal())
                with_sql = anyio.run(_with_sql, sandbox.url, second, journal_url)
            else:
                with_sql = anyio.run(_with_sql, sandbox.url, first, journal_url)
                with_memory = anyio.run(_run, sandbox.url, second, memory_journal.MemoryJournal())
            pairs.append((with_sql, with_memory))
    return pairs[1:]  # the first round only warms up


async def _with_sql(url: str, changes: list[Change], journal_url: str) -> results.Cost:
    journal = sql_journal.SqlJournal(journal_url, clock=composition.SystemClock())
    try:
        await journal.open()  # made before the clock starts: that happens once in a journal's life
        return await _run(url, changes, journal)
    finally:
        await journal.aclose()


async def _run(url: str, changes: list[Change], journal: Journal) -> results.Cost:
    """Apply the changes of a plan, and record everything in the journal."""
    guarded = account.guarded(changes)
    async with account.charge(url, connections=WORKERS) as charge:
        executor = account.executor(ceiling=1e6, burst=1_000, adaptive=False)
        run = account.context(charge, executor=executor, journal=journal, concurrency=WORKERS)
        wall, cpu = time.perf_counter(), time.process_time()
        made = await account.apply(run, changes)
        finished = Report(run.run, guarded.created, guarded.created, guarded, results=made)
        await journal.finish(finished, trigger="benchmark")
        cost = results.Cost(len(changes), time.perf_counter() - wall, time.process_time() - cpu)
    if not all(result.done for result in made):
        raise RuntimeError("an attach did not take effect")
    return cost
