"""How well the rate limiter uses a limit: one that is set, and one that the client has to find out.

Invariant: requests are counted where they arrive, in the server. Neighbours: `worker.engine.rate_limiter` is what is
measured, `server` counts.
"""

from collections.abc import Iterator, Sequence

import anyio

from benchmarks import account, limit_req, results, server
from tests.support import nginx_server
from worker.core.model.identifiers import DriverId
from worker.engine import concurrency

WORKERS = 32
DRIVERS = 1_000
BURST = 10
WRITES = 4_000
KNOWN = 50.0
UNKNOWN = 150.0
CEILING = 2_000.0

Arrivals = Sequence[tuple[float, bool]]


def figures(*, short: bool) -> Iterator[results.Figure]:
    """Measure, and yield the figures."""
    arrivals = _arrivals(int(KNOWN * (8 if short else 30)), ceiling=KNOWN, limit=None)
    yield results.at_least(f"share of a ceiling of {KNOWN:g}/s in use", _used(arrivals, KNOWN, free=BURST), 0.85)
    most = _most_in_a_second(arrivals)
    yield results.at_most(f"most requests in any second of it, burst {BURST}", most, KNOWN + BURST, form=".0f")
    for rate, goal in () if short else ((200.0, 1.03), (500.0, 1.05), (1000.0, 1.2)):
        moments = [moment for moment, _ in _arrivals(WRITES, ceiling=rate, limit=None)]
        slower = (moments[-1] - moments[0]) * rate / WRITES
        yield results.at_most(f"time of {WRITES:,} requests at a known {rate:g}/s over the ideal", slower, goal)
    yield from _nginx()
    limits: Sequence[server.Limit] = ("bucket",) if short else ("bucket", "fixed", "sliding")
    for limit in limits:
        arrivals = _arrivals(int(UNKNOWN * (12 if short else 60)), ceiling=CEILING, limit=limit)
        refused = sum(not accepted for _, accepted in arrivals) / len(arrivals)
        # A bucket starts with a second's worth on top of the rate.
        free = UNKNOWN if limit == "bucket" else 0.0
        used = _used(arrivals, UNKNOWN, free=free)
        yield results.at_least(f"share of an unknown {UNKNOWN:g}/s ({limit}) in use", used, 0.85)
        yield results.at_most(f"share of requests answered with 429 ({limit})", refused, 0.03, form=".4f")


def _nginx() -> Iterator[results.Figure]:
    """Measure with a real nginx. Its limiter without burst refuses what other work on the machine delays."""
    if not nginx_server.PROGRAM.exists():
        yield results.Figure("not measured: nginx is not installed", "")
        return
    with limit_req.serving() as urls:
        for zone, goal in (("burst", 0.95), ("even", 0.85)):
            reading = anyio.run(limit_req.read, urls[zone])
            used = (limit_req.REQUESTS - 1) / limit_req.RATE / reading.seconds
            yield results.at_least(f"share of nginx's {limit_req.RATE}/s in use ({zone})", used, goal)
            refused = reading.traffic.rate_limited / reading.traffic.reads
            yield results.at_most("  share of requests answered with 429", refused, 0.02, form=".4f")


def _arrivals(requests: int, *, ceiling: float, limit: server.Limit | None) -> Arrivals:
    """Read drivers this many times as fast as the rate limiter allows; return what the server saw."""
    rate = None if limit is None else UNKNOWN
    with server.running(drivers=DRIVERS, rate=rate, limit=limit or "bucket", record=True) as sandbox:
        anyio.run(_read, sandbox.url, requests, ceiling)
        return sandbox.arrivals()


async def _read(url: str, requests: int, ceiling: float) -> None:
    people, _ = server.people(DRIVERS)
    drivers = [DriverId(driver) for driver in people.drivers]
    executor = account.executor(ceiling=ceiling, burst=BURST, adaptive=True)
    async with account.charge(url, connections=WORKERS) as charge:

        async def read(number: int) -> None:
            await executor.execute(lambda: charge.driver(drivers[number % DRIVERS]))

        # As in a run, whose first request is the list of fleets. What httpx imports at a process's first request holds
        # that up by some 60 ms; requests sent beside it would arrive bunched with later ones.
        await read(0)
        await concurrency.run_bounded(read, range(1, requests), limit=WORKERS)


def _used(arrivals: Arrivals, rate: float, *, free: float) -> float:
    """Return accepted requests divided by those that the limit allows; `free` were allowed in addition."""
    moments = [moment for moment, accepted in arrivals if accepted]
    return len(moments) / (free + rate * (moments[-1] - moments[0]))


def _most_in_a_second(arrivals: Arrivals) -> int:
    most, first = 0, 0
    for last, (moment, _) in enumerate(arrivals):
        while arrivals[first][0] <= moment - 1:
            first += 1
        most = max(most, last - first + 1)
    return most
