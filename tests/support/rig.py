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

from tests.support import clocks, doubles
from tests.support import sandbox as support
from worker.charge import client, http
from worker.core import values
from worker.core.model.ports import Journal, Source
from worker.core.model.report import Report
from worker.core.model.secret import Secret
from worker.core.pacing import retry_policy
from worker.core.safety import guard
from worker.engine import apply, cycle, pacing, reading, sending, survey
from worker.engine import halt as halt_
from worker.journal import memory
from worker.sandbox import app, roster
from worker.sandbox import behaviour as behaviours
from worker.sandbox import faults as accidents

BASE = "https://charge.test/v1"
Wanted = Mapping[Any, Iterable[str]]
"""The drivers of each managed fleet, as a document would name them."""

LENIENT = guard.Limits(max_detach_fraction_per_fleet=1.0, max_detach_fraction=1.0, allow_emptying_fleets=True)
"""Limits that hold nothing, for tests that are about something else."""


def driver_id(letter: str) -> values.DriverId:
    """Make a well-formed driver id."""
    return values.DriverId(f"drv_{letter * 32}")


def fleet_id(letter: str) -> values.FleetId:
    """Make a well-formed fleet id."""
    return values.FleetId(f"flt_{letter * 32}")


A, B, C, D, GHOST = (driver_id(letter) for letter in "ABCDZ")
VANS, DEPOT, NORTH = (fleet_id(letter) for letter in "VWN")
"""The drivers and fleets that tests speak of. Nobody knows GHOST."""


def roster_of(members: Wanted, *, others: Iterable[str] = ()) -> roster.Roster:
    """Make an account with these fleets and their drivers, and `others` who are in no fleet."""
    held = roster.Roster()
    fleets: dict[str, list[str]] = {driver: [] for driver in others}
    for fleet, drivers in members.items():
        held.add_fleet(id=fleet, name=f"Fleet {fleet[4]}")
        for driver in drivers:
            fleets.setdefault(driver, []).append(fleet)
    for driver, where in fleets.items():
        held.add_driver(id=driver, email=f"{driver[4:].lower()}@example.com", fleets=where)
    return held


class Rig:
    """An account on a sandbox. To be made inside the event loop."""

    def __init__(
        self,
        held: roster.Roster,
        *,
        behaviour: behaviours.Behaviour = behaviours.PLAUSIBLE,
        faults: accidents.Faults = accidents.NONE,
        journal: Journal | None = None,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
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
        mode: values.Mode = values.Mode.EXACT,
        grace: datetime.timedelta = datetime.timedelta(),
        keep: datetime.timedelta | None = None,
    ) -> None:
        """Take the roster, and whatever differs from a fast account in good weather."""
        self.roster = held
        self.wall = clocks.Wall()
        self.sandbox = app.create(held, behaviour=behaviour, faults=faults, clock=self.wall.seconds)
        self.memory = memory.MemoryJournal()
        self.journal = journal or self.memory
        self.watcher = doubles.Watcher()
        self.http = http.Http(
            base_url=BASE,
            key=Secret(key),
            api_version="2026-03-01",
            user_agent="fleet-sync/test",
            timeout=timeout,
            connections=concurrency,
            transport=transport or (lambda: support.transport(self.sandbox)),
        )
        self.client = client.Client(http=self.http, clock=self.wall, page_size=page_size)
        self.pace = pacing.Pace(requests_per_second=requests_per_second, burst=burst, adaptive=adaptive)
        self.limits = limits
        self.mode = mode
        self.grace = grace
        self.keep = keep
        self.halt = halt_.Halt(wake=self.pace.wake)
        self._policy = policy or retry_policy.RetryPolicy()
        self._page_size = page_size
        self._concurrency = concurrency
        self._random = random.Random(seed)
        self._runs = itertools.count(1)
        self._keys = itertools.count(1)
        self._rate = requests_per_second

    def sender(self) -> sending.Sender:
        """Make the sender of a new run; `halt` is that run's from now on."""
        self.halt = halt_.Halt(wake=self.pace.wake)
        return sending.Sender(pace=self.pace, halt=self.halt, policy=self._policy, jitter=self._random.random)

    def reader(self, sender: sending.Sender) -> reading.Reader:
        """Make the reader of a run."""
        return reading.Reader(
            charge=self.client,
            sender=sender,
            progress=self.watcher,
            page_size=self._page_size,
            concurrency=self._concurrency,
            must_see={fleet for _, fleet in self.limits.must_see},
        )

    def applier(self, sender: sending.Sender) -> apply.Applier:
        """Make the applier of a run."""
        return apply.Applier(
            charge=self.client,
            sender=sender,
            journal=self.journal,
            progress=self.watcher,
            concurrency=self._concurrency,
            new_key=lambda: values.IntentKey(f"key-{next(self._keys)}"),
        )

    def surveyor(self, *sources: Source) -> survey.Surveyor:
        """Make what reads, plans and judges over these sources."""
        sender = self.sender()
        return self._surveyor(sources, self.reader(sender))

    def _surveyor(self, sources: Sequence[Source], reader: reading.Reader) -> survey.Surveyor:
        return survey.Surveyor(
            rules=survey.Rules(values.Account(BASE, "test"), self.mode, self.limits, self._rate, grace=self.grace),
            sources=sources,
            reader=reader,
            journal=self.journal,
            halt=self.halt,
            clock=self.wall,
        )

    def cycle(
        self,
        *sources: Source,
        show: Callable[[survey.Survey], None] = lambda survey: None,
        postpone: cycle.Postpone = lambda changes, now: {},
    ) -> cycle.Cycle:
        """Make the parts of one run over these sources."""
        sender = self.sender()
        reader = self.reader(sender)
        return cycle.Cycle(
            run=values.RunId(f"run_{next(self._runs)}"),
            surveyor=self._surveyor(sources, reader),
            reader=reader,
            applier=self.applier(sender),
            journal=self.journal,
            sender=sender,
            clock=self.wall,
            keep=self.keep,
            show=show,
            postpone=postpone,
        )

    async def reconcile(self, wanted: Wanted, *, approved: str | None = None) -> Report:
        """Do one run towards what is wanted."""
        return await self.cycle(doubles.Source(wanted)).reconcile(trigger="test", approved=approved)

    async def read(self, wanted: Wanted) -> values.Actual:
        """Read what planning for this would need."""
        desired = await self.surveyor(doubles.Source(wanted)).desired()
        return await self.reader(self.sender()).read(desired)

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
