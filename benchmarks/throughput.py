"""Attaches per second and their CPU: the client, a whole run with SQLite, and two peers that make the same attaches.

Invariant: all sides send the same writes to the same server, with the same number of workers, in alternating rounds
of one run. Neighbours: `worker.charge` is what is measured, `aiohttp_peer` a peer, `server` the other end.
"""

import gc
import itertools
import pathlib
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator

import anyio
import httpx

from benchmarks import account, aiohttp_peer, results, server
from worker.cli import main as main_command
from worker.core.model.plan import Change
from worker.engine import concurrency
from worker.journal import sql_journal
from worker.service import composition

WORKERS = 32
REQUESTS = 2_000

Round = Callable[[str, list[Change]], Awaitable[results.Cost]]


def figures(*, short: bool) -> Iterator[results.Figure]:
    """Measure, and yield the figures."""
    gc.set_threshold(main_command.OBJECTS_BETWEEN_COLLECTIONS)  # as the commands do, and for the peers too
    costs = _measure(rounds=2 if short else 7)
    ratio = results.per_second(costs["client"]) / results.per_second(costs["httpx"])
    for side, what in _SIDES.items():
        yield results.Figure(f"attaches a second, {what}", f"{results.per_second(costs[side]):,.0f}")
    yield results.at_least("client over plain httpx.AsyncClient", ratio, 2)
    for side, what in _SIDES.items():
        yield results.Figure(f"ms of CPU an attach, {what}", f"{results.cpu_ms(costs[side]):.2f}")
    dearer = results.cpu_ms(costs["run"]) / results.cpu_ms(costs["aiohttp"])
    yield results.at_most("CPU of a run over the tuned aiohttp script", dearer, 3.5, form=".1f")


_SIDES = {
    "httpx": "plain httpx.AsyncClient",
    "aiohttp": "a tuned aiohttp script with retries",
    "client": "fleet-sync's client",
    "run": "a run with rate limit and SQLite",
}


async def _client(url: str, changes: list[Change]) -> results.Cost:
    """Attach through the client on its own pool."""
    key = account.keys()
    async with account.charge(url, connections=WORKERS) as charge:

        async def write(change: Change) -> None:
            reply = await charge.write(change, key=key())
            _see(change.fleet in reply.driver.fleets)

        return await _timed(lambda: concurrency.run_bounded(write, changes, limit=WORKERS), len(changes))


async def _httpx(url: str, changes: list[Change]) -> results.Cost:
    """Attach through `httpx.AsyncClient` with its default limits: 100 connections, 20 kept alive, for 5 s."""
    key = account.keys()
    headers = {"Authorization": f"Bearer {server.KEY}", "Charge-Version": "2026-03-01"}
    async with httpx.AsyncClient(headers=headers, timeout=account.TIMEOUT) as api:

        async def write(change: Change) -> None:
            path = f"{url}/drivers/{change.driver}/attach"
            answer = await api.post(path, json={"fleet": change.fleet}, headers={"Idempotency-Key": key()})
            _see(change.fleet in answer.raise_for_status().json()["fleets"])

        return await _timed(lambda: concurrency.run_bounded(write, changes, limit=WORKERS), len(changes))


async def _aiohttp(url: str, changes: list[Change]) -> results.Cost:
    """Attach as a tuned script on aiohttp does."""
    key = account.keys()
    keys: Iterator[str] = (key() for _ in itertools.count())
    return await _timed(lambda: aiohttp_peer.attach(url, changes, workers=WORKERS, rate=1e6, keys=keys), len(changes))


async def _run(url: str, changes: list[Change]) -> results.Cost:
    """Attach as a run does: with rate limit, retries, and a journal in SQLite."""
    with tempfile.TemporaryDirectory(prefix="fleet-sync-benchmark-") as folder:
        path = pathlib.Path(folder) / "journal.db"
        journal = sql_journal.SqlJournal(f"sqlite:///{path}", clock=composition.SystemClock())
        async with account.charge(url, connections=WORKERS) as charge:
            executor = account.executor(ceiling=1e6, burst=1_000, adaptive=False)
            run = account.context(charge, executor=executor, journal=journal, concurrency=WORKERS)

            async def work() -> None:
                await journal.open()
                made = await account.apply(run, changes)
                _see(all(result.done for result in made))

            try:
                return await _timed(work, len(changes))
            finally:
                await journal.aclose()


def _see(done: bool) -> None:
    if not done:
        raise RuntimeError("an attach did not take effect")


async def _timed(work: Callable[[], Awaitable[None]], pieces: int) -> results.Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    return results.Cost(pieces, time.perf_counter() - wall, time.process_time() - cpu)


def _measure(*, rounds: int) -> dict[str, list[results.Cost]]:
    """Let all take turns, in reverse order every second round."""
    sides: dict[str, Round] = {"client": _client, "httpx": _httpx, "aiohttp": _aiohttp, "run": _run}
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
