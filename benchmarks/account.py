"""The parts of an account that several benchmarks measure, put together as `service` does it.

Invariant: the parts are the program's own. Neighbours: `service` is the real composition root, but takes settings.
"""

import contextlib
import datetime
import itertools
from collections.abc import AsyncIterator, Callable, Sequence

from benchmarks import server
from worker.charge import client, http
from worker.core import values
from worker.core.model.ports import Charge, Journal
from worker.core.model.secret import Secret
from worker.core.pacing import retry_policy
from worker.engine import apply, halt, pacing, sending
from worker.service import composition

TIMEOUT = 30.0


@contextlib.asynccontextmanager
async def charge(url: str, *, connections: int) -> AsyncIterator[client.Client]:
    """Open the client of a sandbox."""
    exchange = http.Http(
        base_url=url,
        key=Secret(server.KEY),
        api_version="2026-03-01",
        user_agent="fleet-sync/benchmark",
        timeout=TIMEOUT,
        connections=connections,
    )
    try:
        yield client.Client(http=exchange, clock=composition.SystemClock(), page_size=100)
    finally:
        await exchange.aclose()


def sender(*, ceiling: float, burst: int, adaptive: bool) -> sending.Sender:
    """Make what paces and retries; to be called inside the event loop."""
    pace = pacing.Pace(requests_per_second=ceiling, burst=burst, adaptive=adaptive)
    stop = halt.Halt(wake=pace.wake)
    return sending.Sender(pace=pace, halt=stop, policy=retry_policy.RetryPolicy(max_attempts=50), jitter=lambda: 0.5)


def applier(api: Charge, *, sender: sending.Sender, journal: Journal, concurrency: int) -> apply.Applier:
    """Make what applies."""
    return apply.Applier(
        charge=api,
        sender=sender,
        journal=journal,
        progress=composition.Unwatched(),
        concurrency=concurrency,
        new_key=keys(),
    )


def keys() -> Callable[[], values.IntentKey]:
    """Give a source of keys of which no two are alike, across processes too."""
    began, numbers = datetime.datetime.now(datetime.UTC).timestamp(), itertools.count()
    return lambda: values.IntentKey(f"benchmark-{began}-{next(numbers)}")


def attaches(drivers: Sequence[str], fleet: str) -> list[values.Change]:
    """Make the changes that put these drivers into a fleet."""
    return [values.Change(values.Action.ATTACH, values.DriverId(each), values.FleetId(fleet)) for each in drivers]


def guarded(changes: list[values.Change]) -> values.Judged:
    """Make a judged plan of just these changes."""
    return values.Judged(
        account=values.Account("http://127.0.0.1/v1", "test"),
        created=datetime.datetime.now(datetime.UTC),
        sources=(),
        changes=tuple(changes),
        held=(),
        problems=(),
        in_sync=0,
        fleets=1,
        drivers=len(changes),
        cost=values.Cost(len(changes), 0.0),
        digest="",
    )
