"""One account with a sandbox for its network: the real client, rate limiter, reader, applier and reconciler.

Invariant: nothing of ours is replaced but the edges: the transport, the clock, the sources, chance.
Neighbours: `tests.support.sandbox` is the transport, `tests.support.doubles` the rest of the world.
"""

import datetime
import itertools
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import httpx

from tests.support import clocks, doubles, memory_journal
from tests.support import sandbox as support
from worker.charge import client, transport
from worker.core.model.actual import Actual
from worker.core.model.desired import FleetRef, Mode
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey, RunId
from worker.core.model.ports import Journal, Source
from worker.core.model.report import Report
from worker.core.model.secret import Secret
from worker.core.pacing import retry_policy
from worker.core.safety import guard
from worker.engine import (
    cancellation,
    plan_builder,
    rate_limiter,
    reader,
    reconciler,
    request_executor,
    run_context,
    wiring,
)
from worker.sandbox import app, quirks, state
from worker.sandbox import faults as accidents

BASE = "https://charge.test/v1"
Wanted = Mapping[Any, Iterable[str]]
"""The drivers of each managed fleet, as a document would name them."""

LENIENT = guard.Limits(max_detach_fraction_per_fleet=1.0, max_detach_fraction=1.0, allow_emptying_fleets=True)
"""Limits that hold nothing, for tests that are about something else."""


def driver_id(letter: str) -> DriverId:
    """Make a well-formed driver id."""
    return DriverId(f"drv_{letter * 32}")


def fleet_id(letter: str) -> FleetId:
    """Make a well-formed fleet id."""
    return FleetId(f"flt_{letter * 32}")


A, B, C, D, GHOST = (driver_id(letter) for letter in "ABCDZ")
VANS, DEPOT, NORTH = (fleet_id(letter) for letter in "VWN")
"""The drivers and fleets that tests speak of. Nobody knows GHOST."""


def state_of(members: Wanted, *, others: Iterable[str] = ()) -> state.SandboxState:
    """Make an account with these fleets and their drivers, and `others` who are in no fleet."""
    held = state.SandboxState()
    fleets: dict[str, list[str]] = {driver: [] for driver in others}
    for fleet, drivers in members.items():
        held.add_fleet(id=fleet, name=f"Fleet {fleet[4]}")
        for driver in drivers:
            fleets.setdefault(driver, []).append(fleet)
    for driver, where in fleets.items():
        held.add_driver(id=driver, email=f"{driver[4:].lower()}@example.com", fleets=where)
    return held


class Harness:
    """An account on a sandbox. To be made inside the event loop."""

    def __init__(
        self,
        held: state.SandboxState,
        *,
        quirks: quirks.Quirks = quirks.PLAUSIBLE,
        faults: accidents.Faults = accidents.NONE,
        journal: Journal | None = None,
        new_transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
        seed: int = 1,
        key: str = app.KEY,
        requests_per_second: float = 1000.0,
        burst: int = 100,
        adaptive: bool = False,
        concurrency: int = 8,
        timeout: float = 30.0,
        page_size: int = 100,
        policy: retry_policy.RetryPolicy | None = None,
        limits: guard.Limits = LENIENT,
        mode: Mode = Mode.EXACT,
        grace: datetime.timedelta = datetime.timedelta(),
        keep: datetime.timedelta | None = None,
        unmanaged: Iterable[FleetRef] = (),
        apply: bool = True,
    ) -> None:
        """Wire a fast account without faults; every parameter changes one thing about it."""
        self.state = held
        self.wall = clocks.Wall()
        self.sandbox = app.Sandbox(held, quirks=quirks, faults=faults, clock=self.wall.seconds)
        self.memory = memory_journal.MemoryJournal(clock=self.wall)
        self.journal = journal or self.memory
        self.watcher = doubles.Watcher()
        self.http = transport.Transport(
            transport.Endpoint(BASE, "2026-03-01", "fleet-sync/test", timeout),
            key=Secret(key),
            network=transport.Network(concurrency),
            make=new_transport or (lambda: support.transport(self.sandbox)),
        )
        self.client = client.Client(http=self.http, clock=self.wall, page_size=page_size)
        self.limiter = rate_limiter.RateLimiter(requests_per_second=requests_per_second, burst=burst, adaptive=adaptive)
        self.limits = limits
        self.mode = mode
        self.only: frozenset[FleetRef] = frozenset()
        self.grace = grace
        self.unmanaged = frozenset(unmanaged)
        self.apply = apply
        self.adopt_journal = False
        self.options = run_context.RunOptions(
            page_size=page_size,
            concurrency=concurrency,
            must_see=frozenset(fleet for _, fleet in limits.must_see),
            keep=keep,
        )
        self.run_cancellation = cancellation.Cancellation(wake=self.limiter.wake)
        self._policy = policy or retry_policy.RetryPolicy()
        self._random = random.Random(seed)
        self._runs = itertools.count(1)
        self._keys = itertools.count(1)
        self._rate = requests_per_second

    def context(self) -> run_context.RunContext:
        """Return the context of a new run; `run_cancellation` is that run's from now on."""
        self.run_cancellation = cancellation.Cancellation(wake=self.limiter.wake)
        executor = request_executor.RequestExecutor(
            limiter=self.limiter,
            run_cancellation=self.run_cancellation,
            policy=self._policy,
            jitter=self._random.random,
        )
        return run_context.RunContext(
            run=RunId(f"run_{next(self._runs)}"),
            charge=self.client,
            journal=self.journal,
            executor=executor,
            clock=self.wall,
            progress=self.watcher,
            new_key=lambda: IntentKey(f"key-{next(self._keys)}"),
            options=self.options,
        )

    def executor(self) -> request_executor.RequestExecutor:
        """Return the request executor of a new run."""
        return self.context().executor

    def new_reader(self) -> reader.Reader:
        """Return the reader of a new run."""
        return reader.Reader(self.context())

    def new_plan_builder(self, *sources: Source) -> plan_builder.PlanBuilder:
        """Return what reads, plans and evaluates over these sources."""
        return wiring.new_plan_builder(self.context(), rules=self.rules, sources=sources)

    @property
    def rules(self) -> plan_builder.Rules:
        """Return what the operator decided."""
        return plan_builder.Rules(
            Account(BASE, "test"),
            self.mode,
            self.limits,
            self._rate,
            grace=self.grace,
            unmanaged=self.unmanaged,
            apply=self.apply,
            adopt_journal=self.adopt_journal,
            only=self.only,
        )

    def new_reconciler(
        self,
        *sources: Source,
        show: Callable[[plan_builder.PlanResult], None] = lambda plan_result: None,
    ) -> reconciler.Reconciler:
        """Return one run over these sources."""
        return wiring.new_reconciler(self.context(), rules=self.rules, sources=sources, show=show)

    async def reconcile(self, wanted: Wanted, *, approved: str | None = None) -> Report:
        """Do one run towards what is wanted."""
        return await self.new_reconciler(doubles.Source(wanted)).reconcile(trigger="test", approved=approved)

    async def read(self, wanted: Wanted) -> Actual:
        """Read what planning for this would need."""
        desired = await self.new_plan_builder(doubles.Source(wanted)).sources.read()
        return await self.new_reader().read(desired)

    def fleets_of(self, driver: str) -> frozenset[FleetId]:
        """Return the fleets that the sandbox has a driver in."""
        return (
            frozenset(FleetId(fleet) for fleet in self.state.fleets_of(driver))
            if driver in self.state.drivers
            else frozenset()
        )

    def requests(self, *routes: str) -> list[str]:
        """Return `METHOD path` of every request so far whose path contains one of these words, or of all."""
        shown = [f"{request.method} {request.path.removeprefix('/v1')}" for request in self.sandbox.requests]
        return [line for line in shown if not routes or any(route in line for route in routes)]

    @property
    def writes(self) -> list[str]:
        """Return every write so far."""
        return self.requests("POST ")


def outcome(finished: Report, driver: str, fleet: str) -> str:
    """Return the name of the outcome of the one change of this membership."""
    (name,) = (
        result.outcome.name
        for result in finished.results
        if (result.change.driver, result.change.fleet) == (driver, fleet)
    )
    return name
