"""The parts of an account that several benchmarks measure, put together as `service` does it.

Invariant: the parts are the program's own. Neighbours: `service` is the real composition root, but takes settings.
"""

import contextlib
import datetime
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from benchmarks import server
from worker.charge import client, transport
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey, RunId
from worker.core.model.outcomes import ChangeResult
from worker.core.model.plan import Action, Change, ConcernedDriver, Cost, GuardedPlan
from worker.core.model.ports import Charge, Journal, Stage
from worker.core.model.problem import Problem
from worker.core.model.secret import Secret
from worker.core.pacing import retry_policy
from worker.engine import (
    applier,
    cancellation,
    driver_lane,
    pause_watch,
    rate_limiter,
    reader,
    request_executor,
    run_context,
    source_watch,
    verification,
)
from worker.service import composition

TIMEOUT = 30.0


class _Unwatched:
    """A progress display that shows nothing."""

    def stage(self, name: Stage, total: int | None) -> None:
        """Say nothing."""

    def step(self, count: int = 1) -> None:
        """Say nothing."""


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
    # Planning a million changes takes a minute of a busy machine, which is no suspended process.
    stop = cancellation.Cancellation(wake=limiter.wake, cpu_time=composition.SystemClock().cpu_time)
    return request_executor.RequestExecutor(
        limiter=limiter, run_cancellation=stop, policy=retry_policy.RetryPolicy(max_attempts=50), jitter=lambda: 0.5
    )


def context(
    api: Charge, *, executor: request_executor.RequestExecutor, journal: Journal, concurrency: int
) -> run_context.RunContext:
    """Return the context of a run."""
    return run_context.RunContext(
        run=RunId("run_benchmark"),
        charge=api,
        journal=journal,
        executor=executor,
        clock=composition.SystemClock(),
        progress=_Unwatched(),
        new_key=keys(),
        options=run_context.RunOptions(concurrency=concurrency),
    )


class _Unverified(verification.Verification):
    """Reads nothing back, so that only the writes are measured."""

    async def verify(self, lanes: Iterable[driver_lane.DriverLane]) -> tuple[Problem, ...]:
        """Return no problem."""
        return ()


async def apply(run: run_context.RunContext, changes: Sequence[Change]) -> tuple[ChangeResult, ...]:
    """Journal the changes and make them, as a run does, without reading them back."""
    plan = guarded(list(changes))
    run_applier = applier.Applier(run)
    work = run_applier.prepare(changes, open_intents=(), concerned=plan.concerned)
    await run.journal.begin(run.run, trigger="benchmark", guarded=plan, intents=work.intents)
    sources = source_watch.SourceWatch((), clock=run.clock)
    check = _Unverified(run, reader.Reader(run), desired=None, listing_requests=0)
    pauses = pause_watch.PauseWatch(run)
    return (await run_applier.apply(work, sources=sources, check=check, pauses=pauses)).results


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
        concerned={change.driver: ConcernedDriver(frozenset(), frozenset({change.fleet})) for change in changes},
    )
