"""The peer of the throughput benchmark: a tuned aiohttp script without a journal.

Invariant: it does what such a script does and no more: one session, a rate limit, retries with backoff, one idempotency
key per write; no journal, no proof, no report. Neighbours: `throughput` measures it beside the program.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Iterator, Sequence

import aiohttp
import msgspec

from benchmarks import server
from worker.core.model.plan import Change

MAX_ATTEMPTS = 6
RETRIED = frozenset({429, 500, 502, 503, 504})


class Limiter:
    """Lets `rate` requests pass per second, one after the other."""

    def __init__(self, rate: float) -> None:
        """Start without a debt."""
        self._interval = 1 / rate
        self._next = 0.0

    async def acquire(self) -> None:
        """Wait for the turn of one request."""
        now = time.monotonic()
        self._next = max(self._next + self._interval, now - 1)
        if self._next > now:
            await asyncio.sleep(self._next - now)


class _Driver(msgspec.Struct):
    fleets: list[str]


_decode = msgspec.json.Decoder(_Driver).decode


async def attach(url: str, changes: Sequence[Change], *, workers: int, rate: float, keys: Iterator[str]) -> None:
    """Make every attach, `workers` at once."""
    headers = {
        "Authorization": f"Bearer {server.KEY}",
        "Charge-Version": "2026-03-01",
        "Content-Type": "application/json",
    }
    connector = aiohttp.TCPConnector(limit=workers, ttl_dns_cache=300)
    timeout = aiohttp.ClientTimeout(total=30)
    limiter, pending = Limiter(rate), iter(changes)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        headers=headers,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:

        async def work() -> None:
            for change in pending:
                await _attach(session, limiter, f"{url}/drivers/{change.driver}/attach", change.fleet, next(keys))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(workers):
                tasks.create_task(work())


async def _attach(session: aiohttp.ClientSession, limiter: Limiter, url: str, fleet: str, key: str) -> None:
    body = msgspec.json.encode({"fleet": fleet})
    for attempt in itertools.count(1):
        await limiter.acquire()
        try:
            async with session.post(url, data=body, headers={"Idempotency-Key": key}) as answer:
                document = await answer.read()
                if answer.status not in RETRIED:
                    answer.raise_for_status()
                    if fleet not in _decode(document).fleets:
                        raise RuntimeError("an attach did not take effect")
                    return
                pause = float(answer.headers.get("Retry-After", 0))
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError):
            if attempt == MAX_ATTEMPTS:
                raise
            pause = 0.0
        if attempt == MAX_ATTEMPTS:
            raise RuntimeError("an attach failed too often")
        await asyncio.sleep(max(pause, random.uniform(0.5, 1) * min(30, 0.5 * 2**attempt)))
