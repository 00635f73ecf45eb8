"""Attaches a second: the client on its own pool against the same loop on a plain `httpx.AsyncClient`.

Invariant: both sides send the same writes to the same server, with the same number of workers, in alternating rounds
of one run. Neighbours: `worker.charge` is what is measured, `server` the other end.
"""

import time
from collections.abc import Awaitable, Callable, Iterator

import anyio
import httpx

from benchmarks import account, results, server
from tests.support import memory_journal
from worker.core.model.identifiers import RunId
from worker.core.model.plan import Change
from worker.engine import concurrency

WORKERS = 32
REQUESTS = 2_000

Round = Callable[[str, list[Change]], Awaitable[results.Cost]]


def figures(*, short: bool) -> Iterator[results.Figure]:
    """Measure, and yield the figures."""
    costs = _measure(rounds=2 if short else 7)
    ours, plain, run = (costs[name] for name in ("ours", "plain", "run"))
    ratio = results.per_second(ours) / results.per_second(plain)
    yield results.Figure("attaches a second, plain httpx.AsyncClient", f"{results.per_second(plain):,.0f}")
    yield results.Figure("attaches a second, fleet-sync's client", f"{results.per_second(ours):,.0f}")
    yield results.at_least("ratio of the two", ratio, 2)
    yield results.Figure("ms of CPU an attach, plain httpx.AsyncClient", f"{results.cpu_ms(plain):.2f}")
    yield results.Figure("ms of CPU an attach, fleet-sync's client", f"{results.cpu_ms(ours):.2f}")
    yield results.Figure("ms of CPU an attach, with pace, retries and outcomes", f"{results.cpu_ms(run):.2f}")


async def _ours(url: str, changes: list[Change]) -> results.Cost:
    """Attach through the client on its own pool."""
    key = account.keys()
    async with account.charge(url, connections=WORKERS) as charge:

        async def write(change: Change) -> None:
            reply = await charge.write(change, key=key())
            _see(change.fleet in reply.driver.fleets)

        return await _timed(lambda: concurrency.run_bounded(write, changes, limit=WORKERS), len(changes))


async def _plain(url: str, changes: list[Change]) -> results.Cost:
    """Attach through `httpx.AsyncClient` with its default limits: 100 connections, 20 kept alive, for 5 s."""
    key = account.keys()
    headers = {"Authorization": f"Bearer {server.KEY}", "Charge-Version": "2026-03-01"}
    async with httpx.AsyncClient(headers=headers, timeout=account.TIMEOUT) as api:

        async def write(change: Change) -> None:
            path = f"{url}/drivers/{change.driver}/attach"
            answer = await api.post(path, json={"fleet": change.fleet}, headers={"Idempotency-Key": key()})
            _see(change.fleet in answer.raise_for_status().json()["fleets"])

        return await _timed(lambda: concurrency.run_bounded(write, changes, limit=WORKERS), len(changes))


async def _run(url: str, changes: list[Change]) -> results.Cost:
    """Attach as a run does: with rate limit, retries and outcome writer."""
    async with account.charge(url, connections=WORKERS) as charge:
        executor = account.executor(ceiling=1e6, burst=1_000, adaptive=False)
        journal = memory_journal.MemoryJournal()
        applier = account.new_applier(charge, executor=executor, journal=journal, concurrency=WORKERS)
        intents = applier.intend(changes)
        await journal.begin(
            RunId("run_benchmark"), trigger="benchmark", guarded=account.guarded(changes), intents=intents
        )

        async def work() -> None:
            made = await applier.apply(intents)
            _see(all(result.done for result in made))

        return await _timed(work, len(changes))


def _see(done: bool) -> None:
    if not done:
        raise RuntimeError("an attach did not take effect")


async def _timed(work: Callable[[], Awaitable[None]], pieces: int) -> results.Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    return results.Cost(pieces, time.perf_counter() - wall, time.process_time() - cpu)


def _measure(*, rounds: int) -> dict[str, list[results.Cost]]:
    """Let all take turns, in reverse order every second round."""
    sides: dict[str, Round] = {"ours": _ours, "plain": _plain, "run": _run}
    costs: dict[str, list[results.Cost]] = {name: [] for name in sides}
    drivers = REQUESTS * (rounds + 1) * len(sides)
    people, fleet = server.people(drivers)
    changes = account.attaches(list(people.drivers), fleet)
    with server.running(drivers=drivers) as sandbox:
        for number in range(rounds + 1):
            for name in sorted(sides, reverse=number % 2 == 1):
                part, changes = changes[:REQUESTS], changes[REQUESTS:]
                cost = anyio.run(sides[name], sandbox.url, part)
                if number:  # the first round only warms up
                    costs[name].append(cost)
    return costs
