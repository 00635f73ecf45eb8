"""Attaches a second: the client on its own pool against the same loop on a plain `httpx.AsyncClient`.

Invariant: both sides send the same requests, to the same server, with the same number of workers, in alternating
rounds of one run. Neighbours: `worker.charge` is what is measured, `server` the other end.
"""

import dataclasses
import datetime
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable

import anyio
import httpx

from benchmarks import server
from worker.charge import client, http
from worker.core import secret, values
from worker.engine import lanes

WORKERS = 32
TIMEOUT = 30.0

Write = Callable[[values.Change, values.IntentKey], Awaitable[None]]
Round = Callable[[str, list[values.Change]], Awaitable["Cost"]]


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What one round of requests took: seconds on the clock, and of the client's CPU."""

    requests: int
    wall: float
    cpu: float


class Clock:
    """The time of day."""

    def now(self) -> datetime.datetime:
        """Give the present moment in UTC."""
        return datetime.datetime.now(datetime.UTC)


async def ours(url: str, changes: list[values.Change]) -> Cost:
    """Attach through `charge.client` on its own pool."""
    exchange = http.Http(
        base_url=url,
        key=secret.Secret(server.KEY),
        api_version="2026-03-01",
        user_agent="fleet-sync/benchmark",
        timeout=TIMEOUT,
        connections=WORKERS,
    )
    charge = client.Client(http=exchange, clock=Clock(), page_size=100)

    async def write(change: values.Change, key: values.IntentKey) -> None:
        reply = await charge.write(change, key=key)
        if change.fleet not in reply.driver.fleets:
            raise RuntimeError("the attach did not take effect")

    try:
        return await _timed(write, changes)
    finally:
        await exchange.aclose()


async def plain(url: str, changes: list[values.Change]) -> Cost:
    """Attach through `httpx.AsyncClient` as it comes: at most 100 connections, 20 of them kept alive for 5 s."""
    headers = {"Authorization": f"Bearer {server.KEY}", "Charge-Version": "2026-03-01"}
    async with httpx.AsyncClient(headers=headers, timeout=TIMEOUT) as api:

        async def write(change: values.Change, key: values.IntentKey) -> None:
            answer = await api.post(
                f"{url}/drivers/{change.driver}/attach",
                json={"fleet": change.fleet},
                headers={"Idempotency-Key": key},
            )
            if change.fleet not in answer.raise_for_status().json()["fleets"]:
                raise RuntimeError("the attach did not take effect")

        return await _timed(write, changes)


async def _timed(write: Write, changes: list[values.Change]) -> Cost:
    """Send every change, by so many workers at once."""
    keys = (values.IntentKey(f"benchmark-{time.monotonic_ns()}-{number}") for number in itertools.count())
    wall, cpu = time.perf_counter(), time.process_time()
    await lanes.side_by_side(lambda change: write(change, next(keys)), changes, limit=WORKERS)
    return Cost(len(changes), time.perf_counter() - wall, time.process_time() - cpu)


def measure(*, requests: int, rounds: int) -> dict[str, list[Cost]]:
    """Let both take turns; in every second round the other one begins."""
    sides: dict[str, Round] = {"ours": ours, "plain": plain}
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    drivers = requests * (rounds + 1) * len(sides)
    people, fleet = server.people(drivers=drivers, fleets=10)
    changes = [
        values.Change(values.Action.ATTACH, values.DriverId(driver), values.FleetId(fleet)) for driver in people.drivers
    ]
    with server.running(drivers=drivers, fleets=10) as url:
        for number in range(rounds + 1):
            for name in sorted(sides, reverse=number % 2 == 1):
                part, changes = changes[:requests], changes[requests:]
                cost = anyio.run(sides[name], url, part)
                if number:  # the first round only warms up
                    costs[name].append(cost)
    return costs
