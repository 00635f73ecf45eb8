"""One account, whole but for its network: the real client, pace, reader, applier and cycle before a sandbox.

Invariant: nothing of ours is replaced but the edges: the transport, the clock, the sources, chance.
Neighbours: `tests.support.sandbox` is the transport, `tests.support.doubles` the rest of the world.
"""

import datetime
import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import httpx

from tests.support import clocks, doubles, memory_journal
from tests.support import sandbox as support
from worker.charge import client, transport
from worker.core.model.actual import Actual
from worker.core.model.desired import Mode
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey, RunId
from worker.core.model.ports import Journal, Source
from worker.core.model.report import Report
from worker.core.model.secret import Secret
from worker.core.pacing import retry_policy
from worker.core.safety import guard
from worker.engine import applier, cancellation, plan_builder, rate_limiter, reader, reconciler, request_executor
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
    ) -> None:
        """Wire a fast account without faults; every parameter changes one thing about it."""
        self.state = held
        self.wall = clocks.Wall()
        self.sandbox = app.create(held, quirks=quirks, faults=faults, clock=self.wall.seconds)
        self.memory = memory_journal.MemoryJournal()
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
        self.grace = grace
        self.keep = keep
        self.run_cancellation = cancellation.Cancellation(wake=self.limiter.wake)
        self._policy = policy or retry_policy.RetryPolicy()
        self._page_size = page_size
        self._concurrency = concurrency
        self._random = random.Random(seed)
        self._runs = itertools.count(1)
        self._keys = itertools.count(1)
        self._rate = requests_per_second

    def executor(self) -> request_executor.RequestExecutor:
        """Make the sender of a new run; `halt` is that run's from now on."""
        self.run_cancellation = cancellation.Cancellation(wake=self.limiter.wake)
        return request_executor.RequestExecutor(
            limiter=self.limiter,
            run_cancellation=self.run_cancellation,
            policy=self._policy,
            jitter=self._random.random,
        )

    def new_reader(self, executor: request_executor.RequestExecutor) -> reader.Reader:
        """Make the reader of a run."""
        return reader.Reader(
            charge=self.client,
            executor=executor,
            progress=self.watcher,
            page_size=self._page_size,
            concurrency=self._concurrency,
            must_see={fleet for _, fleet in self.limits.must_see},
        )

    def applier(self, executor: request_executor.RequestExecutor) -> applier.Applier:
        """Make the applier of a run."""
        return applier.Applier(
            charge=self.client,
            executor=executor,
            journal=self.journal,
            progress=self.watcher,
            concurrency=self._concurrency,
            new_key=lambda: IntentKey(f"key-{next(self._keys)}"),
        )

    def builder(self, *sources: Source) -> plan_builder.PlanBuilder:
        """Make what reads, plans and judges over these sources."""
        executor = self.executor()
        return self._builder(sources, self.new_reader(executor))

    def _builder(self, sources: Sequence[Source], account_reader: reader.Reader) -> plan_builder.PlanBuilder:
        return plan_builder.PlanBuilder(
            rules=plan_builder.Rules(Account(BASE, "test"), self.mode, self.limits, self._rate, grace=self.grace),
            sources=sources,
            reader=account_reader,
            journal=self.journal,
            run_cancellation=self.run_cancellation,
            clock=self.wall,
        )

    def cycle(
        self,
        *sources: Source,
        show: Callable[[plan_builder.PlanResult], None] = lambda plan_result: None,
        postpone: reconciler.Postpone = lambda changes, now: {},
    ) -> reconciler.Reconciler:
        """Make the parts of one run over these sources."""
        executor = self.executor()
        account_reader = self.new_reader(executor)
        return reconciler.Reconciler(
            run=RunId(f"run_{next(self._runs)}"),
            builder=self._builder(sources, account_reader),
            reader=account_reader,
            applier=self.applier(executor),
            journal=self.journal,
            executor=executor,
            clock=self.wall,
            keep=self.keep,
            show=show,
            postpone=postpone,
        )

    async def reconcile(self, wanted: Wanted, *, approved: str | None = None) -> Report:
        """Do one run towards what is wanted."""
        return await self.cycle(doubles.Source(wanted)).reconcile(trigger="test", approved=approved)

    async def read(self, wanted: Wanted) -> Actual:
        """Read what planning for this would need."""
        desired = await self.builder(doubles.Source(wanted)).desired()
        return await self.new_reader(self.executor()).read(desired)

    def requests(self, *routes: str) -> list[str]:
        """Give `METHOD path` of every request so far whose path contains one of these words, or of all."""
        shown = [f"{request.method} {request.path.removeprefix('/v1')}" for request in self.sandbox.requests]
        return [line for line in shown if not routes or any(route in line for route in routes)]

    @property
    def writes(self) -> list[str]:
        """Give every write so far."""
        return self.requests("POST ")


def outcome(finished: Report, driver: str, fleet: str) -> str:
    """Give the name of the outcome of the one change of this membership."""
    (name,) = (
        result.outcome.name
        for result in finished.results
        if (result.change.driver, result.change.fleet) == (driver, fleet)
    )
    return name
