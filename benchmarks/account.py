"""The parts of an account that several benchmarks measure, put together as `service` does it.

Invariant: the parts are the program's own. Neighbours: `service` is the real composition root, but takes settings.
"""

import contextlib
import datetime
import itertools
from collections.abc import AsyncIterator, Callable, Sequence

from benchmarks import server
from worker.charge import client, transport
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey
from worker.core.model.plan import Action, Change, Cost, GuardedPlan
from worker.core.model.ports import Charge, Journal
from worker.core.model.secret import Secret
from worker.core.pacing import retry_policy
from worker.engine import applier, cancellation, rate_limiter, request_executor
from worker.service import composition

TIMEOUT = 30.0


@contextlib.asynccontextmanager
async def charge(url: str, *, connections: int) -> AsyncIterator[client.Client]:
    """Open the client of a sandbox."""
    exchange = transport.Transport(
        transport.Endpoint(url, "2026-03-01", "fleet-sync/benchmark", TIMEOUT),
        key=Secret(server.KEY),
        network=transport.Network(connections),
    )
    try:
        yield client.Client(http=exchange, clock=composition.SystemClock(), page_size=100)
    finally:
        await exchange.aclose()


def executor(*, ceiling: float, burst: int, adaptive: bool) -> request_executor.RequestExecutor:
    """Make the executor with its rate limit and retries. Must be called inside the event loop."""
    limiter = rate_limiter.RateLimiter(requests_per_second=ceiling, burst=burst, adaptive=adaptive)
    stop = cancellation.Cancellation(wake=limiter.wake)
    return request_executor.RequestExecutor(
        limiter=limiter, run_cancellation=stop, policy=retry_policy.RetryPolicy(max_attempts=50), jitter=lambda: 0.5
    )


def new_applier(
    api: Charge, *, executor: request_executor.RequestExecutor, journal: Journal, concurrency: int
) -> applier.Applier:
    """Make the applier."""
    return applier.Applier(
        charge=api,
        executor=executor,
        journal=journal,
        progress=composition.Unwatched(),
        concurrency=concurrency,
        new_key=keys(),
    )


def keys() -> Callable[[], IntentKey]:
    """Return a source of keys that are unique, also across processes."""
    began, numbers = datetime.datetime.now(datetime.UTC).timestamp(), itertools.count()
    return lambda: IntentKey(f"benchmark-{began}-{next(numbers)}")


def attaches(drivers: Sequence[str], fleet: str) -> list[Change]:
    """Make the changes that put these drivers into a fleet."""
    return [Change(Action.ATTACH, DriverId(each), FleetId(fleet)) for each in drivers]


def guarded(changes: list[Change]) -> GuardedPlan:
    """Make a guarded plan of exactly these changes."""
    return GuardedPlan(
        account=Account("http://127.0.0.1/v1", "test"),
        created=datetime.datetime.now(datetime.UTC),
        sources=(),
        changes=tuple(changes),
        held=(),
        problems=(),
        in_sync=0,
        fleets=1,
        drivers=len(changes),
        cost=Cost(len(changes), 0.0),
        digest="",
    )
